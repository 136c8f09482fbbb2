"""When to try again, and when to give up. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from mailstack.ports import Envelope
from mailstack.queue.items import DestinationState

JITTER = 0.1
"""The part of an interval by which chance makes it longer or shorter, so that not all comes back at once."""
FIRST_REST, LONGEST_REST = 60.0, 1800.0
"""Seconds for which a destination is left alone that could not be reached: at first, then twice as long each time."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """`retry` are seconds between attempts, the last one for all that follow; an item is given up `expire` seconds
    after it came (RFC 5321 §4.5.4.1), and its sender hears that it is late after `warn` seconds, 0: never.
    `chance` gives numbers from 0 to 1."""

    retry: Sequence[float]
    expire: float
    warn: float
    chance: Callable[[], float]

    def interval(self, attempts: int) -> float:
        """Seconds to wait after so many attempts, 1 or more."""
        wait = self.retry[min(attempts, len(self.retry)) - 1]
        return wait * (1 + JITTER * (2 * self.chance() - 1))

    @property
    def longest(self) -> float:
        """No interval is longer."""
        return max(self.retry) * (1 + JITTER)

    def rest(self, failures: int) -> float:
        """Seconds to leave a destination alone after so many failures, 1 or more."""
        wait = min(FIRST_REST * 2.0 ** min(failures - 1, 10), LONGEST_REST)
        return wait * (1 + JITTER * (2 * self.chance() - 1))

    @property
    def longest_rest(self) -> float:
        """No destination is left alone for longer."""
        return LONGEST_REST * (1 + JITTER)

    def as_of(self, state: DestinationState, now: float) -> DestinationState:
        """Without times in the future that only another clock can have given."""
        until = min(state.until, now + self.longest_rest)
        return replace(state, since=min(state.since, now), tried=min(state.tried, now), until=until)

    def due(self, envelope: Envelope, now: float) -> float:
        """When a new item is tried first (RFC 4865 §4)."""
        return max(now, float(envelope.parameters.hold_until or 0))

    def expires(self, envelope: Envelope, now: float) -> float:
        """When a new item is given up: of one that is held for a time, counted from its end; earlier if its sender
        wants it back by then (RFC 2852 §4.1)."""
        by = envelope.parameters.deliver_by
        usual = self.due(envelope, now) + self.expire
        return min(usual, float(by.time)) if by is not None and by.or_return else usual

    def warns(self, envelope: Envelope, now: float) -> float | None:
        """When the sender of a new item hears that it is late; None for never."""
        by = envelope.parameters.deliver_by
        if by is not None and not by.or_return:
            return float(by.time)  # RFC 2852 §4.2
        return self.due(envelope, now) + self.warn if self.warn else None
