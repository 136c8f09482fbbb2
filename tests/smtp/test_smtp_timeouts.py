"""How long a client may take (RFC 5321 §4.5.3.2), over the real connection and a clock that tests move."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from mailstack.net.listener import Admission, Listener, Service, connection_ids
from mailstack.ports import MailStore, Spool
from mailstack.smtp.session import SmtpSession
from mailstack.smtp.settings import Role, SmtpResources, SmtpSettings
from mailstack.testing.accounts import MemoryAccounts, MemoryDirectory
from mailstack.testing.counters import MemoryCounters
from mailstack.testing.log import RecordingLog
from mailstack.testing.outbound import MemoryOutbound
from mailstack.testing.store import MemorySpool, MemoryStore

MINUTE = 60.0
COMMAND, DATA, MESSAGE = 5 * MINUTE, 3 * MINUTE, 60 * MINUTE
EHLO, MAIL, RCPT = b"EHLO a.example\r\n", b"MAIL FROM:<a@a.example>\r\n", b"RCPT TO:<joe@example.com>\r\n"
TIMEOUT = b"421 4.4.2 Timeout; closing connection\r\n"


class ReactorTime:
    """`ports.Clock` of the clock that moves the connection's timers."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def now(self) -> float:
        return 1_700_000_000.0 + self._clock.seconds()

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nobody is delayed here")


class Dialogue:
    """A client of a session with the settings of the configuration's defaults."""

    def __init__(self, role: Role = Role.RECEIVE) -> None:
        self.clock, self.log = Clock(), RecordingLog()
        self.spool, self.store, self.counters = MemorySpool(), MemoryStore(), MemoryCounters()
        spool: Spool = self.spool
        store: MailStore = self.store
        users = {"joe@example.com": "secret"}
        resources = SmtpResources(
            MemoryDirectory(users, {}), MemoryAccounts(users), store, MemoryOutbound(), spool, self.log,
            self.counters, ReactorTime(self.clock),
        )  # fmt: skip
        settings = SmtpSettings("mx.example.org", role, allow_plaintext_auth=True, max_recipients=10_000)
        listener = Listener(
            Service("smtp", lambda connection: SmtpSession(connection, resources, settings), b"421 %s\r\n"),
            reactor=self.clock, log=self.log, counters=self.counters, tls=None,
            admission=Admission(10, 10), ids=connection_ids(1),
        )  # fmt: skip
        protocol = listener.buildProtocol(IPv4Address("TCP", "192.0.2.9", 4000))
        assert protocol is not None
        self.transport, self._protocol = StringTransport(), protocol
        self._protocol.makeConnection(self.transport)  # type: ignore[no-untyped-call]
        assert self.heard().startswith(b"220 ")

    def say(self, octets: bytes) -> bytes:
        self._protocol.dataReceived(octets)
        return self.heard()

    def heard(self) -> bytes:
        octets: bytes = self.transport.value()
        self.transport.clear()
        return octets

    def wait(self, seconds: float) -> bytes:
        for _ in range(int(seconds)):
            if not self.is_over:
                self.clock.advance(1.0)
        return self.heard()

    @property
    def is_over(self) -> bool:
        return bool(self.transport.disconnecting)


WAITS: dict[str, tuple[tuple[bytes, ...], float]] = {
    "the first command": ((), COMMAND),
    "MAIL": ((EHLO,), COMMAND),
    "RCPT": ((EHLO, MAIL), COMMAND),
    "DATA": ((EHLO, MAIL, RCPT), COMMAND),
    "mail data": ((EHLO, MAIL, RCPT, b"DATA\r\n"), DATA),
    "more mail data": ((EHLO, MAIL, RCPT, b"DATA\r\n", b"Subject: x\r\n"), DATA),
    "a chunk": ((EHLO, MAIL, RCPT, b"BDAT 10\r\n"), DATA),
    "the next chunk": ((EHLO, MAIL, RCPT, b"BDAT 2\r\n\r\n"), COMMAND),
    "the next message": ((EHLO, MAIL, RCPT, b"DATA\r\n", b"\r\n.\r\n"), COMMAND),
    "after RSET": ((EHLO, MAIL, RCPT, b"RSET\r\n"), COMMAND),
}


@pytest.mark.parametrize("waited_for", WAITS)
def test_silence_ends_the_connection_and_not_sooner(waited_for: str) -> None:
    said, limit = WAITS[waited_for]
    client = Dialogue()
    for line in said:
        client.say(line)
    assert client.wait(limit - 1) == b""
    assert not client.is_over
    assert client.wait(2) == TIMEOUT
    assert client.is_over
    assert client.spool.leaks == 0


@pytest.mark.parametrize("waited_for", [name for name, (_, limit) in WAITS.items() if limit == COMMAND])
def test_a_command_has_to_be_whole_in_time(waited_for: str) -> None:
    client = Dialogue()
    for line in WAITS[waited_for][0]:
        client.say(line)
    heard = b""
    for octet in b"NOOP " + b"x" * 100:
        heard += client.say(bytes([octet])) + client.wait(10)
        if heard:
            break
    assert heard == TIMEOUT
    assert client.clock.seconds() == pytest.approx(COMMAND, abs=11)


def trickle(client: Dialogue, pieces: Iterator[bytes], every: float) -> bytes:
    """Send a piece now and then until the server has closed the connection; what it said last."""
    heard = b""
    for piece in pieces:
        heard = client.say(piece) or heard
        if client.is_over:
            return heard
        heard = client.wait(every) or heard
        if client.is_over:
            return heard
    raise AssertionError("the server listens for ever")


@pytest.mark.parametrize(
    ("before", "piece", "every"),
    [
        (b"DATA\r\n", b"x", DATA - 1),
        (b"DATA\r\n", b"x\r\n" * 1000, 1.0),
        (b"", b"BDAT 1\r\nx", COMMAND - 1),
        (b"BDAT 1000000\r\n", b"x", DATA - 1),
        (b"", RCPT, COMMAND - 1),
        (b"", b"NOOP\r\n", COMMAND - 1),
    ],
)
def test_a_message_that_comes_in_drops_has_an_hour(before: bytes, piece: bytes, every: float) -> None:
    client = Dialogue()
    client.say(EHLO)
    client.say(MAIL + RCPT + before)
    assert trickle(client, iter([piece] * 4000), every) == TIMEOUT
    assert client.clock.seconds() == pytest.approx(MESSAGE, abs=1)
    assert client.spool.leaks == 0


def test_each_message_has_its_own_hour() -> None:
    client = Dialogue()
    client.say(EHLO)
    for _ in range(100):
        client.say(MAIL + RCPT + b"DATA\r\n")
        assert client.wait(DATA - 1) == b""
        assert client.say(b"\r\n.\r\n").startswith(b"250 ")
        assert client.wait(COMMAND - 1) == b"", "the timeout of a command counts again"
    assert not client.is_over


def test_after_a_slow_message_the_next_command_has_its_time() -> None:
    client = Dialogue()
    client.say(EHLO)
    client.say(MAIL + RCPT)
    for _ in range(12):
        assert client.wait(COMMAND - 1) == b""
        assert client.say(b"NOOP\r\n").startswith(b"250 ")
    assert client.say(b"RSET\r\n").startswith(b"250 ")
    assert client.wait(COMMAND - 1) == b""
    assert client.wait(2) == TIMEOUT
