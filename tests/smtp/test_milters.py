"""SMTP sessions with milters: what they are told, and what becomes of mail by what they say."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from twisted.internet.defer import Deferred

from mailstack.config.policy import Milter, OnError
from mailstack.errors import Problem
from mailstack.mail.address import Address
from mailstack.ports import Peer, TlsInfo
from mailstack.smtp.milter.message import MAX_FIELDS
from mailstack.smtp.milter.milters import RETRY_AFTER
from mailstack.smtp.milter.passage import MAX_WANTED
from mailstack.smtp.milter.stream import Broken, Closed
from mailstack.smtp.session import SmtpSession
from mailstack.smtp.settings import Role, SmtpResources, SmtpSettings
from mailstack.smtp.wire import milter as wire
from mailstack.smtp.wire.milter import Action, Manner
from mailstack.testing.accounts import MemoryAccounts, MemoryDirectory
from mailstack.testing.clock import ManualClock
from mailstack.testing.connection import MemoryConnection
from mailstack.testing.counters import MemoryCounters
from mailstack.testing.log import RecordingLog
from mailstack.testing.milter import EVERYTHING, MemoryMilter, Reaction, options
from mailstack.testing.outbound import MemoryOutbound
from mailstack.testing.spool import MemorySpool
from mailstack.testing.store import MemoryStore

USERS = {"joe@example.com": "secret", "ann@example.com": "secret"}
LOG_IN = b"AUTH PLAIN AGpvZUBleGFtcGxlLmNvbQBzZWNyZXQ=\r\n"
MESSAGE = b"Subject: x\r\nFrom: a@example.org\r\n\r\nbody\r\n"
OK, REJECT, TEMPFAIL, ACCEPT, DISCARD = (wire.packet(letter) for letter in (b"c", b"r", b"t", b"a", b"d"))
SKIP, PROGRESS = wire.packet(b"s"), wire.packet(b"p")


def field(letter: bytes, name: bytes, value: bytes, index: int | None = None) -> bytes:
    number = b"" if index is None else index.to_bytes(4, "big")
    return wire.packet(letter, number + name + b"\0" + value + b"\0")


class World:
    """One session with milters and everything around it."""

    def __init__(
        self, *milters: MemoryMilter, on_error: str = "tempfail", tls: bool = False, **changes: object
    ) -> None:
        self.store, self.spool, self.outbound = MemoryStore(), MemorySpool(), MemoryOutbound()
        self.log, self.counters, self.clock = RecordingLog(), MemoryCounters(), ManualClock()
        self.milters = {f"{number}:1": milter for number, milter in enumerate(milters, 1)}
        self.connection = MemoryConnection(
            peer=Peer("192.0.2.1", 40000), tls=TlsInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384") if tls else None
        )
        self.resources = SmtpResources(
            MemoryDirectory(USERS, {}), MemoryAccounts(USERS), self.store, self.outbound, self.spool, self.log,
            self.counters, self.clock, dial=self._dial,
        )  # fmt: skip
        configured = tuple(Milter(f"m{name}", name, on_error=OnError(on_error)) for name in self.milters)
        settings = SmtpSettings(hostname="mx.example", milters=configured, **changes)  # type: ignore[arg-type]
        self.over: list[object] = []
        self.session = SmtpSession(self.connection, self.resources, settings)
        Deferred.fromCoroutine(self.session.run()).addBoth(self.over.append)
        self.greeting = self.connection.take()

    async def _dial(self, address: str, timeout: float) -> object:
        return await self.milters[address].dial(address, timeout)

    def say(self, octets: bytes) -> bytes:
        self.connection.feed(octets)
        return self.connection.take()

    def begin(self, *recipients: bytes, log_in: bool = False) -> bytes:
        self.say((b"LHLO" if self.session.settings.role is Role.LMTP else b"EHLO") + b" client.example\r\n")
        if log_in:
            self.say(LOG_IN)
        to = b"".join(b"RCPT TO:<%s>\r\n" % each for each in recipients or (b"joe@example.com",))
        sender = b"joe@example.com" if log_in else b"a@example.org"
        return self.say(b"MAIL FROM:<%s>\r\n%s" % (sender, to))

    def send(self, message: bytes = MESSAGE, *recipients: bytes, log_in: bool = False) -> bytes:
        """A whole message; the last line that is answered."""
        self.begin(*recipients, log_in=log_in)
        return self.say(b"DATA\r\n%s.\r\n" % message).split(b"\r\n")[-2]

    def got(self, account: str = "joe@example.com", mailbox: str = "INBOX") -> bytes:
        """The one message of a mailbox, without what stands above what came."""
        [message] = self.store.box(account, mailbox).messages.values()
        return message.octets.partition(b"22:13:20 +0000\r\n")[2]

    def failures(self) -> list[object]:
        return [line.fields["reason"] for line in self.log.lines if line.what == "milter failed"]


def changing(*changes: bytes, manners: Manner = EVERYTHING) -> MemoryMilter:
    """One that wants these changes at the end of the message."""
    milter = MemoryMilter(E=b"".join(changes) + OK)
    milter.manners = manners
    return milter


def test_a_milter_is_told_everything_in_its_order() -> None:
    milter = MemoryMilter()
    world = World(milter, tls=True)
    assert world.greeting.startswith(b"220 ")
    world.say(b"EHLO client.example\r\n")
    assert world.say(
        b"MAIL FROM:<a@example.org> SIZE=9 BODY=8BITMIME\r\nRCPT TO:<joe@example.com> NOTIFY=NEVER\r\n"
    ) == (b"250 2.1.0 Sender ok\r\n250 2.1.5 Recipient ok\r\n")
    world.say(b"DATA\r\nSubject: x\r\n y\r\nnonsense\r\nTo :z\r\n\r\nbody\r\n.\r\n")
    assert milter.letters() == b"OCHMRTLLNBE"
    assert milter.data_of(b"C") == [b"[192.0.2.1]\x004\x9c\x40192.0.2.1\x00"]
    assert milter.data_of(b"H") == [b"client.example\0"]
    assert milter.data_of(b"M") == [b"<a@example.org>\0SIZE=9\0BODY=8BITMIME\0"]
    assert milter.data_of(b"R") == [b"<joe@example.com>\0NOTIFY=NEVER\0"]
    assert milter.data_of(b"L") == [b"Subject\0x\n y\0", b"To\0z\0"]
    assert milter.data_of(b"B") == [b"body\r\n"] and milter.data_of(b"E") == [b""]
    assert milter.macros(b"C") == {
        "j": "mx.example", "_": "[192.0.2.1]", "daemon_name": "receive", "v": "mailstack", "client_addr": "192.0.2.1",
        "client_name": "[192.0.2.1]", "client_port": "40000",
    }  # fmt: skip
    assert milter.macros(b"H") == {"tls_version": "TLSv1.3", "cipher": "TLS_AES_256_GCM_SHA384"}
    assert milter.macros(b"M") == {
        "i": "c1.1", "mail_addr": "a@example.org", "mail_host": "example.org", "mail_mailer": "smtp",
    }  # fmt: skip
    assert milter.macros(b"R") == {
        "i": "c1.1", "rcpt_addr": "joe@example.com", "rcpt_host": "example.com", "rcpt_mailer": "local",
    }  # fmt: skip
    assert [milter.macros(letter) for letter in (b"T", b"N", b"E")] == [{"i": "c1.1"}] * 3
    assert b"nonsense" in world.got()
    world.say(b"QUIT\r\n")
    assert milter.letters().endswith(b"EQ") and milter.open == 0 and world.spool.leaks == 0


def test_a_login_is_named() -> None:
    milter = MemoryMilter()
    world = World(milter, role=Role.SUBMISSION, allow_plaintext_auth=True)
    assert world.send(log_in=True).startswith(b"250")
    assert milter.macros(b"M") | {"auth_type": "PLAIN", "auth_authen": "joe@example.com"} == milter.macros(b"M")
    assert milter.macros(b"C")["daemon_name"] == "submission"


def test_a_milter_gets_the_macros_that_it_names() -> None:
    milter = MemoryMilter(O=options(more=b"\0\0\0\2{mail_addr}\0\0\0\0\0j, _\0"))
    World(milter).send()
    assert milter.macros(b"M") == {"mail_addr": "a@example.org"}
    assert milter.macros(b"C") == {"j": "mx.example", "_": "[192.0.2.1]"}
    assert milter.macros(b"R")["rcpt_addr"] == "joe@example.com"


def test_what_a_milter_does_not_want() -> None:
    milter = MemoryMilter()
    milter.manners = wire.ALL_MANNERS & ~Manner.NO_RCPT & ~Manner.MAY_SKIP & ~Manner.SILENT_RCPT
    assert World(milter).send().startswith(b"250")
    assert milter.letters() == b"ORE"


def test_what_a_milter_does_not_answer() -> None:
    milter = MemoryMilter()
    milter.manners = Manner(sum(flag for flag in Manner if flag.name and flag.name.startswith("SILENT")))
    assert World(milter).send().startswith(b"250")
    assert milter.letters() == b"OCHMRTLLNBE" and len(milter.waits) == 2


@pytest.mark.parametrize(("version", "expected"), [(2, b"OCHMRLLNBE"), (3, b"OCHMRLLNBE"), (4, b"OCHMRTLLNBE")])
def test_old_milters(version: int, expected: bytes) -> None:
    milter = MemoryMilter(O=options(Action(0x3F), version=version))
    assert World(milter).send().startswith(b"250")
    assert milter.letters() == expected


def test_the_body_comes_in_pieces_until_it_is_skipped() -> None:
    body = b"0123456789abcd\r\n" * 20000
    milter = MemoryMilter()
    World(milter).send(b"Subject: x\r\n\r\n" + body)
    pieces = milter.data_of(b"B")
    assert b"".join(pieces) == body and [len(piece) for piece in pieces[:-1]] == [65535] * 4
    milter = MemoryMilter(B=SKIP)
    assert World(milter).send(b"Subject: x\r\n\r\n" + body).startswith(b"250")
    assert milter.letters() == b"OCHMRTLNBE"


def test_what_is_skipped_is_skipped_for_one_message() -> None:
    milter = MemoryMilter(L=SKIP, N=[REJECT])
    world = World(milter)
    for _ in range(2):
        world.send()
    assert milter.letters() == b"OCHMRTLN" + b"HMRTLNBE"


@pytest.mark.parametrize(
    ("message", "told"),
    [(b"", b"NE"), (b"\r\n", b"NE"), (b"\r\nbody\r\n", b"NBE"), (b"Subject: x\r\n", b"LNE"), (b"text\r\n", b"NE")],
)
def test_messages_without_header_or_body(message: bytes, told: bytes) -> None:
    milter = changing(field(b"h", b"X", b"y"))
    world = World(milter)
    assert world.send(message).startswith(b"250")
    assert milter.letters() == b"OCHMRT" + told
    header, _, body = message.partition(b"\r\n") if message.startswith(b"\r\n") else (message, b"", b"")
    assert world.got() == header + b"X: y\r\n\r\n" + body


def test_with_leading_space() -> None:
    milter = changing(field(b"h", b"X", b"y"), field(b"h", b"Y", b"  z"), manners=Manner.LEADING_SPACE)
    world = World(milter)
    world.send(b"Subject:  x\r\nTo:y\r\n\r\n")
    assert milter.data_of(b"L") == [b"Subject\0  x\0", b"To\0y\0"]
    assert world.got() == b"Subject:  x\r\nTo:y\r\nX:y\r\nY:  z\r\n\r\n"


def test_a_field_that_is_too_large_is_shown_in_part() -> None:
    milter = MemoryMilter()
    world = World(milter)
    assert world.send(b"X: a\0b" + b"c" * 70000 + b"\r\n\r\n").startswith(b"250")
    [shown] = milter.data_of(b"L")
    assert len(shown) == 65535 and shown.startswith(b"X\0abc") and shown.endswith(b"c\0")
    assert len(world.got()) > 70000


# --- judgements


@pytest.mark.parametrize(
    ("letter", "answer", "reply"),
    [
        (b"M", REJECT, b"550 5.7.1 Command rejected"),
        (b"M", TEMPFAIL, b"451 4.7.1 Service unavailable; try again later"),
        (b"R", REJECT, b"550 5.7.1 Command rejected"),
        (b"R", wire.packet(b"y", b"450 4.2.0 Grey\0"), b"450 4.2.0 Grey"),
        (b"R", wire.packet(b"y", b"550 Never\0"), b"550 5.7.1 Never"),
        (b"T", REJECT, b"550 5.7.1 Command rejected"),
        (b"L", TEMPFAIL, b"451 4.7.1 Service unavailable; try again later"),
        (b"N", REJECT, b"550 5.7.1 Command rejected"),
        (b"B", wire.packet(b"y", b"554-5.7.1 One\r\n554 5.7.1 Two\0"), b"554-5.7.1 One\r\n554 5.7.1 Two"),
        (b"E", REJECT, b"550 5.7.1 Command rejected"),
        (b"E", field(b"h", b"X", b"y") + REJECT, b"550 5.7.1 Command rejected"),
    ],
)
def test_refusals(letter: bytes, answer: bytes, reply: bytes) -> None:
    milter = MemoryMilter(**{letter.decode(): answer})
    world = World(milter)
    said = world.begin()
    if letter not in b"MR":
        said = world.say(b"DATA\r\n")
        said += world.say(MESSAGE + b".\r\n") if said.startswith(b"354") else b""
    assert reply + b"\r\n" in said
    assert not world.store.deliveries and world.counters.totals["smtp_refusals", "milters"] == 1
    before = len(milter.letters())
    world.say(b"RSET\r\n")
    assert milter.letters()[before:] == (b"A" if letter == b"R" else b"")
    milter.answers.clear()
    assert world.send().startswith(b"250")
    assert world.spool.leaks == 0


def test_a_sender_is_refused_by_the_second() -> None:
    first, second = MemoryMilter(), MemoryMilter(M=[REJECT])
    world = World(first, second)
    world.begin()
    assert first.letters() == b"OCHMA" and second.letters() == b"OCHM"
    assert world.send().startswith(b"250")


def test_one_recipient_is_refused_and_another_is_not() -> None:
    world = World(MemoryMilter(R=[REJECT, OK]))
    world.begin(b"joe@example.com", b"ann@example.com")
    world.say(b"DATA\r\n" + MESSAGE + b".\r\n")
    assert [each.account for each in world.store.deliveries] == ["ann@example.com"]


@pytest.mark.parametrize(
    ("answer", "greeting"),
    [
        (REJECT, b"554 5.7.1 No mail from you is taken here\r\n"),
        (TEMPFAIL, b"421 4.7.1 Service unavailable; try again later\r\n"),
        (wire.packet(b"y", b"554 5.7.1 Listed\0"), b"554 5.7.1 Listed\r\n"),
        (wire.packet(b"4"), b"421 4.7.0 Service shut down; closing connection\r\n"),
    ],
)
def test_refused_instead_of_greeted(answer: bytes, greeting: bytes) -> None:
    milter = MemoryMilter(C=answer)
    world = World(milter)
    assert world.greeting == greeting and world.over == [None] and milter.open == 0


def test_a_name_is_refused() -> None:
    world = World(MemoryMilter(H=[REJECT, OK]))
    assert world.say(b"EHLO bad.example\r\n") == b"550 5.7.1 Command rejected\r\n"
    assert world.say(b"MAIL FROM:<>\r\n").startswith(b"503")
    assert world.send().startswith(b"250")


def test_421_ends_the_connection() -> None:
    world = World(MemoryMilter(M=wire.packet(b"y", b"421 4.7.0 Go away\0")))
    world.say(b"EHLO c\r\n")
    assert world.say(b"MAIL FROM:<>\r\nNOOP\r\n") == b"421 4.7.0 Go away\r\n" and world.over == [None]


@pytest.mark.parametrize(
    ("letter", "told"), [("C", b"OC"), ("H", b"OCH"), ("M", b"OCHM"), ("R", b"OCHMR"), ("L", b"OCHMRTL")]
)
def test_accepted_before_the_end(letter: str, told: bytes) -> None:
    milter = MemoryMilter(**{letter: [ACCEPT]})
    world = World(milter)
    assert world.send().startswith(b"250") and milter.letters() == told
    assert world.send().startswith(b"250")
    connection = letter in "CH"
    assert milter.letters() == (told if connection else told + b"HMRTLLNBE")


@pytest.mark.parametrize("letter", ["M", "R", "T", "L", "B", "E"])
def test_discarded(letter: str) -> None:
    milter, second = MemoryMilter(**{letter: [DISCARD]}), MemoryMilter()
    world = World(milter, second)
    assert world.send() == b"250 2.0.0 Ok c1.1"
    assert not world.store.deliveries and world.spool.leaks == 0
    assert [line.fields["id"] for line in world.log.lines if line.what == "mail discarded"] == ["c1.1"]
    assert b"E" not in second.letters() and b"A" not in milter.letters()
    assert world.send() == b"250 2.0.0 Ok c1.2" and len(world.store.deliveries) == 1
    assert second.letters().endswith(b"E")


def test_what_we_refuse_is_not_shown() -> None:
    milter = MemoryMilter()
    world = World(milter)
    world.begin(b"nobody@example.com", b"joe@example.com")
    assert milter.data_of(b"R") == [b"<joe@example.com>\0"]
    world.say(b"RSET\r\n")
    assert world.send(b"Received: x\r\n" * 101 + b"\r\n").startswith(b"554 5.4.6")
    assert milter.letters() == b"OCHMRA" + b"HMRTA"


# --- changes


def test_changes_of_the_header() -> None:
    world = World(
        changing(
            field(b"h", b"X-Last", b"1\n 2"),
            field(b"i", b"X-Top", b"t", 0),
            field(b"i", b"X-First", b"f", 2),
            field(b"i", b"X-Second", b"s", 3),
            field(b"m", b"SUBJECT", b"changed", 1),
            field(b"m", b"To", b"", 2),
            field(b"m", b"Cc", b"new", 3),
            field(b"m", b"Bcc", b"", 1),
            field(b"m", b"From", b"first", 0),
        )
    )
    world.send(b"Subject: x\r\nTo: 1\r\nto: 2\r\n\tfolded\r\nTo: 3\r\nFrom: 1\r\nFrom: 2\r\n\r\nbody\r\n")
    assert world.got() == (
        b"X-First: f\r\nX-Second: s\r\nSUBJECT: changed\r\nTo: 1\r\nTo: 3\r\nFrom: first\r\nFrom: 2\r\n"
        b"X-Last: 1\r\n 2\r\nCc: new\r\n\r\nbody\r\n"
    )
    [message] = world.store.box("joe@example.com").messages.values()
    assert message.octets.startswith(
        b"Return-Path: <a@example.org>\r\nDelivered-To: joe@example.com\r\nX-Top: t\r\nReceived: from client.example"
    )


@pytest.mark.parametrize("value", [b"a\nBcc: x", b"a\r\n\r\nbody", b"a\rX: y\n\n", b"\n\na", b"a\n \nb", b"\0"])
def test_no_value_becomes_another_field_or_the_end_of_the_header(value: bytes) -> None:
    world = World(MemoryMilter(E=wire.packet(b"h", b"X-Spam\0" + value.replace(b"\0", b"") + b"\0") + OK))
    world.send(b"Subject: x\r\n\r\nbody\r\n")
    head, _, body = world.got().partition(b"\r\n\r\n")
    names = [line.partition(b":")[0] for line in head.split(b"\r\n") if line[:1] not in b"\t "]
    assert names == [b"Subject", b"X-Spam"] and body == b"body\r\n"


def test_several_milters_in_their_order() -> None:
    first, second = (
        changing(field(b"h", b"X-First", b"1"), wire.packet(b"b", b"new\n")),
        changing(field(b"m", b"X-First", b"2", 1)),
    )
    world = World(first, second)
    world.send()
    assert second.data_of(b"L")[-1] == b"X-First\x001\0" and second.data_of(b"B") == [b"new\r\n"]
    assert world.got() == b"Subject: x\r\nFrom: a@example.org\r\nX-First: 2\r\n\r\nnew\r\n"
    assert world.spool.leaks == 0


def test_places_are_counted_with_our_own_field() -> None:
    first = changing(field(b"i", b"A", b"1", 0), field(b"i", b"B", b"2", 1), field(b"i", b"D", b"4", 3))
    second = changing(field(b"i", b"C", b"3", 2), field(b"m", b"A", b"changed", 1), field(b"i", b"E", b"5", 999))
    world = World(first, second)
    world.send(b"Subject: x\r\n\r\n")
    assert second.data_of(b"L") == [b"A\x001\0", b"B\x002\0", b"D\x004\0", b"Subject\0x\0"]
    [message] = world.store.box("joe@example.com").messages.values()
    _, _, octets = message.octets.partition(b"Delivered-To: joe@example.com\r\n")
    assert octets.startswith(b"A: changed\r\nB: 2\r\nC: 3\r\nReceived: ")
    assert world.got() == b"D: 4\r\nSubject: x\r\nE: 5\r\n\r\n"


def test_another_body() -> None:
    pieces = [b"one\r", b"\ntwo\n", "\u00e4".encode() * 30000, b"\nend\r"]
    world = World(changing(*(wire.packet(b"b", piece) for piece in pieces)))
    world.send()
    expected = b"one\r\ntwo\r\n" + "\u00e4".encode() * 30000 + b"\r\nend\r\n"
    assert world.got() == b"Subject: x\r\nFrom: a@example.org\r\n\r\n" + expected
    assert world.spool.leaks == 0


def test_a_body_that_has_become_one_of_8_bit() -> None:
    world = World(changing(wire.packet(b"b", "\u00e4".encode())), role=Role.SUBMISSION, allow_plaintext_auth=True)
    world.send(MESSAGE, b"x@elsewhere.example", log_in=True)
    [item] = world.outbound.items
    assert item.envelope.body_8bit and item.message.endswith(b"\r\n\r\n\xc3\xa4")


def test_no_body_at_all() -> None:
    world = World(changing(wire.packet(b"b")))
    world.send()
    assert world.got() == b"Subject: x\r\nFrom: a@example.org\r\n\r\n"


def test_what_a_submission_lacks_is_shown_and_there_once() -> None:
    milter = changing(field(b"i", b"X", b"y", 1))
    world = World(milter, role=Role.SUBMISSION, allow_plaintext_auth=True)
    world.send(b"Subject: x\r\nBcc: ann@example.com\r\n\r\nb\r\n", log_in=True)
    assert [data.partition(b"\0")[0] for data in milter.data_of(b"L")] == [b"Date", b"Message-ID", b"Subject"]
    date = b"Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n"
    [message] = world.store.box("joe@example.com").messages.values()
    assert message.octets.count(date) == 1 and message.octets.count(b"Message-ID: <") == 1
    assert b"+0000\r\nX: y\r\n" + date in message.octets


def test_changes_of_the_envelope() -> None:
    world = World(
        changing(
            wire.packet(b"-", b"<joe@example.com>\0"),
            wire.packet(b"+", b"ann@example.com\0"),
            wire.packet(b"+", b"<ann@example.com>\0"),
            wire.packet(b"2", b"<far@elsewhere.example>\0NOTIFY=NEVER\0"),
            wire.packet(b"+", b"<nobody@example.com>\0"),
            wire.packet(b"2", b"<bad@elsewhere.example>\0FOO=1\0"),
            wire.packet(b"+", b"no address\0"),
            wire.packet(b"e", b"<other@example.org>\0"),
        )
    )
    assert world.send().startswith(b"250")
    assert [(each.account, each.prefix[:38]) for each in world.store.deliveries] == [
        ("ann@example.com", b"Return-Path: <other@example.org>\r\nDeli")
    ]
    [item] = world.outbound.items
    assert item.envelope.recipients == (Address("far", "elsewhere.example"),)
    assert item.envelope.sender == Address("other", "example.org")
    [parameters] = item.envelope.rcpt_parameters
    assert parameters.notify == frozenset({next(iter(parameters.notify or ()))})
    warned = [what for what in world.log.whats("warning") if what.startswith("milter")]
    assert warned == ["milter adds a recipient that there is not"] + ["milter asks for what cannot be done"] * 2


def test_no_more_recipients_than_a_client_may_have() -> None:
    world = World(changing(wire.packet(b"+", b"ann@example.com\0")), max_recipients=1)
    assert world.send().startswith(b"250") and len(world.store.deliveries) == 1
    assert "milter adds too many recipients" in world.log.whats("warning")


@pytest.mark.parametrize(("parameter", "found"), [(b"", 0), (b" SMTPUTF8", 1)])
def test_addresses_in_utf_8(parameter: bytes, found: int) -> None:
    changes = (wire.packet(b"+", "<\u00e4@elsewhere.example>\0".encode()), wire.packet(b"e", "<\u00f6@x>\0".encode()))
    world = World(changing(*changes))
    world.say(b"EHLO c\r\nMAIL FROM:<a@example.org>%s\r\nRCPT TO:<joe@example.com>\r\nDATA\r\n" % parameter)
    world.say(b"x\r\n.\r\n")
    assert [len(world.outbound.items), world.log.whats("warning").count("milter asks for what cannot be done")] == (
        [found, 2 - 2 * found]
    )
    [delivery] = world.store.deliveries
    assert delivery.prefix.startswith(b"Return-Path: <a@" if not found else "Return-Path: <\u00f6@".encode())


def test_nobody_is_left() -> None:
    world = World(changing(wire.packet(b"-", b"joe@example.com\0")))
    assert world.send().startswith(b"250")
    assert not world.store.deliveries and not world.outbound.items and world.spool.leaks == 0


def test_the_directory_cannot_say() -> None:
    world = World(changing(wire.packet(b"+", b"ann@example.com\0")))
    world.begin()
    world.resources.directory.problem = Problem.STORE_UNAVAILABLE  # type: ignore[attr-defined]
    assert world.say(b"DATA\r\n" + MESSAGE + b".\r\n").endswith(
        b"451 4.3.0 Temporarily unavailable; try again later\r\n"
    )
    assert not world.store.deliveries and world.spool.leaks == 0


def test_lmtp_has_a_reply_for_each_recipient_whatever_is_changed() -> None:
    milter = changing(wire.packet(b"-", b"joe@example.com\0"))
    milter.answers[b"O"] = options(wire.ALL_ACTIONS & ~Action.ADD_RECIPIENTS & ~Action.ADD_RECIPIENTS_WITH_PARAMETERS)
    world = World(milter, role=Role.LMTP)
    world.begin(b"joe@example.com", b"ann@example.com")
    replies = world.say(b"DATA\r\n" + MESSAGE + b".\r\n").split(b"\r\n")[1:-1]
    assert [reply[:3] for reply in replies] == [b"250", b"250"]
    assert [each.account for each in world.store.deliveries] == ["ann@example.com"]
    assert int.from_bytes(milter.data_of(b"O")[0][4:8], "big") == 0x17B


def test_quarantine_is_junk_for_our_users() -> None:
    world = World(changing(wire.packet(b"q", b"a virus (bad)\0")))
    assert world.send().startswith(b"250")
    assert not world.store.box("joe@example.com").messages
    [message] = world.store.box("joe@example.com", "Junk").messages.values()
    assert b"Mailstack-Marks: quarantine (a virus \\(bad\\))\r\n" in message.octets


def test_quarantine_is_a_refusal_for_others() -> None:
    world = World(changing(wire.packet(b"q", b"spam\0")), role=Role.SUBMISSION, allow_plaintext_auth=True)
    assert world.send(MESSAGE, b"joe@example.com", b"x@elsewhere.example", log_in=True).startswith(b"550 5.7.1")
    assert not world.store.deliveries and not world.outbound.items and world.spool.leaks == 0


def test_quarantine_of_what_waits_for_its_time() -> None:
    world = World(changing(wire.packet(b"q", b"spam\0")), role=Role.SUBMISSION, allow_plaintext_auth=True)
    world.say(b"EHLO c\r\n" + LOG_IN)
    world.say(b"MAIL FROM:<joe@example.com> HOLDFOR=60\r\nRCPT TO:<joe@example.com>\r\nDATA\r\n")
    assert world.say(MESSAGE + b".\r\n").startswith(b"550 5.7.1") and not world.outbound.items


# --- those that fail


GARBAGE = b"HTTP/1.1 400 Bad Request\r\n\r\n"
FOUR_GIGABYTES = b"\xff\xff\xff\xff"
REPLIES = {"accept": b"250 ", "tempfail": b"451 4.7.1 ", "reject": b"550 5.7.1 "}


@pytest.mark.parametrize("on_error", ["accept", "tempfail", "reject"])
@pytest.mark.parametrize("letter", ["M", "R", "T", "L", "N", "B", "E"])
@pytest.mark.parametrize(
    "answer",
    [GARBAGE, FOUR_GIGABYTES, Broken("no answer"), Broken("it closed the connection"), wire.packet(b"f"), options()],
    ids=["garbage", "4 GB", "hangs", "dies", "gives up", "out of place"],
)
def test_failures(answer: Reaction, letter: str, on_error: str) -> None:
    milter, second = MemoryMilter(**{letter: [answer]}), MemoryMilter()
    world = World(milter, second, on_error=on_error)
    said = world.begin()
    if said.endswith(b"250 2.1.5 Recipient ok\r\n"):
        said += world.say(b"DATA\r\n")
        said += world.say(MESSAGE + b".\r\n") if said.endswith(b"body\r\n") or b"354 " in said else b""
    assert (b"\r\n" + REPLIES[on_error]) in b"\r\n" + said and (b"Ok c1.1" in said) is (on_error == "accept")
    assert len(world.failures()) == 1 and world.counters.totals["milter_failures", "m1:1"] == 1
    assert milter.open == 0 and (b"E" in second.letters()) is (on_error == "accept")
    assert world.session.state.name == ("READY" if letter == "M" or b"354 " in said or letter == "T" else "MAIL")


@pytest.mark.parametrize(
    ("on_error", "greeting"), [("accept", b"220 "), ("tempfail", b"421 4.7.1"), ("reject", b"554 5.7.1")]
)
@pytest.mark.parametrize(
    "broken",
    [
        {"O": GARBAGE},
        {"O": FOUR_GIGABYTES},
        {"O": OK},
        {"O": options(version=7)},
        {"O": options(more=b"\0")},
        {"O": Broken("no answer")},
        {"C": DISCARD},
        {"C": field(b"h", b"X", b"y")},
        {},
    ],
    ids=["garbage", "4 GB", "no options", "version", "macros", "hangs", "discards", "changes", "dead"],
)
def test_failures_at_the_beginning(broken: dict[str, bytes], on_error: str, greeting: bytes) -> None:
    milter = MemoryMilter(**broken)
    milter.unreachable = None if broken else "cannot connect to 1:1: refused"
    world = World(milter, on_error=on_error)
    assert world.greeting.startswith(greeting) and len(world.failures()) == 1 and milter.open == 0
    if on_error == "accept":
        assert world.send().startswith(b"250") and len(milter.dialled) == 1


def test_one_that_failed_is_tried_once_more() -> None:
    milter = MemoryMilter(M=[OK, Broken("no answer")])
    world = World(milter)
    world.send()
    assert world.begin().startswith(b"451 4.7.1") and world.begin().startswith(b"451 4.7.1")
    assert len(milter.dialled) == 1
    world.clock.advance(RETRY_AFTER)
    assert world.send().startswith(b"250") and len(milter.dialled) == 2
    assert milter.letters() == b"OCHMRTLLNBE" + b"HM" + b"OCHMRTLLNBE"


def test_one_that_closed_its_connection_is_asked_by_another() -> None:
    milter = MemoryMilter(M=[OK, Closed("it closed the connection"), OK])
    world = World(milter)
    world.send()
    assert world.send().startswith(b"250") and not world.failures() and len(milter.dialled) == 2
    assert milter.open == 1


def test_one_that_goes_on_for_ever() -> None:
    milter = MemoryMilter(E=PROGRESS)
    world = World(milter)

    def minute() -> bytes:
        world.clock.advance(60)
        return PROGRESS

    milter.idle = minute
    assert world.send().startswith(b"451 4.7.1")
    assert world.failures() == ["no answer within 540 seconds"] and milter.waits[-9:] == [300.0] * 5 + [
        240,
        180,
        120,
        60,
    ]


def test_progress_is_no_answer() -> None:
    milter = MemoryMilter(E=PROGRESS * 3 + OK, M=PROGRESS + OK)
    assert World(milter).send().startswith(b"250")
    assert milter.waits == [30.0] * 6 + [300.0] * 5


def unwanted(flood: bytes) -> MemoryMilter:
    return MemoryMilter(E=flood + OK)


@pytest.mark.parametrize(
    "flood",
    [
        field(b"h", b"X", b"y" * 60000) * 3,
        wire.packet(b"q", b"\0") * (MAX_WANTED // 64 + 1),
        wire.packet(b"b", b"x" * 65535) * 3,
    ],
    ids=["fields", "many", "body"],
)
def test_what_a_milter_may_want_has_a_limit(flood: bytes) -> None:
    world = World(unwanted(flood), max_size=100_000)
    assert world.send().startswith(b"451 4.7.1") and len(world.failures()) == 1
    assert not world.store.deliveries and world.spool.leaks == 0


def test_what_was_not_agreed_on_is_not_done() -> None:
    milter = MemoryMilter(O=options(Action.ADD_FIELDS), E=wire.packet(b"e", b"<x@example.org>\0") + OK)
    world = World(milter)
    assert world.send().startswith(b"451 4.7.1")
    assert world.failures() == ["ChangeSender was not agreed on"]


def test_a_milter_that_insists_on_what_lmtp_has_not() -> None:
    world = World(MemoryMilter(O=options(Action.ADD_RECIPIENTS)), role=Role.LMTP)
    assert world.greeting.startswith(b"421 4.7.1")


@pytest.mark.parametrize(
    "header", [b"X: y\r\n" * (MAX_FIELDS + 1), b"X: " + b"y" * 200_000 + b"\r\n"], ids=["fields", "octets"]
)
def test_headers_that_cannot_be_shown(header: bytes) -> None:
    milter = MemoryMilter()
    world = World(milter)
    assert world.send(header + b"\r\nbody\r\n").startswith(b"552 5.3.4")
    assert milter.letters() == b"OCHMRTA" and world.spool.leaks == 0


# --- the connection


def test_rset_and_a_second_ehlo() -> None:
    milter = MemoryMilter()
    world = World(milter)
    world.begin()
    world.say(b"RSET\r\nRSET\r\n")
    world.begin()
    world.say(b"EHLO again\r\nQUIT\r\n")
    assert milter.letters() == b"OC" + b"HMRA" + b"HMR" + b"AH" + b"Q"


def test_the_client_goes_away() -> None:
    milter = MemoryMilter()
    world = World(milter)
    world.begin()
    world.connection.close()
    assert milter.letters() == b"OCHMRAQ" and milter.open == 0


def test_starttls_begins_with_another_greeting() -> None:
    milter = MemoryMilter()
    world = World(milter, tls_available=True)
    world.say(b"EHLO plain.example\r\n")
    assert milter.macros(b"H") == {}
    world.say(b"STARTTLS\r\n")
    world.send()
    assert milter.data_of(b"H") == [b"plain.example\0", b"client.example\0"]
    assert milter.macros(b"H")["tls_version"] == "TLSv1.3"


@pytest.mark.parametrize(("version", "again"), [(6, b"KC"), (5, b"QOC")])
def test_another_client_by_xclient(version: int, again: bytes) -> None:
    milter = MemoryMilter(O=options(version=version))
    world = World(milter, xclient_trusted=(ip_network("192.0.2.0/24"),))
    assert world.say(b"EHLO proxy.example\r\nXCLIENT ADDR=198.51.100.7\r\n").endswith(
        b"220 mx.example ESMTP mailstack\r\n"
    )
    assert world.send().startswith(b"250")
    assert milter.letters() == b"OCH" + again + b"HMRTLLNBE" and milter.open == 1
    assert b"198.51.100.7" in milter.data_of(b"C")[1]


def test_of_another_client_nothing_is_accepted_before() -> None:
    milter = MemoryMilter(H=[ACCEPT])
    world = World(milter, xclient_trusted=(ip_network("192.0.2.0/24"),), accept_any=True, allow_plaintext_auth=True)
    world.say(b"EHLO proxy.example\r\n" + LOG_IN + b"XCLIENT ADDR=198.51.100.7 LOGIN=ann@example.com\r\n")
    assert world.send().startswith(b"250")
    assert milter.letters() == b"OCH" + b"KCHMRTLLNBE"
    assert "auth_type" not in milter.macros(b"M") and milter.macros(b"M")["auth_authen"] == "ann@example.com"


def test_bdat_asks_for_data_once() -> None:
    milter = MemoryMilter()
    world = World(milter)
    world.begin()
    assert world.say(b"BDAT 12\r\nSubject: x\r\nBDAT 6 LAST\r\n\r\nbody").endswith(b"250 2.0.0 Ok c1.1\r\n")
    assert milter.letters() == b"OCHMRTLNBE" and milter.data_of(b"B") == [b"body"]


def test_the_dial_is_asked_as_configured() -> None:
    milter = MemoryMilter()
    World(milter)
    assert milter.dialled == [("1:1", 30.0)]
