// Runs inside Thunderbird (Marionette's chrome context), before each step of test_thunderbird.py.
const { MailServices } = ChromeUtils.importESModule("resource:///modules/MailServices.sys.mjs");

function connect(port, user) {
    const server = MailServices.accounts.createIncomingServer(user, "127.0.0.1", "imap");
    server.QueryInterface(Ci.nsIImapIncomingServer);
    server.port = port;
    server.socketType = Ci.nsMsgSocketType.plain;
    server.authMethod = Ci.nsMsgAuthMethod.passwordCleartext;
    server.password = "secret";
    server.useIdle = true;
    const account = MailServices.accounts.createAccount();
    account.incomingServer = server;
    const identity = MailServices.accounts.createIdentity();
    identity.email = user;
    account.addIdentity(identity);
    server.performExpand(null);
}

const root = () => MailServices.accounts.accounts.find(each => each.incomingServer.type === "imap").incomingServer.rootFolder;
const folder = name => root().getChildNamed(name);
const message = uid => folder("INBOX").GetMessageHeader(uid);
const pause = () => new Promise(resolve => setTimeout(resolve, 10));

async function until(condition) {
    for (;;) {
        const result = condition();
        if (result) return result;
        await pause();
    }
}

function update(name) {
    return new Promise((resolve, reject) => {
        const listener = {
            QueryInterface: ChromeUtils.generateQI(["nsIUrlListener"]),
            OnStartRunningUrl() {},
            OnStopRunningUrl(url, status) {
                Components.isSuccessCode(status) ? resolve() : reject(new Error(`update: ${status}`));
            },
        };
        folder(name).QueryInterface(Ci.nsIMsgImapMailFolder).updateFolderWithListener(null, listener);
    });
}

function octets(uid) {
    return new Promise((resolve, reject) => {
        const pieces = [];
        const listener = {
            QueryInterface: ChromeUtils.generateQI(["nsIStreamListener", "nsIRequestObserver"]),
            onStartRequest() {},
            onDataAvailable(request, stream, offset, count) {
                const binary = Cc["@mozilla.org/binaryinputstream;1"].createInstance(Ci.nsIBinaryInputStream);
                binary.setInputStream(stream);
                pieces.push(binary.readBytes(count));
            },
            onStopRequest(request, status) {
                Components.isSuccessCode(status) ? resolve(btoa(pieces.join(""))) : reject(new Error(`stream: ${status}`));
            },
        };
        const uri = folder("INBOX").getUriForMsg(message(uid));
        MailServices.messageServiceFromURI(uri).streamMessage(uri, listener, null, null, false, "", false);
    });
}

function transfer(uids, name, isMove) {
    return new Promise((resolve, reject) => {
        const listener = {
            QueryInterface: ChromeUtils.generateQI(["nsIMsgCopyServiceListener"]),
            onStartCopy() {},
            onProgress() {},
            setMessageKey() {},
            getMessageId() {},
            onStopCopy(status) {
                Components.isSuccessCode(status) ? resolve() : reject(new Error(`copy: ${status}`));
            },
        };
        MailServices.copy.copyMessages(folder("INBOX"), uids.map(message), folder(name), isMove, listener, null, false);
    });
}
