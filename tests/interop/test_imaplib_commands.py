"""Every command that Python's imaplib knows, and aioimaplib's IDLE."""

from __future__ import annotations

import asyncio
import imaplib
import re
import ssl
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from letters import FLAGS, LETTERS, Account, as_flags, letter
from server_process import Server, send_message

pytestmark = pytest.mark.interop

NAME = '"Entw&APw-rfe/Neue &- alte"'


class Recording(imaplib.IMAP4):
    """Notes which commands are sent."""

    spoken: set[str]

    def _command(self, name: str, *arguments: Any) -> bytes:
        self.spoken.add(name)
        return super()._command(name, *arguments)  # type: ignore[misc, no-any-return]


class Visit:
    """Connections of one account; what they say is noted in `spoken`."""

    def __init__(self, server: Server, user: str) -> None:
        self.server = server
        self.account = Account(server, user)
        self.account.put()
        self.spoken: set[str] = set()

    def connect(self) -> imaplib.IMAP4:
        made = type("Noted", (Recording,), {"spoken": self.spoken})("127.0.0.1", self.server.port("imap"))
        assert isinstance(made, imaplib.IMAP4)
        return made

    def open(self) -> imaplib.IMAP4:
        client = self.connect()
        assert client.login(self.account.user, "secret")[0] == "OK"
        assert client.select() == ("OK", [b"6"])
        return client


def test_imaplib_speaks_every_command_it_knows(server: Server) -> None:
    spoken: set[str] = set()
    for number, part in enumerate((logging_in, refused_logins, mailboxes, messages, not_offered)):
        visit = Visit(server, f"imaplib-{number}@example.org")
        part(visit)
        spoken |= visit.spoken
    assert set(imaplib.Commands) - {"IDLE"} - spoken == set()  # IDLE: since Python 3.14


def logging_in(visit: Visit) -> None:
    account = visit.account
    client = visit.connect()
    assert "AUTH=PLAIN" in client.capabilities
    context = ssl.create_default_context(cafile=str(visit.server.ca))
    context.check_hostname = False
    assert client.starttls(context)[0] == "OK"
    assert "STARTTLS" not in client.capabilities
    plain = f"\0{account.user}\0secret".encode()
    assert client.authenticate("PLAIN", lambda challenge: plain)[0] == "OK"
    assert client.capability()[1][0].startswith(b"IMAP4rev1 ")
    assert client.enable("IMAP4rev2")[0] == "OK"
    assert client.namespace()[1][0].startswith(b'(("" "/")) ')
    assert client.noop()[0] == "OK"
    assert client.xatom("ID", "NIL")[0] == "OK"
    assert client.logout()[0] == "BYE"


def refused_logins(visit: Visit) -> None:
    account = visit.account
    client = visit.connect()
    with pytest.raises(imaplib.IMAP4.error, match="LOGIN|AUTHENTICATIONFAILED|user"):
        client.login("", "x")
    with pytest.raises(imaplib.IMAP4.error):
        client.login_cram_md5(account.user, "secret")
    client.login(account.user, "secret")
    with pytest.raises(imaplib.IMAP4.error):
        client.proxyauth("somebody@example.org")
    assert client.noop()[0] == "OK"
    client.logout()


def mailboxes(visit: Visit) -> None:
    imap = visit.open()
    assert imap.create(NAME)[0] == "OK"
    assert imap.list('""', '"Entw*"')[1] == [
        b'(\\HasChildren) "/" Entw&APw-rfe',
        b'(\\HasNoChildren) "/" "Entw&APw-rfe/Neue &- alte"',
    ]
    assert imap.subscribe(NAME)[0] == "OK"
    assert imap.lsub('""', '"Entw*"')[1] == [b'() "/" "Entw&APw-rfe/Neue &- alte"']
    assert imap.unsubscribe(NAME)[0] == "OK"
    assert imap.lsub('""', '"Entw*"')[1] == [None]
    assert imap.rename(NAME, "Other")[0] == "OK"
    assert imap.copy("1:2", "Other")[0] == "OK"
    assert imap.status("Other", "(MESSAGES UIDNEXT UNSEEN RECENT)")[1] in (
        [b"Other (MESSAGES 2 UIDNEXT 3 UNSEEN 1 RECENT %d)" % recent] for recent in (0, 2)
    )
    assert imap.select("Other", readonly=True) == ("OK", [b"2"])
    assert imap.unselect()[0] == "OK"
    assert imap.delete("Other")[0] == "OK"
    assert imap.select("Other")[0] == "NO"


