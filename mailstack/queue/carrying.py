"""Who carries messages away, and who reports: what the runner asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from mailstack.handover import Content, Outcome, Transcript
from mailstack.queue.items import Waiting
from mailstack.queue.queue import NewReport
from mailstack.queue.settlement import Settlement


@dataclass(frozen=True, slots=True)
class Pace:
    """How much a destination is given: connections at once, messages of one connection, 0: any, and messages a minute
    over all of them, 0: any."""

    connections: int = 10
    messages: int = 100
    per_minute: int = 0


class Hop(Protocol):
    """A connection to a next hop, over which messages go one after the other."""

    @property
    def usable(self) -> bool:
        """Whether another message may go."""

    def suits(self, waiting: Waiting) -> bool:
        """Whether this message may go over it: one that requires TLS may not go over every one."""

    async def send(self, waiting: Waiting, content: Content, transcript: Transcript) -> Mapping[int, Outcome]:
        """What became of each of the recipients of `waiting`. Raises: HopFailed."""

    async def close(self) -> None:
        """Say good-bye. Never raises."""

    def abort(self) -> None:
        """Cut it. Idempotent."""


class Carrier(Protocol):
    """Knows the way to destinations."""

    def pace(self, destination: str) -> Pace: ...

    async def open(self, destination: str, waiting: Waiting, transcript: Transcript) -> Hop:
        """Raises: HopFailed."""


class Reporter(Protocol):
    """Makes reports to senders."""

    async def reports(self, waiting: Waiting, settlement: Settlement, head: bytes, now: float) -> Sequence[NewReport]:
        """Of a settlement in which somebody has to hear something; `head` is the message's first 128 KiB."""


class Screen(Protocol):
    """Knows recipients that are not to be tried."""

    async def suppressed(self, waiting: Waiting, now: float) -> Mapping[int, Outcome]:
        """What becomes of those of the recipients who are not tried."""

    async def tried(self, waiting: Waiting, settlement: Settlement, now: float) -> None:
        """What became of the others."""


class Journal(Protocol):
    """Takes down what happens to messages."""

    def settled(self, waiting: Waiting, settlement: Settlement, now: float) -> None:
        """Must not block or raise."""
