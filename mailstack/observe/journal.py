"""The journal of messages' journeys: a bounded SQLite file, and all SQL of it.

Events wait in memory for a moment and are written together; what a crash loses of the last second is no more than
that. Several processes may have the file open."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from mailstack.journeys import Event, Step
from mailstack.ports import Log
from mailstack.store.sqlite_file import SqliteFile

JOURNAL_DATABASE = "journal.sqlite3"
FLUSH = 1.0
"""Seconds that events wait to be written together."""
MAX_WAITING = 5000
"""Events that wait; when the disk does not keep up, the oldest are lost."""
SLACK = 0.02
"""The part of the limit by which there may be more before the oldest are removed."""
MAX_REASON = 300
"""Characters of a reason that are kept."""
MAX_JOURNEYS = 50
"""Journeys of one recipient that are shown: the latest."""
DAY = 86400.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS event (id INTEGER PRIMARY KEY, at REAL NOT NULL, journey TEXT NOT NULL, step TEXT NOT NULL,
  recipient TEXT NOT NULL, sender TEXT NOT NULL, message_id TEXT NOT NULL, location TEXT NOT NULL,
  status TEXT NOT NULL, reason TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS event_journey ON event (journey);
CREATE INDEX IF NOT EXISTS event_recipient ON event (recipient, id);
CREATE INDEX IF NOT EXISTS event_message_id ON event (message_id) WHERE message_id <> '';
CREATE INDEX IF NOT EXISTS event_queue_id ON event (location) WHERE step IN ('queued', 'forwarded');
"""
_COLUMNS = "at, journey, step, recipient, sender, message_id, location, status, reason"

Run = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Runs a function in a thread, one after the other; what it returns comes back."""


class JournalDatabase(SqliteFile):
    """The file, made when it is not there. Blocking. Raises: sqlite3.Error, OSError."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, _SCHEMA)
        self._about = self._count()

    def add(self, events: Sequence[Event], most: int, since: float) -> None:
        """Take these down, and remove the oldest beyond so many, and those from before a time."""
        rows = [
            (e.at, e.journey, e.step.value, e.recipient, e.sender, e.message_id, e.where, e.status,
             e.reason[:MAX_REASON])
            for e in events
        ]  # fmt: skip
        with self._transaction():
            self._connection.executemany(f"INSERT INTO event ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
            self._about += len(rows)
            if self._about > most * (1 + SLACK):
                self._remove_beyond(most)
            self._remove_before(since)

    def of_message(self, message_id: str) -> list[Event]:
        """All that happened to messages with this Message-ID, in the order of time."""
        return self._of_journeys(
            # The second condition lets SQLite see that the index has all of them.
            "SELECT DISTINCT journey FROM event WHERE message_id = ? AND message_id <> ''",
            (message_id,),
        )

    def of_recipient(self, address: str, most: int = MAX_JOURNEYS) -> list[Event]:
        """All that happened to the latest messages to this address (in lower case)."""
        return self._of_journeys(
            "SELECT journey FROM event WHERE recipient = ? GROUP BY journey ORDER BY max(id) DESC LIMIT ?",
            (address, most),
        )

    def of_journey(self, journey: str) -> list[Event]:
        """All that happened to a message by its id here; or by the queue id of its item."""
        found = self._of_journeys("SELECT ?", (journey,))
        if found:
            return found
        return self._of_journeys(
            "SELECT DISTINCT journey FROM event WHERE location = ? AND step IN ('queued', 'forwarded') LIMIT 10",
            (journey,),
        )

    def _of_journeys(self, which: str, values: tuple[object, ...]) -> list[Event]:
        rows = self._connection.execute(
            f"SELECT {_COLUMNS} FROM event WHERE journey IN (SELECT * FROM ({which})) ORDER BY id", values
        )
        return [Event(row[0], row[1], Step(row[2]), *row[3:]) for row in rows]

    def _count(self) -> int:
        # Each by itself: both in one SELECT would read the whole table.
        ((first,), (last,)) = (
            self._connection.execute(f"SELECT {end}(id) FROM event").fetchone() for end in ("min", "max")
        )
        return 0 if first is None else int(last - first + 1)

    def _remove_beyond(self, most: int) -> None:
        (last,) = self._connection.execute("SELECT max(id) FROM event").fetchone()
        self._connection.execute("DELETE FROM event WHERE id <= ?", (last - most,))
        self._about = self._count()

    def _remove_before(self, since: float) -> None:
        """Some at a time: ids are in the order of time."""
        row = self._connection.execute("SELECT id, at FROM event ORDER BY id LIMIT 1").fetchone()
        if row is not None and row[1] < since:
            done = self._connection.execute("DELETE FROM event WHERE id < ? AND at < ?", (row[0] + MAX_WAITING, since))
            self._about -= done.rowcount


class RunningJournal:
    """Implements `journeys.Journal` for a running server. `most` events are kept, for `days`; both may be replaced."""

    def __init__(
        self,
        database: JournalDatabase,
        run: Run,
        reactor: Any,
        log: Log,
        now: Callable[[], float],
        most: int,
        days: int,
    ) -> None:
        self.most = most
        self.days = days
        self._database = database
        self._run = run
        self._reactor = reactor
        self._log = log
        self._now = now
        self._waiting: list[Event] = []
        self._timer: Any = None
        self._lost = 0
        self._stopped = False

    def note(self, event: Event) -> None:
        if not self.most or self._stopped:
            return
        if len(self._waiting) >= MAX_WAITING:
            self._lost += 1
            return
        self._waiting.append(event)
        if self._timer is None:
            self._timer = self._reactor.callLater(FLUSH, self._later)

    async def flush(self) -> None:
        """Write what waits. Never raises."""
        events, self._waiting = self._waiting, []
        if not events:
            return
        since = self._now() - self.days * DAY if self.days else float("-inf")
        try:
            await self._run(lambda: self._database.add(events, self.most, since))
        except (sqlite3.Error, OSError) as error:
            self._log.warning("journal not written", events=len(events), reason=str(error))
        if self._lost:
            lost, self._lost = self._lost, 0
            self._log.warning("journal does not keep up", lost=lost)

    async def stop(self) -> None:
        """Write what waits, and nothing more."""
        self._stopped = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        await self.flush()

    def _later(self) -> None:
        from twisted.internet.defer import Deferred

        def again(_: object) -> None:
            self._timer = self._reactor.callLater(FLUSH, self._later) if self._waiting else None

        Deferred.fromCoroutine(self.flush()).addBoth(again)
