"""Carries away what is due.

Each destination has lanes: a lane is one connection (`Hop`) and the coroutine that sends messages over it, one after
the other. A destination begins with few lanes and gets one more for each message that went well; one that cannot be
reached is left alone for a while, whatever is due there, and takes nothing from the others meanwhile.

In memory is what is due within HORIZON, one entry a destination, and the rows that a lane is about to send; everything
else is in the database."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

import apsw
from twisted.internet.defer import Deferred

from mailstack.handover import HopFailed, Outcome, Transcript, Verdict
from mailstack.ports import Counters, Log
from mailstack.queue.carrying import Carrier, Hop, Journal, Reporter, Screen
from mailstack.queue.content import Damaged
from mailstack.queue.destinations import AT_ONCE, Destination
from mailstack.queue.in_flight import InFlight
from mailstack.queue.items import Attempt, Census, DestinationState, Waiting
from mailstack.queue.pauses import Pauses
from mailstack.queue.queue import MailQueue, QueuedContent
from mailstack.queue.settlement import Settlement, settlement, unreadable
from mailstack.queue.settler import TROUBLE, Settler
from mailstack.queue.upkeep import HORIZON, Upkeep

IDLE = 2.0
"""Seconds that a connection is kept for another message."""


class Runner:
    """`connections` is how many there may be in all. Times that wait are `reactor`'s; `now` is the epoch's."""

    def __init__(
        self,
        queue: MailQueue,
        carrier: Carrier,
        reporter: Reporter,
        journal: Journal,
        screen: Screen,
        *,
        reactor: Any,
        now: Callable[[], float],
        log: Log,
        counters: Counters,
        connections: int,
    ) -> None:
        self.connections = connections
        self._queue = queue
        self._carrier = carrier
        self._pauses = Pauses(reactor)
        self._settler = Settler(queue, reporter, journal, screen, self._pauses.wait, now, log, counters)
        self._screen = screen
        self._reactor = reactor
        self._now = now
        self._log = log
        self._counters = counters
        self._known: dict[str, Destination] = {}
        self._in_flight = InFlight()
        self._obstructed: set[str] = set()
        self._changes = 0
        self._agenda: list[tuple[float, str]] = []
        self._starving: dict[str, None] = {}
        self._hops: set[Hop] = set()
        self._lanes = self._opening = 0
        self._timer: Any = None
        self._ended: list[Deferred[None]] = []
        self._stopping = self._is_cut = False
        self._upkeep = Upkeep(self, queue, reactor, now, log)

    # --- from outside

    async def start(self) -> None:
        """Begin with what is due. Raises: apsw.Error."""
        self._queue.hears = self
        for state in await self._queue.ask(lambda database: database.destination_states()):
            self._destination(state.name).failing = self._queue.schedule.as_of(state, self._now())
        await self._upkeep.start()

    async def stop(self, within: float) -> None:
        """Let messages that are on their way finish, for so many seconds; then cut their connections."""
        self._stopping = True
        self._queue.hears = None
        self._upkeep.stop()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        for known in self._known.values():
            known.wake(len(known.idle))
        self._pauses.end()
        if self._lanes:
            ended: Deferred[None] = Deferred()
            self._ended.append(ended)
            cut = self._reactor.callLater(within, self._cut)
            await ended
            if cut.active():
                cut.cancel()

    def arrived(self, destination: str, due: float, waiting: Waiting | None = None) -> None:
        """Implements `queue.Hears`."""
        now = self._now()
        if self._stopping or due > now + HORIZON:
            return
        known = self._destination(destination)
        if waiting is not None and due <= now and known.takes_at_once and not self._in_flight.has(waiting):
            self._in_flight.add(waiting)
            known.ready.append(waiting)
            self._serve(known, now)
            return
        if waiting is None and self._in_flight.to(destination):
            self._obstructed.add(destination)  # it may be of one of these, which nobody reads before it has landed
        self._due(known, due)

    def _due(self, known: Destination, due: float) -> None:
        if known.failing is not None and not known.lanes:
            due = max(due, known.failing.until)
        self._plan(known, due)
        self._work()

    @property
    def active(self) -> int:
        """Connections, or attempts to have one, now."""
        return self._lanes

    @property
    def census(self) -> Census:
        """How much waits: at most CENSUS seconds old."""
        return self._upkeep.census

    async def look_again(self) -> None:
        """The queue has been changed otherwise than by `arrived`. Raises: apsw.Error."""
        await self._upkeep.see_changes()

    # --- for the upkeep

    async def settle_at_rest(self, waiting: Waiting, settled: Settlement) -> bool:
        """Settle without an attempt. False when it is on its way, and nothing is done."""
        if self._in_flight.has(waiting):
            return False
        self._in_flight.add(waiting)
        try:
            await self._settler.settle(waiting, settled)
        finally:
            self._landed(waiting)
        return True

    def failing(self, destination: str) -> DestinationState | None:
        """The state of a destination that cannot be reached."""
        known = self._known.get(destination)
        return None if known is None else known.failing

    def clock_set_back(self, now: float) -> None:
        """Nothing waits for a time that was near before, and is far away now."""
        for known in self._known.values():
            known.clock_set_back(now, self._queue.schedule)
            if known.failing is not None:
                self._plan(known, known.failing.until)
        self._work()

    def changed(self, failing: Collection[str]) -> None:
        """Somebody has changed the queue: what was read is read again, and all destinations but those that are failing
        are tried as if nothing had been wrong with them."""
        self._changes += 1
        for known in list(self._known.values()):
            if known.name not in failing:
                known.failing = None
            self._put_back(known)
            if known.is_quiet:
                del self._known[known.name]

    def _put_back(self, known: Destination) -> None:
        """What was to be sent next is read again when it is its turn."""
        if known.ready:
            known.due = min(known.due, self._now())
            heapq.heappush(self._agenda, (known.due, known.name))
        for waiting in known.ready:
            self._in_flight.discard(waiting)
        known.ready.clear()

    # --- whose turn it is

    def _plan(self, known: Destination, due: float) -> None:
        if due < known.due:
            known.due = due
            heapq.heappush(self._agenda, (due, known.name))

    def _destination(self, name: str) -> Destination:
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = Destination(name)
        return known

    def _work(self) -> None:
        """Serve what is due, and set the timer for what is due next."""
        now = self._now()
        while self._agenda and self._agenda[0][0] <= now:
            _, name = heapq.heappop(self._agenda)
            known = self._known.get(name)
            if known is not None and known.due <= now:
                self._serve(known, now)
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        if self._agenda and not self._stopping:
            self._timer = self._reactor.callLater(max(0.0, self._agenda[0][0] - now), self._work)

    def _serve(self, known: Destination, now: float) -> None:
        """Something is due there: wake a lane that waits for work, or open one."""
        if self._stopping:
            return
        if known.failing is not None and known.failing.until > now and not known.lanes:
            heapq.heappush(self._agenda, (known.failing.until, known.name))
            known.due = known.failing.until
        elif known.idle:
            known.wake(1)
        elif known.lanes >= self._allowed(known):
            pass  # the lanes there are come to it
        elif self._lanes >= self.connections:
            self._starving[known.name] = None
        else:
            self._open_lane(known)

    def _allowed(self, known: Destination) -> int:
        if known.failing is not None:
            return 1  # one tries whether it can be reached again
        return min(known.allowed, self._carrier.pace(known.name).connections)

    def _open_lane(self, known: Destination) -> None:
        known.lanes += 1
        self._lanes += 1
        Deferred.fromCoroutine(self._lane(known)).addErrback(self._bug)

    def _bug(self, failure: Any) -> None:
        try:
            failure.raiseException()
        except Exception:
            self._log.failure("queue lane ended")
            self._counters.count("internal_errors", "queue")

    # --- one lane

    async def _lane(self, known: Destination) -> None:
        hop: Hop | None = None
        sent = 0
        try:
            while not self._stopping:
                waiting = await self._take(known)
                if waiting is None:
                    if hop is None or not hop.usable or self._starving or not await self._more(known):
                        return
                    continue
                try:
                    if not await self._in_turn(known, waiting):
                        continue
                    hop, well = await self._attempt(known, hop, waiting)
                finally:
                    self._landed(waiting)
                sent = sent + 1 if hop is not None else 0
                if not well:
                    return
                if hop is not None and (0 < self._carrier.pace(known.name).messages <= sent or not hop.usable):
                    await self._close(known, hop)
                    hop, sent = None, 0
                if self._starving and hop is None:
                    return
        finally:
            if hop is not None:
                await self._close(known, hop)
            known.lanes -= 1
            self._lanes -= 1
            self._lane_ended(known)

    def _lane_ended(self, known: Destination) -> None:
        if self._stopping:
            self._see_whether_all_ended()
            return
        now = self._now()
        if known.ready and known.failing is not None:
            # They are read again when it can be reached.
            self._put_back(known)
        if known.ready:
            self._starving[known.name] = None
        elif known.due < float("inf"):
            heapq.heappush(self._agenda, (max(known.due, now), known.name))
        elif known.is_quiet:
            self._known.pop(known.name, None)
        while self._starving and self._lanes < self.connections:
            name = next(iter(self._starving))
            del self._starving[name]
            if (hungry := self._known.get(name)) is not None and hungry.lanes < self._allowed(hungry):
                self._open_lane(hungry)
        self._work()

    def _landed(self, waiting: Waiting) -> None:
        """It is not in flight any more: what waited for that is looked at again."""
        self._in_flight.discard(waiting)
        obstructed, self._obstructed = self._obstructed, set()
        for name in obstructed if not self._stopping else ():
            self._due(self._destination(name), self._now())

    async def _take(self, known: Destination) -> Waiting | None:
        """The next row to send, None if nothing is due."""
        if not known.ready and (known.refills is not None or known.due <= self._now()):
            await self._refill(known)
        if not known.ready:
            return None
        waiting = known.ready.popleft()
        if known.ready and known.lanes < self._allowed(known) and not self._stopping:
            if self._lanes < self.connections:
                self._open_lane(known)
            else:
                self._starving.setdefault(known.name)
        return waiting

    async def _refill(self, known: Destination) -> None:
        if known.refills is not None:  # another lane does it
            done: Deferred[None] = Deferred()
            known.refills.append(done)
            await done
            return
        known.refills = []
        known.due = float("inf")  # what comes meanwhile sets it again
        before = self._changes
        try:
            found, due = await self._queue.due(known.name, AT_ONCE, self._in_flight.to(known.name))
            if before != self._changes:
                found, due = [], self._now()
            known.ready.extend(self._in_flight.free(found))
            if len(known.ready) < len(found):
                self._obstructed.add(known.name)
            for waiting in known.ready:
                self._in_flight.add(waiting)
            if known.ready:
                due = self._now()  # there may be more
            if due is not None and due < min(known.due, self._now() + HORIZON):
                known.due = due
        except apsw.Error as error:
            self._log.warning("queue cannot be read", reason=str(error))
            known.due = self._now() + TROUBLE
        finally:
            refills, known.refills = known.refills, None
            for each in refills:
                each.callback(None)

    async def _more(self, known: Destination) -> bool:
        """Wait a little for something else to send over a connection that is open."""
        more: Deferred[bool] = Deferred()
        known.idle.append(more)
        if known.due < float("inf"):
            heapq.heappush(self._agenda, (known.due, known.name))
            self._work()

        def enough() -> None:
            if more in known.idle:
                known.idle.remove(more)
                more.callback(False)

        timer = self._reactor.callLater(IDLE, enough)
        try:
            return await more
        finally:
            if timer.active():
                timer.cancel()

    async def _in_turn(self, known: Destination, waiting: Waiting) -> bool:
        """Not more messages a minute than the destination is given. False when somebody has changed the row
        meanwhile."""
        rate = self._carrier.pace(known.name).per_minute
        if not rate:
            return True
        now, before = self._now(), self._changes
        at = max(now, known.next_free)
        known.next_free = at + 60.0 / rate
        if at > now and not await self._pauses.wait(at - now):
            return False
        if before == self._changes:
            return True
        try:
            return await self._queue.ask(lambda database: database.row(waiting.item.id, known.name)) == waiting
        except apsw.Error:
            return False  # it is read again

    # --- one attempt

    async def _attempt(self, known: Destination, hop: Hop | None, waiting: Waiting) -> tuple[Hop | None, bool]:
        """Send one message; returns the connection if it can go on, and whether the next hop was reached."""
        transcript, started = Transcript(), self._now()
        failed: HopFailed | None = None
        outcomes: dict[int, Outcome] = {}
        wanted = waiting
        try:
            outcomes |= await self._screen.suppressed(waiting, started)
            wanted = replace(waiting, recipients=tuple(n for n in waiting.recipients if n not in outcomes))
            if wanted.recipients:
                hop, sent = await self._send(known, hop, wanted, transcript)
                outcomes |= sent
        except HopFailed as error:
            hop, failed = None, error
            outcomes |= dict.fromkeys(wanted.recipients, error.outcome)
        except (Damaged, OSError) as error:
            hop = None
            outcomes |= self._unreadable(wanted, error)
        except Exception:
            hop = None
            self._log.failure("attempt failed", id=waiting.item.id, destination=known.name)
            self._counters.count("internal_errors", "queue")
            bug = Outcome(Verdict.LATER, "4.3.0", "internal error; the log has more", remote=False)
            outcomes |= dict.fromkeys(wanted.recipients, bug)
        if hop is not None and not hop.usable:
            await self._close(known, hop)
            hop = None
        now, was_failing = self._now(), known.failing is not None
        self._judge(known, failed, started, now)
        mta = next((outcome.mta for outcome in outcomes.values() if outcome.mta), "")
        await self._settler.settle(
            waiting, settlement(waiting, outcomes, now, self._queue.schedule),
            Attempt(started, now - started, mta, transcript.text), known.failing if failed else None,
            reached=was_failing and failed is None,
        )  # fmt: skip
        return hop, failed is None

    async def _send(
        self, known: Destination, hop: Hop | None, waiting: Waiting, transcript: Transcript
    ) -> tuple[Hop, Mapping[int, Outcome]]:
        """Over this connection, or a new one; whatever is raised, it is closed then. Raises: HopFailed, Damaged,
        OSError."""
        if hop is not None and not hop.suits(waiting):
            await self._close(known, hop)
            hop = None
        new = hop is None
        if hop is None:
            hop = await self._open(known, waiting, transcript)
            self._hops.add(hop)
            known.open += 1
        try:
            return hop, await hop.send(waiting, QueuedContent(self._queue, waiting.item), transcript)
        except HopFailed as failed:
            await self._close(known, hop)
            if new or not failed.stale:
                raise
        except BaseException:
            await self._close(known, hop)
            raise
        return await self._send(known, None, waiting, transcript)

    async def _open(self, known: Destination, waiting: Waiting, transcript: Transcript) -> Hop:
        """Raises: HopFailed."""
        self._opening += 1
        try:
            hop = await self._carrier.open(known.name, waiting, transcript)
        finally:
            self._opening -= 1
        if self._is_cut:  # nobody waits for what would become of it
            hop.abort()
            raise HopFailed(Outcome(Verdict.LATER, "4.3.2", "this server is stopping", remote=False))
        return hop

    def _unreadable(self, waiting: Waiting, error: Exception) -> Mapping[int, Outcome]:
        self._log.warning("queued message cannot be read", id=waiting.item.id, reason=str(error))
        return dict.fromkeys(waiting.recipients, unreadable(final=isinstance(error, Damaged)))

    def _judge(self, known: Destination, failed: HopFailed | None, started: float, now: float) -> None:
        """What an attempt says of the destination."""
        if failed is None:
            known.reached()
        elif known.not_reached(failed, started, now, self._queue.schedule):
            assert known.failing is not None
            self._log.event(
                "destination not reached", destination=known.name, failures=known.failing.failures,
                seconds=round(known.failing.until - now), reason=failed.outcome.text,
            )  # fmt: skip

    async def _close(self, known: Destination, hop: Hop) -> None:
        known.open -= 1
        self._hops.discard(hop)
        await hop.close()

    def _cut(self) -> None:
        self._is_cut = True
        for hop in list(self._hops):
            hop.abort()
        self._see_whether_all_ended()

    def _see_whether_all_ended(self) -> None:
        if self._lanes > (self._opening if self._is_cut else 0):  # nothing is lost with what is not yet connected
            return
        ended, self._ended = self._ended, []
        for each in ended:
            each.callback(None)
