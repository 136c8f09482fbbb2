"""Programs that carry mailboxes: what arrives is what was there, and a second run carries nothing."""

from __future__ import annotations

import email
import hashlib
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from letters import FLAGS, LETTERS, Account, as_flags, letter, maildir
from recorder import Recorder
from server_process import Server

pytestmark = pytest.mark.interop

MAILDIR_LETTERS = {"s": "\\Seen", "f": "\\Flagged", "r": "\\Answered", "d": "\\Draft", "t": "\\Deleted"}


@pytest.fixture
def wire(server: Server) -> Iterator[Recorder]:
    with Recorder(server.port("imap")) as recorder:
        yield recorder


def with_lf(octets: bytes) -> bytes:
    return octets.replace(b"\r\n", b"\n")


def system_flags(text: str) -> str:
    """IMAP flags as letters of a Maildir."""
    return "".join(sorted(name.upper() for name, flag in MAILDIR_LETTERS.items() if flag in text.split()))


def files(directory: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in directory.rglob("*") if path.parent.name in ("cur", "new")}


@pytest.mark.needs("offlineimap", package="offlineimap3")
class TestOfflineimap:
    def configure(self, client: Any, wire: Recorder, account: Account) -> list[str]:
        rc = client.write(
            ".offlineimaprc",
            f"""[general]
accounts = it
metadata = {client.home}/offlineimap
[Account it]
localrepository = near
remoterepository = far
[Repository near]
type = Maildir
localfolders = {client.home}/mail
[Repository far]
type = IMAP
remotehost = 127.0.0.1
remoteport = {wire.port}
remoteuser = {account.user}
remotepass = secret
ssl = no
starttls = no
""",
        )
        return ["offlineimap", "-c", str(rc), "-o", "-u", "basic"]

    def test_both_ways(self, server: Server, client: Any, wire: Recorder) -> None:
        account = Account(server, "offlineimap@example.org")
        account.create("Work/2024")
        account.put()
        account.put("Work/2024")
        command = self.configure(client, wire, account)
        mail = client.home / "mail"
        client.run(*command)
        expected = {
            f"letter {number}": (system_flags(flags), with_lf(octets))
            for number, (octets, flags) in enumerate(zip(LETTERS, FLAGS, strict=True))
        }
        assert maildir(mail / "INBOX") == expected
        assert maildir(mail / "Work.2024") == expected

        before = files(mail)
        wire.commands()
        output = client.run(*command)
        assert "Copy message" not in output
        assert files(mail) == before
        assert not [line for line in wire.commands() if re.search(r"APPEND|STORE|BODY|RFC822|EXPUNGE", line)]

        first, second = (next((mail / "INBOX").glob(f"*/*,U={uid},*")) for uid in (1, 2))
        flagged = mail / "INBOX" / "cur" / (first.name.partition(":")[0] + ":2,FS")
        first.rename(flagged)
        second.unlink()
        (mail / "Work.2024" / "new" / "1.2.here").write_bytes(with_lf(letter(9, b"\r\nGr\xc3\xbc\xc3\x9fe\r\n")))
        account.put(letters=[letter(7, b"\r\nnew\r\n")])
        client.run(*command)
        inbox = account.mailbox().messages
        assert sorted(inbox) == [1, 3, 4, 5, 6, 7]
        assert inbox[1].flags == as_flags("\\flagged \\seen")
        assert account.octets("Work/2024")[-1] == letter(9, b"\r\nGr\xc3\xbc\xc3\x9fe\r\n")
        assert maildir(mail / "INBOX")["letter 7"] == ("", with_lf(letter(7, b"\r\nnew\r\n")))


@pytest.mark.needs("getmail", package="getmail6")
@pytest.mark.parametrize("protocol", ["IMAP", "POP3"])
def test_getmail(server: Server, client: Any, protocol: str) -> None:
    account = Account(server, f"getmail-{protocol.lower()}@example.org")
    account.put()
    client.write(
        "getmailrc",
        f"""[retriever]
type = Simple{protocol}Retriever
server = 127.0.0.1
port = {server.port(protocol.lower())}
username = {account.user}
password = secret
[destination]
type = MDA_external
path = {client.store()}
unixfrom = false
allow_root_commands = true
[options]
read_all = false
delivered_to = false
received = false
""",
    )
    command = ["getmail", "--getmaildir", str(client.home), "--rcfile", "getmailrc"]
    assert "6 messages" in client.run(*command)
    came = [path.read_bytes() for path in (client.home / "out").iterdir()]
    own = re.compile(rb"^(Return-Path: <unknown>|X-getmail-retrieved-from-mailbox: INBOX)\n", re.M)
    assert sorted(own.sub(b"", octets) for octets in came) == sorted(with_lf(octets) for octets in LETTERS)
    assert "0 messages" in client.run(*command)
    assert len(list((client.home / "out").iterdir())) == len(LETTERS)


