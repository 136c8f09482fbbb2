"""The queue at the start of the process that owns it. Blocking.

What a crash left is swept. A database that is not there, or is damaged, is made anew of the files, for each of them is
whole in itself. What only the database knew is lost then: who has his copy already gets it again, for a message that
comes twice is better than one that does not come (RFC 5321 §6.1), and what was held by hand is not any more."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from mailstack.ports import Envelope, Log
from mailstack.queue import former
from mailstack.queue.content import Damaged, Files
from mailstack.queue.database import COMPLETE, QueueDatabase, QueueDatabaseDamaged
from mailstack.queue.items import Item
from mailstack.queue.queue import MailQueue, NewItem
from mailstack.store.maildir.layout import sync_directory

ASIDE = "damaged"
"""In the name of a database that was set aside."""
AT_ONCE = 500
"""Items of a former version that are taken over in one transaction."""


def open_database(path: Path, log: Log, *, alone: bool = True) -> QueueDatabase:
    """The database; one that is damaged is set aside, and a new one begun, if this process is `alone`.
    Raises: OSError, QueueDatabaseError, apsw.Error."""
    try:
        database = QueueDatabase(path)
        try:
            database.check()
        except BaseException:
            database.close()
            raise
        return database
    except QueueDatabaseDamaged as damaged:
        if not alone:
            raise
        aside = _set_aside(path)
        log.warning("queue database is damaged and was set aside", reason=str(damaged), file=str(aside))
        return QueueDatabase(path)


def _set_aside(path: Path) -> Path:
    """The database before its log: of a log without its database SQLite takes nothing, but a database without its log
    may look well, and lack its latest items."""
    aside = path.with_name(f"{path.name}.{ASIDE}-{time.time_ns() // 1_000_000}")
    for suffix in ("", "-wal", "-shm"):
        beside = path.with_name(path.name + suffix)
        if beside.exists():
            beside.rename(aside.with_name(aside.name + suffix))
    sync_directory(path.parent)
    return aside


class Recovery:
    """Before anything else is asked of the queue, by a process that is alone: what another one writes would be swept.
    Raises: OSError, apsw.Error."""

    def __init__(self, queue: MailQueue, files: Files, database: QueueDatabase, log: Log, now: float) -> None:
        self._queue = queue
        self._files = files
        self._database = database
        self._log = log
        self._now = now

    def run(self) -> None:
        """All of it."""
        swept = self._files.sweep_unfinished() + self._sweep_former()
        self._take_over()
        known = self._database.ids()
        unknown = [name for name in self._files.names() if name not in known]
        if not self._database.note(COMPLETE):
            self._adopt(unknown)
            return
        for name in unknown:
            self._files.remove(name)
        if swept + len(unknown):
            self._log.event("queue swept", files=swept + len(unknown))

    def _adopt(self, names: Sequence[str]) -> None:
        """Make the rows of these files. That all were asked is said in the same transaction: until then, whoever
        starts does it again, and sweeps nothing."""
        rows: list[NewItem] = []
        for name in sorted(names):
            try:
                envelope, arrived, offset, size = self._files.read_envelope(name)
            except Damaged as damaged:
                aside = self._files.set_aside(name)
                self._log.warning("queue file cannot be read and was set aside", reason=str(damaged), file=str(aside))
                continue
            rows.append(self._row(name, envelope, arrived, offset, size))
        self._files.sync()
        self._add(rows, complete=True)
        if names:
            self._log.warning("queue database was not there; its rows were made of the files", messages=len(rows))

    def _row(self, name: str, envelope: Envelope, arrived: float, offset: int, size: int) -> NewItem:
        expires = self._queue.schedule.expires(envelope, arrived)
        return self._queue.placed(Item(name, envelope, arrived, expires, offset, size), self._now)

    def _add(self, rows: Sequence[NewItem], *, complete: bool = False) -> None:
        def add() -> None:
            for row in rows:
                row.add_to(self._database)
            if complete:
                self._database.set_note(COMPLETE, "yes")

        self._database.transaction(add)

    # --- of former versions

    def _sweep_former(self) -> int:
        left = former.orphans(self._files.directory)
        for path in left:
            path.unlink()
        return len(left)

    def _take_over(self) -> None:
        """A pair goes when its row is durable, and is durably gone before anything can be sent: a crash takes nothing
        along, and brings nothing back."""
        pairs = former.pairs(self._files.directory, self._log)
        for start in range(0, len(pairs), AT_ONCE):
            some = pairs[start : start + AT_ONCE]
            new = [pair for pair in some if not self._database.has(pair.id)]
            self._add_files(new)
            former.remove(some)
            self._files.sync()
        if pairs:
            self._log.event("queue of a former version taken over", messages=len(pairs))

    def _add_files(self, pairs: Sequence[former.Pair]) -> None:
        rows = []
        for pair in pairs:
            offset, size = former.rewrite(self._files, pair)
            rows.append(self._row(pair.id, pair.envelope, pair.arrived, offset, size))
        self._files.sync()
        self._add(rows)
