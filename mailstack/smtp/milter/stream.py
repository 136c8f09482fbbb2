"""What milters are reached by: a port of the SMTP side. Over sockets it is `net/streams.py`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol


class Broken(Exception):
    """A milter cannot be reached, or does not do what the protocol wants; the text says what."""


class Closed(Broken):
    """It has ended the connection."""


class Stream(Protocol):
    """A connection to a milter."""

    def write(self, data: bytes) -> None:
        """Send octets. Harmless when the other end is gone."""

    async def drain(self, timeout: float) -> None:
        """Wait while the other end is slow to take them, so many seconds at most. Raises: Broken."""

    async def receive(self, timeout: float) -> bytes:
        """The next octets, at least one, within so many seconds. Raises: Broken."""

    def close(self) -> None:
        """Let what was written leave, and end. Idempotent."""


Dial = Callable[[str, float], Awaitable[Stream]]
"""Connects to an address as of the configuration within so many seconds. Raises: Broken."""
