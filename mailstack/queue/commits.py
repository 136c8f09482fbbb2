"""Many changes in one commit: while one is being made durable, those that come wait together for the next."""

from __future__ import annotations

from collections.abc import Callable
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


class Commits:
    """Runs changes of the database. `before` is called in the worker ahead of each commit."""

    def __init__(self, database: QueueDatabase, workers: Workers, before: Callable[[], None]) -> None:
        self._database = database
        self._workers = workers
        self._before = before
        self._waiting: list[tuple[Change, Deferred[object]]] = []
        self._busy = False

    async def change(self, fn: Callable[[], T]) -> T:
        """Run `fn` within a transaction; durable on return. `fn` may run again when another change of the same commit
        fails. Raises: what `fn` raises, apsw.Error, OSError; then nothing of it was done."""
        done: Deferred[object] = Deferred()
        self._waiting.append((fn, done))
        if not self._busy:
            self._busy = True
            self._begin()
        return await done  # type: ignore[return-value]

    async def read(self, fn: Callable[[], T]) -> T:
        """Run `fn`, which changes nothing. Raises: what `fn` raises."""
        return await self._workers.run_in_lane(LANE, fn)

    def _begin(self) -> None:
        together, self._waiting = self._waiting[:MAX_TOGETHER], self._waiting[MAX_TOGETHER:]
        changes = [change for change, _ in together]

        def finished(results: list[object]) -> None:
            if self._waiting:
                self._begin()  # ahead of those that are called back, so that the disk does not wait
            else:
                self._busy = False
            for (_, done), result in zip(together, results, strict=True):
                done.callback(result)  # a Failure goes the way of errors

        self._workers.run_in_lane(LANE, lambda: self._commit(changes)).addCallback(finished)

    def _commit(self, changes: list[Change]) -> list[object]:
        """What each returned, or its Failure. Never raises."""
        results: list[object] = []

        def all_of_them() -> None:
            results.extend(change() for change in changes)

        try:
            self._before()
            self._database.transaction(all_of_them)
        except Exception:
            if len(changes) == 1:
                return [Failure()]  # type: ignore[no-untyped-call]
            return [result for change in changes for result in self._commit([change])]
        return results
