"""Many changes in one commit: while one is being made durable, those that come wait together for the next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from mailstack.queue.database import QueueDatabase
from mailstack.store.workers import Workers

T = TypeVar("T")
LANE = "queue"
"""In which everything that touches the database runs, one after the other."""
MAX_TOGETHER = 256
"""Changes of one commit."""

Change = Callable[[], object]


@dataclass(frozen=True, slots=True)
class _Asked:
    fn: Change
    named: bool
    done: Deferred[object]


class Commits:
    """Runs changes of the database. `before` is called in the worker ahead of each commit with new files."""

    def __init__(self, database: QueueDatabase, workers: Workers, before: Callable[[], None]) -> None:
        self._database = database
        self._workers = workers
        self._before = before
        self._waiting: list[_Asked] = []
        self._busy = False

    async def change(self, fn: Callable[[], T]) -> T:
        """Run `fn` within a transaction; durable on return. `fn` may run again when another change of the same commit
        fails. Raises: what `fn` raises, apsw.Error, OSError; then nothing of it was done."""
        return await self._wait(fn, named=False)

    async def change_with_files(self, fn: Callable[[], T]) -> T:
        """As `change`; the names of files that it speaks of are durable first."""
        return await self._wait(fn, named=True)

    async def read(self, fn: Callable[[], T]) -> T:
        """Run `fn`, which changes nothing. Raises: what `fn` raises."""
        return await self._workers.run_in_lane(LANE, fn)

    async def _wait(self, fn: Callable[[], T], *, named: bool) -> T:
        done: Deferred[object] = Deferred()
        self._waiting.append(_Asked(fn, named, done))
        if not self._busy:
            self._busy = True
            self._begin()
        return await done  # type: ignore[return-value]

    def _begin(self) -> None:
        together, self._waiting = self._waiting[:MAX_TOGETHER], self._waiting[MAX_TOGETHER:]

        def finished(results: object) -> None:
            if self._waiting:
                self._begin()  # ahead of those that are called back, so that the disk does not wait
            else:
                self._busy = False
            each = results if isinstance(results, list) else [results] * len(together)
            for asked, result in zip(together, each, strict=True):
                asked.done.callback(result)  # a Failure goes the way of errors

        self._workers.run_in_lane(LANE, lambda: self._commit(together)).addBoth(finished)

    def _commit(self, together: Sequence[_Asked]) -> list[object]:
        """What each returned, or its Failure."""
        try:
            if any(asked.named for asked in together):
                self._before()
        except Exception:
            # Not once more: of two fsync(2) in a row the second may say that all is well when the first did not.
            return [Failure()] * len(together)  # type: ignore[no-untyped-call]
        return self._transaction([asked.fn for asked in together])

    def _transaction(self, changes: Sequence[Change]) -> list[object]:
        results: list[object] = []
        begun = False

        def all_of_them() -> None:
            nonlocal begun
            begun = True
            results.extend(change() for change in changes)

        try:
            self._database.transaction(all_of_them)
        except Exception:
            if len(changes) > 1 and begun and len(results) < len(changes):  # one of them, not the commit
                return [result for change in changes for result in self._transaction([change])]
            return [Failure()] * len(changes)  # type: ignore[no-untyped-call]
        return results
