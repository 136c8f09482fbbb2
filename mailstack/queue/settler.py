"""Takes down what becomes of messages, with the reports that belong to it, however long the disk needs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import apsw

from mailstack.mail.parameters import Return
from mailstack.ports import MEMORY_LIMIT, Counters, Log
from mailstack.queue.carrying import Journal, Reporter, Screen
from mailstack.queue.content import Damaged
from mailstack.queue.items import Attempt, DestinationState, Waiting
from mailstack.queue.queue import MailQueue, NewReport, Settled
from mailstack.queue.settlement import Settlement, unreported

TROUBLE = 5.0
"""Seconds until what the disk did not take is tried again."""


class Settler:
    """`pause` waits for so many seconds, and says whether to go on then."""

    def __init__(
        self,
        queue: MailQueue,
        reporter: Reporter,
        journal: Journal,
        screen: Screen,
        pause: Callable[[float], Awaitable[bool]],
        now: Callable[[], float],
        log: Log,
        counters: Counters,
    ) -> None:
        self._queue = queue
        self._reporter = reporter
        self._journal = journal
        self._screen = screen
        self._pause = pause
        self._now = now
        self._log = log
        self._counters = counters

    async def settle(
        self,
        waiting: Waiting,
        settled: Settlement,
        attempt: Attempt | None = None,
        state: DestinationState | None = None,
        *,
        reached: bool = False,
    ) -> None:
        """Parameters as of MailQueue.settle."""
        now = self._now()
        settled, reports = await self._reported(waiting, settled, now)
        while True:
            try:
                await self._queue.settle(Settled(waiting, settled.rest, attempt, reports), state, reached=reached)
                break
            except Damaged as damaged:  # the report goes without what cannot be read
                self._log.warning("queued message cannot be read", id=waiting.item.id, reason=str(damaged))
                settled, reports = await self._reported(waiting, settled, now, whole=False)
            except (apsw.Error, OSError) as error:
                self._log.warning("queue cannot be written", id=waiting.item.id, reason=str(error))
                if not await self._pause(TROUBLE):
                    return
        await self._screen.tried(waiting, settled, now)
        self._journal.settled(waiting, settled, now)

    async def _reported(
        self, waiting: Waiting, settled: Settlement, now: float, *, whole: bool = True
    ) -> tuple[Settlement, tuple[NewReport, ...]]:
        """What is settled, and the reports of it. Whatever is wrong with reports, what was sent is not sent again."""
        try:
            return settled, await self._reports(waiting, settled, now, whole=whole)
        except Exception:
            self._log.failure("report not made", id=waiting.item.id)
            self._counters.count("internal_errors", "queue")
            return unreported(waiting, settled, now, self._queue.schedule), ()

    async def _reports(
        self, waiting: Waiting, settled: Settlement, now: float, *, whole: bool
    ) -> tuple[NewReport, ...]:
        if not (settled.failed or settled.late or settled.done):
            return ()
        if not (settled.failed or settled.late or waiting.item.envelope.rcpt_parameters):
            return ()  # nobody asked to hear of success
        try:
            head = await self._queue.read(waiting.item, 0, MEMORY_LIMIT)
        except (Damaged, OSError):
            head, whole = b"", False
        about = waiting if whole else _by_header(waiting)
        return tuple(await self._reporter.reports(about, settled, head, now))


def _by_header(waiting: Waiting) -> Waiting:
    """As if its sender wanted nothing but the header to come back (RFC 3461 §4.3)."""
    envelope = waiting.item.envelope
    asked = replace(envelope.parameters, ret=Return.HEADERS)
    return replace(waiting, item=replace(waiting.item, envelope=replace(envelope, parameters=asked)))
