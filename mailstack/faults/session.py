"""A session behind a connection that may be faulty."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from typing import Protocol as Interface

from mailstack.errors import SessionEnded
from mailstack.faults.book import FaultBook
from mailstack.faults.connection import Below, FaultyConnection
from mailstack.faults.rules import Protocol
from mailstack.faults.taps import TAPS
from mailstack.ports import Clock, Connection


class Runs(Interface):
    """What runs on a connection until it is to be closed."""

    def run(self) -> Awaitable[None]: ...


class FaultySession:
    """Begins the true one, unless a fault at CONNECT is its end already."""

    def __init__(self, connection: FaultyConnection, make: Callable[[Connection], Runs]) -> None:
        self._connection = connection
        self._make = make

    async def run(self) -> None:
        """Raises: SessionEnded."""
        try:
            begins = await self._connection.greet()
        except SessionEnded:
            return
        if begins:
            await self._make(self._connection).run()
            await self._connection.finish()


def around(
    make: Callable[[Connection], Runs], book: FaultBook, protocol: str, clock: Clock, wire: Any
) -> Callable[[Connection], FaultySession]:
    """What makes faulty sessions on `wire`, or on something around it. Not each connection has a socket: what the HTTP
    API submits comes from within the process, and is neither reset nor left unread."""
    below = Below(getattr(wire, "abort", _nothing), getattr(wire, "stop_reading", _nothing))
    tap = TAPS[Protocol(protocol)]()
    return lambda connection: FaultySession(FaultyConnection(connection, book, tap, clock, below), make)


def _nothing() -> None:
    pass
