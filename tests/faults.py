"""System calls that fail on purpose: at the first call, then the second, until an operation succeeds."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

CALLS = ("open", "write", "fsync", "rename", "link", "unlink", "sendfile", "utime", "mkdir", "scandir", "listdir")
ERRORS = (errno.ENOSPC, errno.EIO, errno.EMFILE)
MOST = 400


class Faults:
    """Makes the n-th of an operation's calls of `os.<call>` fail. Giving back a lock does not count: one that
    cannot be removed ends the service until somebody looks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._left = 0
        self._error = errno.EIO
        self.fired = ""
        for name in CALLS:
            monkeypatch.setattr(os, name, self._replacement(name, getattr(os, name)))

    def _replacement(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if self._left > 0 and not (name == "unlink" and str(arguments[0]).endswith(".lock")):
                self._left -= 1
                if self._left == 0:
                    self.fired = name
                    raise OSError(self._error, os.strerror(self._error), name)
            return real(*arguments, **named)

        return call

    def attempts(self, operation: Callable[[], Any], error: int) -> Iterator[BaseException | None]:
        """Run `operation` with its first call failing, then its second, until it succeeds; gives what came
        out each time. `fired` names the call that failed, "" when the operation needed fewer calls."""
        for number in range(1, MOST):
            self._left, self._error, self.fired = number, error, ""
            try:
                operation()
            except Exception as raised:
                self._left = 0
                yield raised
            else:
                exhausted, self._left = self._left > 0, 0
                yield None
                if exhausted:
                    return
        raise AssertionError(f"still failing after {MOST} calls")


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    return Faults(monkeypatch)
