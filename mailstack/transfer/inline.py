"""The store used from a command: everything happens at once, in the calling thread, without a reactor."""

from __future__ import annotations

from collections.abc import Coroutine
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from mailstack.ports import Change, Log
from mailstack.store.api import Store
from mailstack.store.watch import Watch
from mailstack.store.workers import InlineWorkers

T = TypeVar("T")


class Nothing:
    """In the place of a reactor for `Watch`: nobody is woken, since whoever asks looks first."""

    def addReader(self, reader: object) -> None:
        """Events are read when somebody looks."""

    def removeReader(self, reader: object) -> None: ...

    def callLater(self, delay: float, call: object) -> Nothing:
        return self

    def active(self) -> bool:
        return False


class Silent:
    """Implements `ports.MailboxListener` for who wants to hear nothing."""

    def changed(self, change: Change) -> None:
        """What others do is seen at the next look."""


def open_store(data: Path, log: Log) -> Store:
    """The store of a data directory, for `run`. Raises: OSError."""
    return Store(data, InlineWorkers(), log, Watch(Nothing(), log))


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never waits for the reactor. Raises what it raises."""
    results: list[T] = []
    failures: list[Failure] = []
    Deferred.fromCoroutine(coroutine).addCallbacks(results.append, failures.append)
    if failures:
        _raise(failures[0])
    assert results, "it waits, and nobody would ever wake it"
    return results[0]


def _raise(failure: Failure) -> NoReturn:
    assert failure.value is not None
    raise failure.value
