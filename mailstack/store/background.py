"""Filling indexes while nobody waits: what sessions foresee to ask for is made before they do.

A mailbox that a session has opened is gone through from its oldest message to its newest, some milliseconds at a
time, each time only when no worker has anything else to do, or has had for long. New messages are filled in as they
come. A mailbox is left when it is not remembered any more."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from twisted.internet.defer import CancelledError, Deferred

from mailstack.errors import Refused
from mailstack.ports import Clock, Counters, Log

if TYPE_CHECKING:
    from mailstack.store.mailbox import OpenMailbox
    from mailstack.store.workers import Workers

FIRST = 1.0
"""Seconds for the client that has opened a mailbox, before anything is done about it."""
PIECE = 0.02
"""Seconds that a worker is at it, about: a message that is large takes longer."""
PAUSE = 0.01
"""Seconds between two pieces at least; after a longer piece the pause is as long, so that others have half of the time
even where nobody sees that they wait."""
PATIENCE = 1.0
"""Seconds after which a piece is done though workers are never without anything to do."""


class Background:
    """One for all accounts. In the reactor's thread."""

    def __init__(self, workers: Workers, clock: Clock, counters: Counters, log: Log) -> None:
        self._workers = workers
        self._clock = clock
        self._counters = counters
        self._log = log
        self._waiting: OrderedDict[OpenMailbox, None] = OrderedDict()
        self._running = False
        self._over: Deferred[None] | None = None
        self._pausing: Deferred[None] | None = None
        self._stopped = False
        self.wanted = True
        """Whether anything is done."""

    def want(self, mailbox: OpenMailbox) -> None:
        """There may be something to fill in of this mailbox."""
        if self._stopped or not self.wanted:
            return
        self._waiting[mailbox] = None
        if not self._running:
            self._running = True
            self._over = Deferred.fromCoroutine(self._run())

    async def stop(self) -> None:
        """End after the piece that is under way."""
        self._stopped = True
        self._waiting.clear()
        if self._pausing is not None:
            self._pausing.cancel()
        if self._over is not None:
            await self._over

    async def _run(self) -> None:
        await self._pause(FIRST)
        while self._waiting:
            await self._give_way()
            begun = self._clock.now()
            await self._piece()
            await self._pause(max(PAUSE, self._clock.now() - begun))
        self._running = False

    async def _give_way(self) -> None:
        until = self._clock.now() + PATIENCE
        while self._waiting and not self._workers.idle and self._clock.now() < until:
            await self._pause(PAUSE)

    async def _piece(self) -> None:
        """Some messages of the mailbox whose turn it is."""
        if not self._waiting:
            return
        mailbox, _ = self._waiting.popitem(last=False)
        try:
            filled, more = await mailbox.fill(PIECE)
        except Refused as refused:  # whoever asks for it meets it, too
            self._log.warning("index not filled", mailbox=mailbox.name, reason=str(refused))
            return
        except Exception:
            self._log.failure("index not filled", mailbox=mailbox.name)
            return
        if filled:
            self._counters.count("messages_indexed", amount=filled)
        if more and self.wanted and not self._stopped:
            self._waiting[mailbox] = None

    async def _pause(self, seconds: float) -> None:
        if self._stopped:
            return
        self._pausing = Deferred.fromCoroutine(self._clock.sleep(seconds))
        try:
            await self._pausing
        except CancelledError:
            return
        finally:
            self._pausing = None
