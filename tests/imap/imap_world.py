"""One or more IMAP sessions over the fakes, for tests that need more than a transcript."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from mailstack.imap.session import ImapSession
from mailstack.imap.settings import ImapResources, ImapSettings
from mailstack.ports import TlsInfo
from mailstack.testing.accounts import MemoryAccounts
from mailstack.testing.clock import ManualClock
from mailstack.testing.connection import MemoryConnection
from mailstack.testing.counters import MemoryCounters
from mailstack.testing.log import RecordingLog
from mailstack.testing.store import MemoryMailbox, MemorySpool, MemoryStore

ALICE = "alice@example.org"


class Client:
    """The client's end of one connection."""

    def __init__(self, connection: MemoryConnection, session: ImapSession) -> None:
        self.connection = connection
        self.session = session
        self.over: list[object] = []
        Deferred.fromCoroutine(session.run()).addBoth(self.over.append)
        self.greeting = connection.take()

    def say(self, octets: bytes) -> bytes:
        """Send octets; everything that the server says to them."""
        self.connection.feed(octets)
        return self.connection.take()

    def lines(self, command: bytes) -> list[bytes]:
        """Send one command under the tag "t"; the lines of the answer, the last one tagged."""
        answer = self.say(b"t " + command + b"\r\n").split(b"\r\n")
        assert answer.pop() == b""
        assert answer[-1].startswith(b"t "), answer
        return answer


class World:
    """A store with one account, and connections to it."""

    def __init__(self, **changes: object) -> None:
        self.store, self.spool, self.log = MemoryStore(), MemorySpool(), RecordingLog()
        self.counters, self.accounts = MemoryCounters(), MemoryAccounts({ALICE: "secret"})
        self.settings = ImapSettings("mx.example.org", **{"allow_plaintext_auth": True, **changes})  # type: ignore[arg-type]

    @property
    def inbox(self) -> MemoryMailbox:
        return self.store.box(ALICE)

    def connect(self, *, tls: bool = False) -> Client:
        connection = MemoryConnection(tls=TlsInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384") if tls else None)
        resources = ImapResources(
            self.store, self.spool, self.accounts, self.log, self.counters, ManualClock()
        )  # fmt: skip
        return Client(connection, ImapSession(connection, resources, self.settings))

    def log_in(self, select: bytes = b"SELECT INBOX") -> Client:
        """A client that has logged in, and selected INBOX unless told otherwise."""
        client = self.connect()
        assert client.lines(b"LOGIN %s secret" % ALICE.encode())[-1].startswith(b"t OK")
        if select:
            assert client.lines(select)[-1].startswith(b"t OK")
        return client
