"""Sessions over the fakes, behind connections that may be faulty."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transcript_sessions import classes, settings_of
from transcripts import Fakes, Transcript
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from mailstack.errors import SessionEnded
from mailstack.faults.book import FaultBook
from mailstack.faults.checks import checks
from mailstack.faults.connection import Below, FaultyConnection
from mailstack.faults.rules import Protocol
from mailstack.faults.session import FaultySession
from mailstack.faults.taps import TAPS
from mailstack.ports import Peer
from mailstack.testing.connection import MemoryConnection
from mailstack.testing.faults import Faults

USERS = {"joe@example.org": "secret", "ann@example.org": "secret", "joe+fault-message-cut-0@example.org": "secret"}


class Client:
    """One connection, seen from its other end."""

    def __init__(self, world: FaultWorld, host: str, wrapped: bool = True) -> None:
        self.connection = MemoryConnection("c1", Peer(host, 40000))
        self.ended = False
        self.was_reset = False
        self.is_read = True
        session: Any
        if wrapped:
            below = Below(lambda: setattr(self, "was_reset", True), lambda: setattr(self, "is_read", False))
            tap = TAPS[Protocol(world.protocol)]()
            faulty = FaultyConnection(self.connection, world.book, tap, world.fakes.clock, below)
            session = FaultySession(faulty, world.make)
        else:
            session = world.make(self.connection)
        Deferred.fromCoroutine(session.run()).addBoth(self._over)

    def _over(self, why: object) -> None:
        self.ended = True
        if isinstance(why, Failure) and not why.check(SessionEnded):
            why.raiseException()

    def say(self, text: str | bytes) -> str:
        """Send it with CRLF; what comes."""
        return self.send((text.encode() if isinstance(text, str) else text) + b"\r\n")

    def send(self, octets: bytes) -> str:
        self.connection.feed(octets)
        return self.heard()

    def heard(self) -> str:
        return self.connection.take().decode("latin-1")


class FaultWorld:
    """A server of one protocol."""

    def __init__(self, protocol: str) -> None:
        self.protocol = protocol
        self.book = FaultBook()
        self.faults = Faults.of_book(self.book)
        self.fakes = Fakes(Transcript(Path(), protocol, users=dict(USERS), settings={"domains": "example.org"}))
        self.session, self.resources, settings = classes(protocol)
        self.settings = settings_of(settings, protocol, {"tls_available": "yes"})

    def make(self, connection: Any) -> Any:
        import dataclasses

        names = [field.name for field in dataclasses.fields(self.resources)]
        said = {name: getattr(self.fakes, name) for name in names if hasattr(self.fakes, name)}
        if "more_checks" in names and isinstance(connection, FaultyConnection):
            said["more_checks"] = checks
        return self.session(connection, self.resources(**said), self.settings)

    def client(self, host: str = "127.0.0.1") -> Client:
        return Client(self, host)
