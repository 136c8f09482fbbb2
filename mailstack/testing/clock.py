"""Time that passes when the test says so."""

from __future__ import annotations

from twisted.internet.defer import Deferred


class ManualClock:
    """Implements `ports.Clock`."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self._now = now
        self._sleepers: list[tuple[float, int, Deferred[None]]] = []
        self._count = 0

    def now(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        waiter: Deferred[None] = Deferred()
        self._count += 1
        self._sleepers.append((self._now + seconds, self._count, waiter))
        await waiter

    @property
    def sleeping(self) -> int:
        """How many coroutines wait."""
        return len(self._sleepers)

    def advance(self, seconds: float) -> None:
        """Let time pass; sleepers wake in the order of their times, each seeing its own time."""
        end = self._now + seconds
        while True:
            due = min((s for s in self._sleepers if s[0] <= end), default=None, key=lambda s: s[:2])
            if due is None:
                break
            self._sleepers.remove(due)
            self._now = due[0]
            due[2].callback(None)
        self._now = end
