"""A destination as the runner knows it, while something is due there or wrong with it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred

from mailstack.handover import HopFailed, Verdict
from mailstack.queue.items import DestinationState, Waiting
from mailstack.queue.schedule import Schedule

AT_ONCE = 50
"""Rows that wait in memory to be sent; more are read from the database when it is their turn."""
AT_FIRST = 5
"""Connections to a destination of which nothing is known yet; as Postfix's initial_destination_concurrency."""


@dataclass(slots=True)
class Destination:
    """`lanes` there are, `open` of them connected, of so many `allowed`. `ready` are rows that are sent next, `idle`
    lanes that wait for something to send, `refills` lanes that wait for rows to be read. Something is `due` at a time,
    and may be sent from `next_free` on, by its rate."""

    name: str
    due: float = float("inf")
    lanes: int = 0
    open: int = 0
    allowed: int = AT_FIRST
    ready: deque[Waiting] = field(default_factory=deque)
    idle: list[Deferred[bool]] = field(default_factory=list)
    refills: list[Deferred[None]] | None = None
    failing: DestinationState | None = None
    next_free: float = 0.0

    @property
    def is_quiet(self) -> bool:
        """Nothing is to be known of it."""
        return not (self.lanes or self.ready or self.failing) and self.due == float("inf")

    @property
    def takes_at_once(self) -> bool:
        """Whether what has just come may be sent without being read from the database: nothing waits there that would
        go first, or is being read just now."""
        return self.failing is None and self.refills is None and self.due == float("inf") and len(self.ready) < AT_ONCE

    def reached(self) -> None:
        """An attempt went well."""
        self.failing = None
        self.allowed += 1

    def not_reached(self, failed: HopFailed, started: float, now: float, schedule: Schedule) -> bool:
        """An attempt did not; returns whether it is left alone for that."""
        if failed.outcome.verdict is Verdict.NEVER:
            return False  # what is next fails as well, at once
        self.allowed = max(1, self.allowed // 2)
        before = self.failing
        if self.open > 0 or (before is not None and before.tried >= started):
            return False  # another connection is well, or said the same already
        failures = before.failures + 1 if before else 1
        until = now + schedule.rest(failures)
        self.failing = DestinationState(
            self.name, before.since if before else now, now, until, failures, failed.outcome.text
        )
        return True

    def wake(self, number: int) -> None:
        """So many lanes that wait for something to send."""
        for _ in range(min(number, len(self.idle))):
            self.idle.pop().callback(True)

    def clock_set_back(self, now: float, schedule: Schedule) -> None:
        """Nothing waits for a time that was near before, and is far away now."""
        self.next_free = min(self.next_free, now + 60.0)
        if self.failing is not None:
            self.failing = schedule.as_of(self.failing, now)
