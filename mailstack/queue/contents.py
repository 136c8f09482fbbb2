"""What is read of the files of messages that are sent, and the files of those that are done.

Small messages that are about to be sent are in memory, as far as there is room: those that have just come, and those
that are read in one visit of a worker for all lanes of a destination. Everything else is read when it is sent."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence

from mailstack.ports import Log
from mailstack.queue.content import Damaged, Files
from mailstack.queue.items import Item
from mailstack.store.workers import Workers

SMALL = 32 * 1024
"""Octets of a message that may be in memory."""
ROOM = 4 * 1024 * 1024
"""Octets of all that are; of more, those go that have been there longest."""
AHEAD_TIME = 0.02
"""Seconds after which a worker reads no further ahead: a slow disk is not waited for before it must be."""


class Contents:
    """All but the worker's part in the reactor's thread."""

    def __init__(self, files: Files, workers: Workers, log: Log) -> None:
        self._files = files
        self._workers = workers
        self._log = log
        self._kept: dict[str, bytes] = {}
        self._octets = 0
        self._done: deque[str] = deque()
        self._removing = False

    async def read(self, item: Item, start: int, end: int) -> bytes:
        """Octets of a message; what is in memory is given once. Raises: Damaged, OSError."""
        if item.id in self._kept:
            return self._forget(item.id)[start:end]
        size = min(end, item.size) - start
        return await self._workers.run(lambda: self._files.read(item.id, item.offset + start, size))

    def keep(self, name: str, parts: Sequence[bytes]) -> None:
        """An item that will soon be sent."""
        octets = b"".join(parts)
        if name in self._kept or len(octets) > SMALL:
            return
        self._kept[name] = octets
        self._octets += len(octets)
        while self._octets > ROOM:
            self._forget(next(iter(self._kept)))

    async def read_ahead(self, items: Sequence[Item]) -> None:
        """Keep these. What cannot be read is left to `read`."""
        wanted = [item for item in items if item.size <= SMALL and item.id not in self._kept]
        if len(wanted) > 1:
            for name, octets in await self._workers.run(lambda: self._read(wanted)):
                self.keep(name, (octets,))

    def _read(self, items: Sequence[Item]) -> list[tuple[str, bytes]]:
        found: list[tuple[str, bytes]] = []
        end = time.monotonic() + AHEAD_TIME
        for item in items:
            try:
                found.append((item.id, self._files.read(item.id, item.offset, item.size)))
            except (Damaged, OSError):
                continue
            if time.monotonic() > end:
                break
        return found

    def _forget(self, name: str) -> bytes:
        octets = self._kept.pop(name)
        self._octets -= len(octets)
        return octets

    # --- of what is done

    def remove(self, name: str) -> None:
        """Without waiting: a file that no row speaks of is swept at the next start."""
        if name in self._kept:
            self._forget(name)
        self._done.append(name)
        self._remove_all()

    def _remove_all(self) -> None:
        if self._done and not self._removing:
            self._removing = True
            self._workers.run(self._remove).addErrback(lambda failure: [str(failure)]).addCallback(self._removed)

    def _remove(self) -> list[str]:
        failures: list[str] = []
        while self._done:
            try:
                self._files.remove(self._done.popleft())
            except OSError as error:
                failures.append(str(error))
        return failures

    def _removed(self, failures: list[str]) -> None:
        self._removing = False
        for reason in failures:
            self._log.warning("queue file not removed", reason=reason)
        self._remove_all()
