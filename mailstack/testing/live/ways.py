"""The two ways in which a server runs, and what becomes of it when the process forks, ends or forgets it."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
import weakref
from typing import Any, Protocol

from mailstack.testing.live.failures import MailServerError
from mailstack.testing.live.settings import MailServerSettings, Way


class Tail(Protocol):
    """The end of a log."""

    def position(self) -> int: ...

    def since(self, position: int) -> list[str]: ...


class Running(Protocol):
    """A server that was started, or is about to be."""

    @property
    def way(self) -> Way: ...

    @property
    def log(self) -> Tail: ...

    def start(self) -> dict[str, Any]:
        """What the ready file says. Raises: MailServerError."""

    def is_running(self) -> bool: ...

    def explain(self) -> str:
        """How it ended, if it has; begins with "; "."""

    def stop(self) -> None:
        """Idempotent. Raises: MailServerError if it had ended by itself before, or does not end."""

    def abandon(self) -> None:
        """In a forked child, where it is the parent's; `stop` does nothing any more."""


def choose(settings: MailServerSettings) -> Running:
    """In a thread, unless the program has a reactor, which may be about to do the same kind of work in this thread."""
    way = settings.way
    if way == "auto":
        way = "process" if "twisted.internet.reactor" in sys.modules else "thread"
    running: Running
    if way == "thread":
        from mailstack.testing.live.in_thread import ServerThread

        running = ServerThread(settings)
    elif way == "process":
        from mailstack.testing.live.in_process import ServerProcess

        running = ServerProcess(settings)
    else:
        raise MailServerError(f"way: expected auto, thread or process, not {way!r}")
    _INHERITED.add(running)
    return running


def forgotten(running: Running, owner: int) -> None:
    """Nobody closed it, and nobody can any more."""
    if os.getpid() == owner and running.is_running():
        warnings.warn("a mail server was not closed: use it in a `with` statement", ResourceWarning, stacklevel=2)
        with contextlib.suppress(MailServerError):
            running.stop()


_INHERITED: weakref.WeakSet[Running] = weakref.WeakSet()
"""What a forked child would believe to have; fork hooks are of the process and cannot be taken back."""


def _in_child() -> None:
    for running in list(_INHERITED):
        running.abandon()
    _INHERITED.clear()


os.register_at_fork(after_in_child=_in_child)
