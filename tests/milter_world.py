"""An SMTP session with milters that the test plays, and everything around it."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from mailstack.config.policy import Milter, OnError
from mailstack.ports import Peer, TlsInfo
from mailstack.smtp.session import SmtpSession
from mailstack.smtp.settings import Role, SmtpResources, SmtpSettings
from mailstack.smtp.wire import milter as wire
from mailstack.smtp.wire.milter import Manner
from mailstack.testing.accounts import MemoryAccounts, MemoryDirectory
from mailstack.testing.clock import ManualClock
from mailstack.testing.connection import MemoryConnection
from mailstack.testing.counters import MemoryCounters
from mailstack.testing.log import RecordingLog
from mailstack.testing.milter import EVERYTHING, MemoryMilter
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