@pytest.mark.needs("imapfilter")
def test_imapfilter(server: Server, client: Any, wire: Recorder) -> None:
    account = Account(server, "imapfilter@example.org")
    account.put()
    client.write(
        "config.lua",
        f"""options.starttls = false
options.create = true
it = IMAP {{ server = '127.0.0.1', port = {wire.port}, username = '{account.user}', password = 'secret' }}
local found = it.INBOX:contain_subject('letter 1')
found:move_messages(it['Entwürfe'])
found = (it.INBOX:is_flagged() * it.INBOX:contain_from('bob'))
found:add_flags({{'Filtered'}})
it.INBOX:is_larger(30000):copy_messages(it.Archive)
it.INBOX:match_header('X-Folded: one'):delete_messages()
""",
    )
    client.run("imapfilter", "-c", "config.lua")
    assert account.octets("Entw&APw-rfe") == [LETTERS[1]]
    assert account.octets("Archive") == [LETTERS[3]]
    assert account.octets() == [LETTERS[0], LETTERS[2], LETTERS[3], LETTERS[5]]
    assert account.flags()[1] == as_flags("\\flagged \\seen filtered")


def copy_account(source: Any, target: Any) -> int:
    """As imapsync does: all mailboxes, with dates and flags; a message that is there already (by the digest of
    its header) only gets its flags. The number of messages that were copied."""
    copied = 0
    there = {name for _, _, name in target.list_folders()}
    for _, _, name in source.list_folders():
        if name not in there:
            target.create_folder(name)
        source.select_folder(name, readonly=True)
        target.select_folder(name)
        known = {digest: uid for uid, digest in digests(target).items()}
        for uid, digest in digests(source).items():
            wanted = source.fetch([uid], ["BODY.PEEK[]", "FLAGS", "INTERNALDATE", "RFC822.SIZE"])[uid]
            flags = [flag for flag in wanted[b"FLAGS"] if flag != b"\\Recent"]
            if digest in known:
                target.set_flags([known[digest]], flags, silent=True)
                continue
            assert wanted[b"RFC822.SIZE"] == len(wanted[b"BODY[]"])
            target.append(name, wanted[b"BODY[]"], flags, wanted[b"INTERNALDATE"])
            copied += 1
    return copied


def digests(connection: Any) -> dict[int, bytes]:
    """UID → digest of the header."""
    uids = connection.search("ALL")
    headers = connection.fetch(uids, ["BODY.PEEK[HEADER]"]) if uids else {}
    return {uid: hashlib.sha256(headers[uid][b"BODY[HEADER]"]).digest() for uid in uids}


def test_imapclient_copies_an_account(server: Server, wire: Recorder) -> None:
    imapclient = pytest.importorskip("imapclient", reason="IMAPClient is not installed (pip install imapclient)")
    here, there = Account(server, "imapsync-from@example.org"), Account(server, "imapsync-to@example.org")
    here.create("Gr&APwA3w-e/&ZeVnLIqe-")
    here.put()
    here.put("Gr&APwA3w-e/&ZeVnLIqe-")
    with (
        imapclient.IMAPClient("127.0.0.1", server.port("imap"), ssl=False) as source,
        imapclient.IMAPClient("127.0.0.1", wire.port, ssl=False) as target,
    ):
        source.normalise_times = target.normalise_times = False
        source.login(here.user, "secret")
        target.login(there.user, "secret")
        assert copy_account(source, target) == 2 * len(LETTERS)
        assert target.folder_status("Grüße/日本語", ["MESSAGES", "UNSEEN"]) == {b"MESSAGES": 6, b"UNSEEN": 2}
        wire.commands()
        assert copy_account(source, target) == 0
        assert not [line for line in wire.commands() if "APPEND" in line]
    for name in ("INBOX", "Gr&APwA3w-e/&ZeVnLIqe-"):
        assert there.mailbox(name).messages == here.mailbox(name).messages


def test_imapclient_speaks_extensions(server: Server) -> None:
    imapclient = pytest.importorskip("imapclient", reason="IMAPClient is not installed (pip install imapclient)")
    account = Account(server, "imapclient@example.org")
    account.put()
    with imapclient.IMAPClient("127.0.0.1", server.port("imap"), ssl=False) as connection:
        connection.login(account.user, "secret")
        connection.id_({"name": "IMAPClient"})
        assert connection.namespace().personal == (("", "/"),)
        assert connection.find_special_folder(imapclient.imapclient.SENT) == "Sent"
        assert connection.select_folder("INBOX")[b"EXISTS"] == 6
        assert connection.search(["OR", "FLAGGED", "ANSWERED", "NOT", "SUBJECT", "letter 2"]) == [4]
        assert connection.search(["SINCE", datetime(1996, 7, 17), "BEFORE", datetime(1996, 7, 18)]) == [
            1,
            2,
            3,
            4,
            5,
            6,
        ]
        assert connection.search(["TEXT", "Grüße — ünïcödé"], charset="UTF-8") == [3]
        structure = connection.fetch([4], ["BODYSTRUCTURE", "ENVELOPE"])[4]
        assert structure[b"BODYSTRUCTURE"].is_multipart and len(structure[b"BODYSTRUCTURE"][0]) == 2
        assert structure[b"ENVELOPE"].subject == b"letter 3"
        assert structure[b"ENVELOPE"].from_[0].host == b"example.net"
        assert connection.add_flags([1], ["\\Flagged"])[1] == (b"\\Flagged", b"\\Recent")
        connection.move([5], "Archive")
        connection.delete_messages([6])
        connection.uid_expunge([6])
        assert connection.search() == [1, 2, 3, 4]
        connection.idle()
        account.put(letters=[letter(8, b"\r\n")])
        told = connection.idle_check(timeout=30)
        connection.idle_done()
        assert (5, b"EXISTS") in told
        connection.unselect_folder()
        connection.logout()
    assert account.octets("Archive") == [LETTERS[4]]
    assert email.message_from_bytes(account.octets()[-1])["Subject"] == "letter 8"
