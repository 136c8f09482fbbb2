// The errand of README.md with imapflow; where it is comes in the environment's MODULES.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const { ImapFlow } = createRequire(process.env.MODULES + '/')('imapflow');
const [port, user, file] = process.argv.slice(2);
const say = (...words) => console.log(words.join('\t'));
const client = new ImapFlow({
    host: '127.0.0.1', port: Number(port), secure: false, doSTARTTLS: false, auth: { user, pass: 'secret' }, logger: false,
});
const check = (result, what) => {
    if (result === false || result === undefined || result === null) throw new Error(`${what} failed`);
    return result;
};

await client.connect();
for (const mailbox of await client.list()) say('mailbox', mailbox.path);
const lock = await client.getMailboxLock('INBOX');
const query = { uid: true, flags: true, size: true, source: true, envelope: true, bodyStructure: true, internalDate: true };
for await (const message of client.fetch('1:*', query)) {
    if (message.size !== message.source.length) throw new Error(`size ${message.size} of UID ${message.uid}`);
    say('message', message.uid, [...message.flags].filter(flag => flag !== '\\Recent').join(' '), message.source.toString('hex'));
}
say('found', ...check(await client.search({ subject: 'letter 3', draft: false }, { uid: true }), 'search'));

const target = check(await client.mailboxCreate(['Entwürfe', 'Neue & alte']), 'create').path;
const date = new Date('2020-02-29T12:34:56+05:30');
check(await client.append(target, readFileSync(file), ['\\Draft', '$Errand'], date), 'append');
check(await client.messageFlagsAdd('1', ['\\Flagged'], { uid: true, silent: true }), 'add');
check(await client.messageFlagsRemove('2', ['\\Seen'], { uid: true }), 'remove');
check(await client.messageFlagsAdd('3', ['$Errand'], { uid: true }), 'add');
check(await client.messageFlagsAdd('4', ['\\Answered'], { uid: true }), 'add');
const copied = check(await client.messageCopy('3:4', target, { uid: true }), 'copy');
if (copied.uidMap.size !== 2) throw new Error('no COPYUID');
check(await client.messageMove('5', target, { uid: true }), 'move');
check(await client.messageDelete('6', { uid: true }), 'delete');

const came = new Promise((resolve, reject) => {
    client.on('exists', ({ count }) => resolve(count));
    setTimeout(() => reject(new Error('nothing came')), 30000).unref();
});
const idle = client.idle();
// `idling` is true once the server has said "+"
while (!client.idling) await new Promise(resolve => setTimeout(resolve, 5));
say('idling');
const count = await came;
const message = await client.fetchOne(String(count), { envelope: true });
say('woken', message.envelope.subject);
await idle;
lock.release();
await client.logout();
say('done');
