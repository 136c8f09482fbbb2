"""Programs from the distribution, as their users run them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from server_process import Server, send_message

pytestmark = pytest.mark.interop


def message(subject: str, body: str = "Hello.") -> bytes:
    text = f"From: bob@example.net\nTo: someone@example.org\nSubject: {subject}\n\n{body}\n"
    return text.replace("\n", "\r\n").encode()


def inbox(server: Server, user: str) -> list[bytes]:
    """The messages of the user, read raw from the Maildir's side of the wire: by POP3."""
    with server.connect("pop3") as client:
        client.send(b"USER %s\r\nPASS x\r\nSTAT\r\n" % user.encode())
        client.line()
        client.line()
        count = int(client.line().split()[1])
        found = []
        for number in range(1, count + 1):
            client.send(b"RETR %d\r\n" % number)
            found.append(b"\n".join(client.until(b".")[1:-1]))
        return found


@pytest.mark.needs("curl")
class TestCurl:
    def test_sends(self, server: Server, client: Any) -> None:
        file = client.write("mail.txt", message("from curl").decode())
        url = f"smtp://127.0.0.1:{server.port('smtp')}/client.example"
        client.run(
            "curl", "-sS", url, "--mail-from", "bob@example.net", "--mail-rcpt", "curl@example.org", "-T", str(file)
        )
        assert b"Subject: from curl" in inbox(server, "curl@example.org")[0]

    @pytest.mark.parametrize("scheme", ["imap", "imaps", "pop3", "pop3s"])
    def test_reads(self, server: Server, client: Any, scheme: str) -> None:
        user = f"curl-{scheme}@example.org"
        send_message(server, user, message("for curl"))
        path = "INBOX;MAILINDEX=1" if scheme.startswith("imap") else "1"
        url = f"{scheme}://127.0.0.1:{server.port(scheme)}/{path}"
        tls = ["--cacert", server.services["ca"]] if server.services.get("ca") else ["--insecure"]
        assert "Subject: for curl" in client.run("curl", "-sS", *tls, "-u", f"{user}:secret", url)

    @pytest.mark.parametrize("scheme", ["imap", "pop3"])
    def test_starts_tls(self, server: Server, client: Any, scheme: str) -> None:
        user = f"curl-tls-{scheme}@example.org"
        send_message(server, user, message("for curl"))
        path = "INBOX;MAILINDEX=1" if scheme == "imap" else "1"
        url = f"{scheme}://127.0.0.1:{server.port(scheme)}/{path}"
        output = client.run("curl", "-sS", "--ssl-reqd", "--insecure", "-u", f"{user}:secret", url)
        assert "Subject: for curl" in output

    def test_lists_and_appends(self, server: Server, client: Any) -> None:
        user = ["-u", "curl-list@example.org:x"]
        base = f"imap://127.0.0.1:{server.port('imap')}"
        assert "INBOX" in client.run("curl", "-sS", *user, base)
        file = client.write("mail.txt", message("appended").decode())
        client.run("curl", "-sS", *user, "-T", str(file), f"{base}/INBOX")
        assert "EXISTS" in client.run("curl", "-sS", *user, "-X", "EXAMINE INBOX", base)
        assert "Subject: appended" in client.run("curl", "-sS", *user, f"{base}/INBOX;UID=1")


@pytest.mark.needs("swaks")
class TestSwaks:
    @pytest.mark.parametrize(
        ("port", "options"),
        [
            ("smtp", []),
            ("smtp", ["--tls"]),
            ("smtp", ["--pipeline"]),
            ("submissions", ["--tlsc", "-a", "PLAIN", "-au", "swaks@example.org", "-ap", "x"]),
            ("submission", ["--tls", "-a", "LOGIN", "-au", "swaks@example.org", "-ap", "x"]),
        ],
        ids=["plain", "starttls", "pipeline", "submissions", "submission"],
    )
    def test_sends(self, server: Server, client: Any, port: str, options: list[str]) -> None:
        recipient = f"swaks-{port}-{len(options)}@example.org"
        where = ["--server", "127.0.0.1", "--port", str(server.port(port))]
        client.run("swaks", *where, "--from", "swaks@example.org", "--to", recipient, *options)
        assert b"This is a test mailing" in inbox(server, recipient)[0]


@pytest.mark.needs("msmtp")
@pytest.mark.parametrize("tls", ["off", "on"])
def test_msmtp(server: Server, client: Any, tls: str) -> None:
    recipient = f"msmtp-{tls}@example.org"
    rc = client.write(
        ".msmtprc",
        f"""account default
host 127.0.0.1
port {server.port("submission")}
from msmtp@example.org
tls {tls}
tls_starttls {tls}
tls_certcheck off
auth {"plain" if tls == "on" else "login"}
user msmtp@example.org
password x
""",
    )
    client.run("msmtp", "-C", str(rc), recipient, stdin=message("from msmtp"))
    assert b"Subject: from msmtp" in inbox(server, recipient)[0]


