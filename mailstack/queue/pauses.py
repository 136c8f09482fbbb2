"""Times that somebody waits for, and that end early when everything does."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred


class Pauses:
    """Times are the reactor's."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._over: set[Deferred[None]] = set()
        self._ended = False

    async def wait(self, seconds: float) -> bool:
        """So long, or until `end`; returns whether to go on."""
        if self._ended:
            return False
        over: Deferred[None] = Deferred()
        self._over.add(over)
        timer = self._reactor.callLater(seconds, over.callback, None)
        try:
            await over
        finally:
            self._over.discard(over)
            if timer.active():
                timer.cancel()
        return not self._ended

    def end(self) -> None:
        """Nobody waits any more, from now on."""
        self._ended = True
        for over in list(self._over):
            over.callback(None)
