"""A session behind a connection that may be faulty."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from mailstack.errors import SessionEnded
from mailstack.faults.connection import FaultyConnection
from mailstack.ports import Connection


class Runs(Protocol):
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
