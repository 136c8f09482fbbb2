// Sends the message of standard input with nodemailer; where that is comes in the environment's MODULES. Arguments: port,
// "plain", "starttls" or "tls", the file with the server's certificate, user ("" for no login), sender, recipients.
// Prints the recipients that were refused, one a line.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const nodemailer = createRequire(process.env.MODULES + '/')('nodemailer');
const [port, way, ca, user, from, ...to] = process.argv.slice(2);
const transport = nodemailer.createTransport({
    host: '127.0.0.1', port: Number(port), secure: way === 'tls', requireTLS: way === 'starttls', ignoreTLS: way === 'plain',
    tls: { ca: readFileSync(ca) }, auth: user ? { user, pass: 'secret' } : undefined,
});
const sent = await transport.sendMail({ envelope: { from, to }, raw: readFileSync(0) });
for (const refused of sent.rejected) console.log(refused);
transport.close();
