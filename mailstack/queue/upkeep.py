"""What is done now and then: look ahead, look what other processes did, warn of what is late, give up what is over."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import Any, Protocol

import apsw
from twisted.internet.defer import Deferred

from mailstack.handover import Outcome, Verdict
from mailstack.ports import Log
from mailstack.queue.database import QueueDatabase
from mailstack.queue.items import DestinationState, Waiting
from mailstack.queue.queue import MailQueue
from mailstack.queue.settlement import Settlement, expired, lateness

HORIZON = 600.0
"""Seconds: what is due later is not in memory."""
SWEEP = 60.0
"""Seconds between two looks for what is late, what is over, and what comes within the horizon."""
OTHERS = 1.0
"""Seconds between two looks whether another process has changed the queue."""
AT_ONCE = 50
"""Rows that are read at once."""


def _expired(now: float, after: tuple[float, str, str], database: QueueDatabase) -> list[Waiting]:
    return database.expired(now, AT_ONCE, after)


class Kept(Protocol):
    """The runner, as the upkeep sees it."""

    def arrived(self, destination: str, due: float) -> None: ...

    def is_in_flight(self, waiting: Waiting) -> bool: ...

    def failing(self, destination: str) -> DestinationState | None: ...

    def clock_set_back(self, now: float) -> None: ...

    def forget_failures(self, but: Collection[str]) -> None: ...

    async def settle(self, waiting: Waiting, settled: Settlement) -> None: ...


class Upkeep:
    """Runs from `start` to `stop`."""

    def __init__(self, runner: Kept, queue: MailQueue, reactor: Any, now: Callable[[], float], log: Log) -> None:
        self._runner = runner
        self._queue = queue
        self._reactor = reactor
        self._now = now
        self._log = log
        self._timers: dict[str, Any] = {}
        self._stopped = False
        self._data_version = -1
        self._last_sweep = 0.0

    async def start(self) -> None:
        """Raises: apsw.Error, OSError."""
        self._last_sweep = now = self._now()
        await self._pull_forward(now)  # it may have been set back while nobody looked
        await self._look_ahead()
        self._every("others", OTHERS, self._see_others)
        self._every("sweep", SWEEP, self.sweep)

    def stop(self) -> None:
        """What runs is finished; nothing more begins."""
        self._stopped = True
        for timer in self._timers.values():
            if timer.active():
                timer.cancel()

    def _every(self, name: str, seconds: float, work: Callable[[], Any]) -> None:
        def again() -> None:
            Deferred.fromCoroutine(work()).addErrback(self._bug).addBoth(lambda _: plan())

        def plan() -> None:
            if not self._stopped:
                self._timers[name] = self._reactor.callLater(seconds, again)

        plan()

    def _bug(self, failure: Any) -> None:
        try:
            failure.raiseException()
        except Exception:
            self._log.failure("upkeep of the queue failed")

    async def _look_ahead(self) -> None:
        for name, due in await self._queue.ask(lambda database: database.destinations(self._now() + HORIZON)):
            self._runner.arrived(name, due)

    async def _see_others(self) -> None:
        try:
            version = await self._queue.ask(lambda database: database.others_changes)
            first, changed = self._data_version < 0, version != self._data_version
            self._data_version = version
            if changed and not first:
                states = await self._queue.ask(lambda database: database.destination_states())
                self._runner.forget_failures({state.name for state in states})
                await self._look_ahead()
        except apsw.Error as error:
            self._log.warning("queue cannot be read", reason=str(error))

    async def sweep(self) -> None:
        """One look. Never raises but for a bug."""
        try:
            now = self._now()
            await self._see_clock(now)
            await self._give_up(now)
            await self._warn(now)
            await self._queue.hold_unreadable()
            await self._look_ahead()
        except (apsw.Error, OSError) as error:
            self._log.warning("queue cannot be swept", reason=str(error))

    async def _warn(self, now: float) -> None:
        for waiting in await self._queue.ask(lambda database: database.late(now, AT_ONCE)):
            if not self._runner.is_in_flight(waiting):
                await self._runner.settle(waiting, lateness(waiting, now))

    async def _see_clock(self, now: float) -> None:
        before, self._last_sweep = self._last_sweep, now
        if now < before:
            pulled = await self._pull_forward(now)
            self._runner.clock_set_back(now)
            self._log.warning("the clock was set back", seconds=round(before - now), pulled=pulled)

    async def _pull_forward(self, now: float) -> int:
        latest = now + self._queue.schedule.longest
        return await self._queue.change(lambda database: database.pull_forward(latest, now))

    async def _give_up(self, now: float) -> None:
        """Items whose time is over at destinations that could not be reached since. The others are due when their time
        is over, and are tried once more: a clock that jumps returns nothing that was not tried."""
        after = (float("-inf"), "", "")
        while rows := await self._queue.ask(partial(_expired, now, after)):
            for waiting in rows:
                after = waiting.item.expires, waiting.item.id, waiting.destination
                failing = self._runner.failing(waiting.destination)
                if failing is None or failing.tried <= waiting.item.expires or self._runner.is_in_flight(waiting):
                    continue
                last = Outcome(Verdict.LATER, "4.4.1", failing.text, remote=False)
                failed = {number: expired(waiting.last.get(number, last)) for number in waiting.recipients}
                await self._runner.settle(waiting, Settlement(None, {}, failed, {}))
            if len(rows) < AT_ONCE:
                return