def messages(visit: Visit) -> None:
    account, imap = visit.account, visit.open()
    date = datetime(2020, 2, 29, 12, 34, 56, tzinfo=UTC)
    appended = letter(9, b"\r\nGr\xc3\xbc\xc3\x9fe\r\n")
    assert imap.append("INBOX", r"(\Seen $Kept)", imaplib.Time2Internaldate(date), appended)[0] == "OK"
    assert imap.check()[0] == "OK"
    assert imap.response("EXISTS")[1][-1] == b"7"
    assert imap.recent()[0] == "OK"
    status, fetched = imap.fetch("7", "(FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])")
    head, octets = fetched[0]  # type: ignore[misc]
    assert (status, octets) == ("OK", appended)
    assert set(imaplib.ParseFlags(head)) >= {b"\\Seen", b"$Kept"}
    assert imaplib.Internaldate2tuple(head) == time.localtime(date.timestamp())
    assert re.search(rb"RFC822.SIZE %d " % len(appended), head)
    assert imap.search(None, "UNSEEN", "SUBJECT", '"letter 3"') == ("OK", [b"4"])
    assert imap.search("UTF-8", "BODY", '"Grüße"'.encode()) == ("OK", [b"3 7"])
    assert imap.store("1", "+FLAGS.SILENT", r"(\Deleted)") == ("OK", [None])
    assert imap.store("2", "FLAGS", r"(\Answered)")[1] in (
        [b"2 (UID 2 FLAGS (\\Answered%s))" % each] for each in (b"", b" \\Recent")
    )
    assert imap.uid("MOVE", "3", "Archive")[0] == "OK"
    assert imap.response("EXPUNGE") == ("EXPUNGE", [b"3"])
    assert imap.expunge() == ("OK", [b"1"])
    assert imap.uid("FETCH", "4:*", "(UID)") == ("OK", [b"2 (UID 4)", b"3 (UID 5)", b"4 (UID 6)", b"5 (UID 7)"])
    assert imap.xatom("MOVE", "1", "Archive")[0] == "OK"
    imap.store("1", "+FLAGS", r"(\Deleted)")
    assert imap.close()[0] == "OK"
    assert account.octets() == [*LETTERS[4:], appended]
    assert account.flags()[:2] == [as_flags(flags) for flags in FLAGS[4:]]
    assert account.octets("Archive") == [LETTERS[2], LETTERS[1]]


ROOT = "the quota root of INBOX"
OPTIONAL: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("ACL", "getacl", ("INBOX",)),
    ("ACL", "myrights", ("INBOX",)),
    ("ACL", "setacl", ("INBOX", "bob@example.org", "lr")),
    ("ACL", "deleteacl", ("INBOX", "bob@example.org")),
    ("ANNOTATEMORE", "getannotation", ("INBOX", '"/comment"', '("value.priv")')),
    ("ANNOTATEMORE", "setannotation", ("INBOX", '"/comment"', '("value.priv" "x")')),
    ("QUOTA", "getquota", (ROOT,)),
    ("QUOTA", "getquotaroot", ("INBOX",)),
    ("QUOTASET", "setquota", (ROOT, "(STORAGE 512)")),
    ("SORT", "sort", ("(SUBJECT)", "UTF-8", "ALL")),
    ("THREAD=REFERENCES", "thread", ("REFERENCES", "UTF-8", "ALL")),
    ("IMAP4", "partial", ("1", "RFC822.TEXT", "1", "10")),
)
"""Capability, imaplib's method, its arguments."""


def not_offered(visit: Visit) -> None:
    """What is not offered is refused, and what is offered works; the connection lives on in either case."""
    imap = visit.open()
    offered = imap.capability()[1][0].decode().upper().split()
    root = '""'
    if "QUOTA" in offered:
        _, (roots, _) = imap.getquotaroot("INBOX")
        root = roots[0].decode().removeprefix("INBOX ")
    for capability, method, arguments in OPTIONAL:
        arguments = tuple(root if each == ROOT else each for each in arguments)
        try:
            status, _ = getattr(imap, method)(*arguments)
        except imaplib.IMAP4.error:
            status = "BAD"
        assert (status == "OK") == (capability in offered), (method, offered)
        assert imap.noop()[0] == "OK"
    imap.logout()


def test_aioimaplib(server: Server) -> None:
    aioimaplib = pytest.importorskip("aioimaplib", reason="aioimaplib is not installed (pip install aioimaplib)")
    account = Account(server, "aioimaplib@example.org")
    account.put()

    async def converse() -> list[bytes]:
        client = aioimaplib.IMAP4("127.0.0.1", server.port("imap"), timeout=30)
        await client.wait_hello_from_server()
        assert (await client.login(account.user, "secret")).result == "OK"
        assert client.has_capability("IDLE")
        assert (await client.select("INBOX")).result == "OK"
        listed = await client.list('""', "*")
        assert b'(\\HasNoChildren) "/" INBOX' in listed.lines
        found = await client.uid_search("SUBJECT", '"letter 3"', charset=None)
        assert found.lines[0] == b"4"
        fetched = await client.uid("fetch", "3", "(BODY.PEEK[])")
        assert bytes(fetched.lines[1]) == LETTERS[2]
        assert (await client.append(LETTERS[1], mailbox="Archive", flags="\\Seen")).result == "OK"
        assert (await client.uid("store", "1", "+FLAGS", "(\\Flagged)")).result == "OK"
        assert (await client.move("5", "Archive")).result == "OK"

        idle = await client.idle_start(timeout=30)
        await asyncio.to_thread(send_message, server, account.user, letter(8, b"\r\n"))
        pushed: list[bytes] = []
        while b"6 EXISTS" not in pushed:
            pushed += await client.wait_server_push(timeout=30)
        client.idle_done()
        await asyncio.wait_for(idle, 30)
        assert (await client.noop()).result == "OK"
        assert (await client.logout()).result == "OK"
        return pushed

    asyncio.run(converse())
    assert account.octets("Archive") == [LETTERS[1], LETTERS[4]]
    assert account.flags()[0] == as_flags("\\flagged")
