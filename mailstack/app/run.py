"""A process from start to end: reactor, signals, the ready file, and an orderly stop."""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IListeningPort

from mailstack.net.listener import Listener
from mailstack.net.systemd import notify
from mailstack.net.tls import RELOAD_INTERVAL, ServerTls
from mailstack.ports import Log

DRAIN_TIME = 30.0
"""Seconds that transactions in flight have to finish when the server stops."""


@dataclass(slots=True)
class Running:
    """What was started, in the order in which it is to be stopped."""

    reactor: Any
    log: Log
    tls: ServerTls | None = None
    ports: list[IListeningPort] = field(default_factory=list)
    listeners: list[Listener] = field(default_factory=list)
    closers: list[Callable[[], Awaitable[None] | None]] = field(default_factory=list)

    async def stop(self) -> None:
        """Close the ports, let the sessions end, then close what they used."""
        self.log.event("stopping")
        await _all(port.stopListening() for port in self.ports)
        await _all(Deferred.fromCoroutine(listener.drain(DRAIN_TIME)) for listener in self.listeners)
        for close in reversed(self.closers):
            closing = close()
            if closing is not None:
                await closing
        self.log.event("stopped")

    def cut(self) -> None:
        """Do not wait for the sessions any more; what is being written to disk is still finished."""
        self.log.warning("told again to stop: connections are cut")
        for listener in self.listeners:
            listener.cut()

    def watch_certificates(self) -> None:
        """Look at the certificates' files now and then."""
        if self.tls is not None:
            self.tls.reload_if_changed()
            self.reactor.callLater(RELOAD_INTERVAL, self.watch_certificates)


def run(running: Running, *, ready: Callable[[], None], reload: Callable[[], None]) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status. `ready` is called when the reactor
    runs, `reload` at each SIGHUP. A second SIGTERM or SIGINT cuts the connections, a third ends the
    process as it is."""
    reactor = running.reactor
    status = 0

    def started() -> None:
        nonlocal status
        try:
            ready()
            running.watch_certificates()
            notify("READY=1", os.environ)
        except OSError as error:
            running.log.warning("cannot start", reason=str(error))
            status = 1
            reactor.stop()

    def stopping() -> Deferred[None]:
        notify_quietly(running.log, "STOPPING=1")
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop_now)
        return Deferred.fromCoroutine(running.stop())

    def stop_now(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        reactor.callFromThread(running.cut)

    def hang_up(number: int, frame: object) -> None:
        reactor.callFromThread(reload)

    reactor.callWhenRunning(started)
    reactor.addSystemEventTrigger("before", "shutdown", stopping)
    signal.signal(signal.SIGHUP, hang_up)
    reactor.run()
    return status


def notify_quietly(log: Log, state: str) -> None:
    """Tell the service manager; that it does not listen any more is no reason not to stop."""
    try:
        notify(state, os.environ)
    except OSError as error:
        log.warning("service manager not told", state=state, reason=str(error))


async def _all(deferreds: Iterable[Deferred[Any] | None]) -> None:
    await gatherResults([deferred for deferred in deferreds if deferred is not None])
