"""Takes down what becomes of messages, with the reports that belong to it, however long the disk needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import apsw
from twisted.internet.defer import Deferred

from mailstack.ports import MEMORY_LIMIT, Log
from mailstack.queue.carrying import Journal, Reporter, Screen
from mailstack.queue.content import Damaged
from mailstack.queue.items import Attempt, DestinationState, Waiting
from mailstack.queue.queue import MailQueue, NewReport, Settled
from mailstack.queue.settlement import Settlement

TROUBLE = 5.0
"""Seconds until what the disk did not take is tried again."""


class Settler:
    """`stopping` True: what the disk does not take is left as it was before the attempt."""

    def __init__(
        self,
        queue: MailQueue,
        reporter: Reporter,
        journal: Journal,
        screen: Screen,
        reactor: Any,
        now: Callable[[], float],
        log: Log,
    ) -> None:
        self.stopping = False
        self._queue = queue
        self._reporter = reporter
        self._journal = journal
        self._screen = screen
        self._reactor = reactor
        self._now = now
        self._log = log

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
        while True:
            try:
                reports = await self._reports(waiting, settled, now)
                await self._queue.settle(Settled(waiting, settled.rest, attempt, reports), state, reached=reached)
                break
            except (apsw.Error, OSError) as error:
                self._log.warning("queue cannot be written", id=waiting.item.id, reason=str(error))
                if self.stopping:
                    return
                again: Deferred[None] = Deferred()
                self._reactor.callLater(TROUBLE, again.callback, None)
                await again
        await self._screen.tried(waiting, settled, now)
        self._journal.settled(waiting, settled, now)

    async def _reports(self, waiting: Waiting, settled: Settlement, now: float) -> tuple[NewReport, ...]:
        if not (settled.failed or settled.late or settled.done):
            return ()
        if not (settled.failed or settled.late or waiting.item.envelope.rcpt_parameters):
            return ()  # nobody asked to hear of success
        try:
            head = await self._queue.read(waiting.item, 0, MEMORY_LIMIT)
        except (Damaged, OSError):
            head = b""  # the report goes without
        return tuple(await self._reporter.reports(waiting, settled, head, now))
