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
from mailstack.queue.items import Census, DestinationState, Waiting
from mailstack.queue.queue import MailQueue
from mailstack.queue.settlement import Settlement, expired, lateness

HORIZON = 600.0
"""Seconds: what is due later is not in memory."""
SWEEP = 60.0
"""Seconds between two looks for what is late, what is over, and what comes within the horizon."""
OTHERS = 1.0
"""Seconds between two looks whether another process has changed the queue."""
CENSUS = 15.0
"""Seconds between two counts of what waits."""
AT_ONCE = 50
"""Rows that are read at once."""


_UNTRIED = Outcome(Verdict.LATER, "4.4.7", "given up before it was tried", remote=False)


def _expired(now: float, after: float, database: QueueDatabase) -> list[Waiting]:
    return database.expired(now, AT_ONCE, after)


class Kept(Protocol):
    """The runner, as the upkeep sees it."""

    def arrived(self, destination: str, due: float) -> None: ...

    def failing(self, destination: str) -> DestinationState | None: ...

    def changed(self, failing: Collection[str]) -> None: ...

    async def settle_at_rest(self, waiting: Waiting, settled: Settlement) -> bool: ...


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
        self.census = Census()
        self._data_version = -1
        self._again = False
        self._last_sweep = 0.0

    async def start(self) -> None:
        """Raises: apsw.Error."""
        self._last_sweep = self._now()
        await self._look_ahead()
        self._every("others", OTHERS, self._see_others)
        self._every("sweep", SWEEP, self.sweep)
        self._every("census", CENSUS, self._count)
        await self._count()

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
                await self.see_changes()
            elif self._again or first:
                await self._give_up_by_hand()
        except apsw.Error as error:
            self._log.warning("queue cannot be read", reason=str(error))

    async def _count(self) -> None:
        try:
            self.census = await self._queue.ask(lambda database: database.census(self._now()))
        except apsw.Error as error:
            self._log.warning("queue cannot be read", reason=str(error))

    async def see_changes(self) -> None:
        """Somebody has changed the queue. Raises: apsw.Error."""
        states = await self._queue.ask(lambda database: database.destination_states())
        self._runner.changed({state.name for state in states})
        await self._give_up_by_hand()
        await self._look_ahead()

    async def sweep(self) -> None:
        """One look. Never raises but for a bug."""
        try:
            now = self._now()
            await self._see_clock(now)
            await self._give_up_by_hand()
            await self._give_up(now)
            for waiting in await self._queue.ask(lambda database: database.late(now, AT_ONCE)):
                await self._runner.settle_at_rest(waiting, lateness(waiting, now))
            if await self._queue.ask(lambda database: database.idle_destinations(now)):
                await self._queue.change(lambda database: database.forget_idle_destinations(now))
                await self.see_changes()
            await self._look_ahead()
        except (apsw.Error, OSError) as error:
            self._log.warning("queue cannot be swept", reason=str(error))

    async def _see_clock(self, now: float) -> None:
        before, self._last_sweep = self._last_sweep, now
        if now < before:
            latest = now + self._queue.schedule.longest
            pulled = await self._queue.change(lambda database: database.pull_forward(latest, now))
            self._log.warning("the clock was set back", seconds=round(before - now), pulled=pulled)

    async def _give_up(self, now: float) -> None:
        """Items whose time is over at destinations that could not be reached since. The others are due when their time
        is over, and are tried once more: a clock that jumps returns nothing that was not tried."""
        after = float("-inf")
        while rows := await self._queue.ask(partial(_expired, now, after)):
            for waiting in rows:
                after = waiting.item.expires
                failing = self._runner.failing(waiting.destination)
                if failing is None or failing.tried <= waiting.item.expires:
                    continue
                last = Outcome(Verdict.LATER, "4.4.1", failing.text, remote=False)
                failed = {number: expired(waiting.last.get(number, last)) for number in waiting.recipients}
                await self._runner.settle_at_rest(waiting, Settlement(None, {}, failed, {}))
            if len(rows) < AT_ONCE:
                return

    async def _give_up_by_hand(self) -> None:
        """What `mailstack queue fail` has marked is reported as if its time were over."""
        self._again = False
        while not self._again and (rows := await self._queue.ask(lambda database: database.given_up(AT_ONCE))):
            for waiting in rows:
                failed = {number: expired(waiting.last.get(number, _UNTRIED)) for number in waiting.recipients}
                if not await self._runner.settle_at_rest(waiting, Settlement(None, {}, failed, {})):
                    self._again = True  # what comes of it is waited for