@pytest.mark.needs("mbsync", package="isync")
class TestMbsync:
    def configure(self, server: Server, client: Any, user: str) -> Path:
        (client.home / "mail").mkdir()
        client.write(
            ".mbsyncrc",
            f"""IMAPStore far
Host 127.0.0.1
Port {server.port("imap")}
User {user}
Pass secret
SSLType None
AuthMechs *

MaildirStore near
Path {client.home}/mail/
Inbox {client.home}/mail/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns *
Create Both
Expunge Both
Sync All
SyncState *
""",
        )
        return Path(client.home) / "mail"

    def test_a_second_run_transfers_nothing(self, server: Server, client: Any) -> None:
        user = "mbsync@example.org"
        for number in range(5):
            send_message(server, user, message(f"number {number}"))
        mail = self.configure(server, client, user)
        client.run("mbsync", "-a")
        files = {path for path in mail.rglob("*") if path.parent.name in ("cur", "new")}
        assert len([path for path in files if path.parent.parent.name == "INBOX"]) == 5
        before = {path: path.stat().st_mtime_ns for path in files}
        output = client.run("mbsync", "-aV")
        assert before == {
            path: path.stat().st_mtime_ns for path in mail.rglob("*") if path.parent.name in ("cur", "new")
        }
        assert "UIDVALIDITY" not in output.replace("UIDVALIDITY ok", ""), output
        assert len(inbox(server, user)) == 5

    def test_changes_go_both_ways(self, server: Server, client: Any) -> None:
        user = "mbsync-both@example.org"
        send_message(server, user, message("from far"))
        mail = self.configure(server, client, user)
        client.run("mbsync", "-a")
        (file,) = [path for box in ("cur", "new") for path in (mail / "INBOX" / box).iterdir()]
        seen = mail / "INBOX" / "cur" / (file.name.partition(":")[0] + ":2,FS")
        file.rename(seen)
        (mail / "INBOX" / "new" / "1.2.here").write_bytes(message("from near"))
        client.run("mbsync", "-a")
        with server.connect("imap") as imap:
            imap.send(b"a LOGIN %s x\r\nb SELECT INBOX\r\n" % user.encode())
            assert b"* 2 EXISTS" in imap.until(b"b OK")
            imap.send(b"c FETCH 1 FLAGS\r\n")
            flags = imap.line()
            assert b"\\Seen" in flags and b"\\Flagged" in flags


@pytest.mark.needs("fetchmail")
@pytest.mark.parametrize("protocol", ["POP3", "IMAP"])
def test_fetchmail(server: Server, client: Any, protocol: str) -> None:
    user = f"fetchmail-{protocol.lower()}@example.org"
    for number in range(3):
        send_message(server, user, message(f"number {number}"))
    out = client.home / "out"
    client.write("store", f"#!/bin/sh\ncat >>{out}\n").chmod(0o700)
    rc = client.write(
        ".fetchmailrc",
        f"""poll 127.0.0.1 service {server.port(protocol.lower())} protocol {protocol}
  user "{user}" password "secret" sslproto "" nokeep mda "{client.home}/store"
""",
    )
    client.run("fetchmail", "-f", str(rc), "--pidfile", str(client.home / "pid"))
    assert "number 0" in re.findall(r"Subject: (number \d)", out.read_text())
    assert inbox(server, user) == []
    client.run("fetchmail", "-f", str(rc), "--pidfile", str(client.home / "pid"), statuses=(1,))  # 1: no mail


@pytest.mark.needs("mutt")
class TestMutt:
    def common(self, server: Server) -> str:
        return f"set certificate_file={server.ca}\nset ssl_ca_certificates_file={server.ca}\nset header_cache=\n"

    def test_sends(self, server: Server, client: Any) -> None:
        url = f"smtp://mutt%40example.org@127.0.0.1:{server.port('submission')}/"
        rc = client.write(
            "muttrc",
            f"{self.common(server)}set smtp_url={url}\nset smtp_pass=x\nset smtp_authenticators='plain'\n"
            "set from=mutt@example.org\nset copy=no\nset use_from=yes\n",
        )
        client.run("mutt", "-F", str(rc), "-s", "from mutt", "--", "to-mutt@example.org", stdin=b"Hello.\n")
        assert b"Subject: from mutt" in inbox(server, "to-mutt@example.org")[0]

    def test_reads_a_mailbox(self, server: Server, client: Any) -> None:
        for number in range(3):
            send_message(server, "mutt@example.org", message(f"number {number}"))
        out = client.home / "out"
        rc = client.write(
            "muttrc",
            f"{self.common(server)}set imap_user=mutt@example.org\nset imap_pass=x\n"
            "set mbox_type=mbox\nset confirmcreate=no\n"
            "set confirmappend=no\nset sleep_time=0\nset quit=yes\nset move=no\nset wait_key=no\n"
            f"push '<tag-pattern>~A<enter><tag-prefix><copy-message>{out}<enter><quit>'\n",
        )
        folder = f"imap://127.0.0.1:{server.port('imap')}/INBOX"
        client.run_in_terminal("mutt", "-n", "-F", str(rc), "-f", folder)
        assert "number 0" in re.findall(r"Subject: (number \d)", out.read_text())
