"""Recipients without room: at RCPT, at the end of data, alone and among others."""

from __future__ import annotations

import pytest
from test_smtp_session import LOG_IN
from twisted.internet.defer import Deferred

from mailstack.ports import AccountName, TlsInfo
from mailstack.quota import QuotaLimit
from mailstack.smtp.session import SmtpSession
from mailstack.smtp.settings import Role, SmtpResources, SmtpSettings
from mailstack.testing.accounts import MemoryAccounts, MemoryDirectory
from mailstack.testing.clock import ManualClock
from mailstack.testing.connection import MemoryConnection
from mailstack.testing.counters import MemoryCounters
from mailstack.testing.log import RecordingLog
from mailstack.testing.outbound import MemoryOutbound
from mailstack.testing.store import MemorySpool, MemoryStore

JOE, ANN = AccountName("joe@example.com"), AccountName("ann@example.com")
USERS = {JOE: "secret", ANN: "secret"}
LATER, NEVER = b"452 4.2.2 Mailbox full", b"552 5.2.2 Mailbox full"


class World:
    """Joe has room for 1000 octets, Ann for everything; `both` is an alias of the two."""

    def __init__(self, *, tls: bool = False, **settings: object) -> None:
        self.store, self.spool, self.outbound = MemoryStore(), MemorySpool(), MemoryOutbound()
        self.store.of(JOE).limit = QuotaLimit(1000, 0)
        self.log, self.counters = RecordingLog(), MemoryCounters()
        directory = MemoryDirectory(USERS, {"both@example.com": (JOE, ANN)})
        self.connection = MemoryConnection(tls=TlsInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384") if tls else None)
        resources = SmtpResources(
            directory,
            MemoryAccounts(USERS),
            self.store,
            self.outbound,
            self.spool,
            self.log,
            self.counters,
            ManualClock(),
        )
        chosen = SmtpSettings(hostname="mx.example", **settings)  # type: ignore[arg-type]
        self.over: list[object] = []
        Deferred.fromCoroutine(SmtpSession(self.connection, resources, chosen).run()).addBoth(self.over.append)
        self.connection.take()
        self.say(b"EHLO client.example")

    def say(self, line: bytes) -> bytes:
        """The last line of the reply."""
        self.connection.feed(line + b"\r\n")
        return self.connection.take().rstrip(b"\r\n").split(b"\r\n")[-1]

    def mail(self, parameters: bytes = b"") -> None:
        assert self.say(b"MAIL FROM:<a@example.org>" + parameters).startswith(b"250")

    def data(self, size: int) -> bytes:
        assert self.say(b"DATA").startswith(b"354")
        return self.say(b"x" * size + b"\r\n.")

    def messages(self, account: str) -> int:
        return len(self.store.box(account).messages)


def test_who_is_full_is_refused_at_rcpt() -> None:
    world = World()
    world.store.put(JOE, b"x" * 1000)
    world.mail()
    assert world.say(b"RCPT TO:<joe@example.com>") == LATER
    assert world.say(b"RCPT TO:<ann@example.com>").startswith(b"250")
    assert world.data(10).startswith(b"250")
    assert (world.messages(JOE), world.messages(ANN)) == (1, 1)
    assert "mail refused" in world.log.whats("event")


def test_the_declared_size_decides_at_rcpt() -> None:
    world = World()
    world.mail(b" SIZE=1001")
    assert world.say(b"RCPT TO:<joe@example.com>") == LATER
    assert world.say(b"RCPT TO:<ann@example.com>").startswith(b"250")
    world.say(b"RSET")
    world.mail(b" SIZE=1000")
    assert world.say(b"RCPT TO:<joe@example.com>").startswith(b"250")


@pytest.mark.parametrize(("for_good", "reply"), [(False, LATER), (True, NEVER)])
def test_a_message_that_does_not_fit_is_refused_at_the_end(for_good: bool, reply: bytes) -> None:
    world = World(full_for_good=for_good)
    world.mail()
    assert world.say(b"RCPT TO:<joe@example.com>").startswith(b"250")
    assert world.data(1000) == reply
    assert world.messages(JOE) == 0
    assert world.outbound.items == []
    world.store.put(JOE, b"x" * 1000)
    world.mail()
    assert world.say(b"RCPT TO:<joe@example.com>") == reply


def test_among_others_it_goes_over_the_quota_once() -> None:
    world = World()
    world.mail()
    for name in (b"joe", b"ann"):
        assert world.say(b"RCPT TO:<%s@example.com>" % name).startswith(b"250")
    assert world.data(5000).startswith(b"250")
    assert (world.messages(JOE), world.messages(ANN)) == (1, 1)
    assert world.outbound.items == [], "nobody gets it later: 250 is in the mailbox"
    assert world.counters.totals["deliveries", "failed"] == 0
    world.mail()
    assert world.say(b"RCPT TO:<joe@example.com>") == LATER


def test_with_a_recipient_elsewhere_it_goes_over_the_quota_too() -> None:
    world = World(tls=True, role=Role.SUBMISSION)
    assert world.say(LOG_IN.rstrip()).startswith(b"235")
    assert world.say(b"MAIL FROM:<joe@example.com>").startswith(b"250")
    for address in (b"joe@example.com", b"x@elsewhere.example"):
        assert world.say(b"RCPT TO:<%s>" % address).startswith(b"250")
    assert world.data(5000).startswith(b"250")
    assert world.messages(JOE) == 1
    assert len(world.outbound.items) == 1


def test_an_alias_is_taken_while_one_of_it_has_room() -> None:
    world = World()
    world.store.put(JOE, b"x" * 1000)
    world.mail()
    assert world.say(b"RCPT TO:<both@example.com>").startswith(b"250")
    assert world.data(10).startswith(b"250")
    assert (world.messages(JOE), world.messages(ANN)) == (2, 1)
    world.store.of(ANN).limit = QuotaLimit(0, 1)
    world.mail()
    assert world.say(b"RCPT TO:<both@example.com>") == LATER


def test_room_that_was_lost_meanwhile() -> None:
    world = World()
    world.mail()
    for name in (b"joe", b"both"):
        assert world.say(b"RCPT TO:<%s@example.com>" % name).startswith(b"250")
    world.store.put(JOE, b"x" * 1000)
    world.store.of(ANN).limit = QuotaLimit(1, 0)
    assert world.data(10) == LATER
    assert (world.messages(JOE), world.messages(ANN)) == (1, 0)
    assert world.spool.leaks == 0
