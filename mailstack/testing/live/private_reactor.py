"""A reactor that nobody finds in `twisted.internet.reactor`: it runs in a thread of a program that may want to install
one of its own, or has."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

from twisted.internet.epollreactor import EPollReactor
from twisted.protocols import tls

_here = threading.local()
"""`reactor`: the private one of this thread."""


class PrivateReactor(EPollReactor):
    """Made, run and closed in one thread."""

    _registerAsIOThread = False  # another reactor's thread is the one, or will be

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        _here.reactor = self

    def close(self) -> None:
        """What it holds for itself, which Twisted leaves to the end of the process."""
        for each in self.removeAll():  # type: ignore[no-untyped-call]
            with contextlib.suppress(Exception):
                each.connectionLost(None)
        for own in list(self._internalReaders):
            own.connectionLost(None)
        self._poller.close()
        del _here.reactor

    def abandon(self) -> None:
        """In a forked child: the connections are the parent's, and must not stay open because the child lives."""
        for each in list(self._selectables.values()):
            opened = getattr(each, "socket", None)
            if opened is not None:
                opened.close()
        self._poller.close()


def private_reactor() -> PrivateReactor:
    """Of this thread."""
    _let_tls_find_it()
    return PrivateReactor()


def _let_tls_find_it() -> None:
    """STARTTLS takes the time from the installed reactor, and would install one. Other threads get what they got."""
    installed: Any = tls._get_default_clock
    if getattr(installed, "finds_private", False):
        return

    def clock() -> Any:
        return getattr(_here, "reactor", None) or installed()

    clock.finds_private = True  # type: ignore[attr-defined]
    tls._get_default_clock = clock
