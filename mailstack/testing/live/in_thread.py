"""A server in a thread of this process. It has a reactor of its own, which is not the one that
`twisted.internet.reactor` names: a program that uses Twisted does not notice it."""

from __future__ import annotations

import os
import threading
import traceback
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from mailstack.testing.live.failures import MailServerError
from mailstack.testing.live.log_tail import MemoryTail
from mailstack.testing.live.settings import MailServerSettings, Way

START_LIMIT, STOP_LIMIT, CUT_AFTER = 30.0, 15.0, 0.5
"""Seconds: to be ready; to end; for open connections to end by themselves."""


class ServerThread:
    """The thread is a daemon, so that a test run which forgets to stop it still ends; see `MailServer`."""

    way: Way = "thread"

    def __init__(self, settings: MailServerSettings) -> None:
        self.log = MemoryTail()
        self._settings = settings
        self._ready = threading.Event()
        self._document: dict[str, Any] = {}
        self._failure = ""
        self._reactor: Any = None
        self._stopping = False
        """Nobody wants it any more, perhaps before it is there."""
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="mailstack", daemon=True)

    def start(self) -> dict[str, Any]:
        """What the ready file would say. Raises: MailServerError."""
        self._thread.start()
        if not self._ready.wait(START_LIMIT):
            raise MailServerError(f"the mail server was not ready within {START_LIMIT:g} s")
        if self._failure:
            raise MailServerError(f"the mail server cannot start: {self._failure}")
        return self._document

    def is_running(self) -> bool:
        return self._thread.is_alive() and not self._stopping

    def explain(self) -> str:
        """How it ended, if it has."""
        if self._failure:
            return f"; its thread ended with {self._failure}"
        return "" if self._thread.is_alive() else "; its thread has ended"

    def stop(self) -> None:
        """Idempotent. Raises: MailServerError if it had ended before, or does not."""
        if self._thread.ident is None or self._stopping:
            return
        had_ended = bool(self._document) and not self._thread.is_alive()
        self._stopping = True
        if self._reactor is not None and self._thread.is_alive():
            self._reactor.callFromThread(self._end)
        if threading.current_thread() is self._thread:
            return  # the garbage collector called from there
        self._thread.join(STOP_LIMIT)
        if self._thread.is_alive():
            raise MailServerError(f"the mail server did not stop within {STOP_LIMIT:g} s")
        if had_ended:
            raise MailServerError(f"the mail server had ended before it was stopped{self.explain()}")

    def abandon(self) -> None:
        """In a forked child, where the thread is not: the descriptors belong to the parent's server."""
        self._stopping = True
        reactor, self._reactor = self._reactor, None
        if reactor is not None:
            reactor.abandon()

    # --- in the thread

    def _end(self) -> None:
        if not self._ending:
            self._ending = True
            self._reactor.stop()

    def _run(self) -> None:
        try:
            with ExitStack() as stack:
                self._serve(self._data(stack))
        except BaseException as error:  # noqa: B036  (whatever it is: who waits has to be told)
            self._failure = f"{error}" if isinstance(error, OSError) or _is_refusal(error) else traceback.format_exc()
        finally:
            self._ready.set()

    def _data(self, stack: ExitStack) -> Path:
        from mailstack.app.ephemeral import EphemeralDirectory
        from mailstack.app.server import use_data

        if self._settings.data is None:
            return stack.enter_context(EphemeralDirectory())
        use_data(self._settings.data)
        return self._settings.data.resolve()

    def _serve(self, data: Path) -> None:
        from twisted.internet.defer import Deferred

        from mailstack.app.development import DevelopmentOptions, assemble
        from mailstack.app.readiness import Ready
        from mailstack.observe.log import FORMATS, StructuredLog, Target
        from mailstack.testing.live.private_reactor import private_reactor

        settings = self._settings
        options = DevelopmentOptions(
            data, settings.data is None, settings.port_base, None, settings.domains, "text", False,
            keep=0, password=settings.password,
        )  # fmt: skip
        reactor = self._reactor = private_reactor()
        try:
            server, config = assemble(options, data, reactor, StructuredLog(Target(self.log, FORMATS["text"])))

            def ready() -> None:
                ca = config.tls.certificates[0].cert
                self._document = Ready(server.services, os.getpid(), config.data, ca).document()
                self._ready.set()
                if self._stopping:
                    self._end()

            def stopping() -> Deferred[None]:
                reactor.callLater(CUT_AFTER, server.running.cut)
                return Deferred.fromCoroutine(server.running.stop())

            reactor.callWhenRunning(ready)
            reactor.addSystemEventTrigger("before", "shutdown", stopping)
            reactor.run(installSignalHandlers=False)
        finally:
            reactor.close()


def _is_refusal(error: BaseException) -> bool:
    from mailstack.app.listening import CannotListen
    from mailstack.app.server import CannotUseData

    return isinstance(error, CannotListen | CannotUseData)
