"""What is scheduled, in SQLite: all SQL of the queue. Blocking; one thread at a time.

The statements are those that PostgreSQL knows, too; what is SQLite's own stands in `_open` and `_TABLE_OPTIONS`. A
commit is durable (`synchronous = FULL`). Other processes (`mailstack queue …`) may have the file open."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apsw

from mailstack.ports import Envelope
from mailstack.queue.envelopes import document
from mailstack.queue.items import GIVEN_UP, Attempt, Census, DestinationLine, DestinationState, Item, Placed, Waiting
from mailstack.queue.rows import numbers_text, outcomes_of, outcomes_text, waiting_of

DATABASE = "queue.sqlite3"
VERSION = 1
"""Of the tables. A file of a later version is not touched."""
BUSY = 10_000
"""Milliseconds to wait for another process that writes."""
MAX_ATTEMPTS = 5
"""Attempts whose conversations are kept of each item and destination: the latest."""
CACHE = 8 * 1024
"""KiB of pages in memory."""
LOG = 256
"""Pages of 4 KiB after which the log is written into the database and begun anew: it keeps its room then, and neither
needs more than content.RESERVE on a disk that has become full."""
_TABLE_OPTIONS = "WITHOUT ROWID"
_TABLES = (
    f"""CREATE TABLE item (id TEXT PRIMARY KEY, arrived REAL NOT NULL, expires REAL NOT NULL, sender TEXT NOT NULL,
        account TEXT NOT NULL, start INTEGER NOT NULL, size INTEGER NOT NULL, document TEXT NOT NULL)
        {_TABLE_OPTIONS}""",
    f"""CREATE TABLE waiting (item TEXT NOT NULL, destination TEXT NOT NULL, recipients TEXT NOT NULL,
        due REAL NOT NULL, attempts INTEGER NOT NULL, priority INTEGER NOT NULL, held TEXT NOT NULL,
        warn_at REAL, last TEXT NOT NULL, last_at REAL NOT NULL, PRIMARY KEY (item, destination)) {_TABLE_OPTIONS}""",
    "CREATE INDEX waiting_turn ON waiting (destination, held, priority, due)",
    "CREATE INDEX waiting_warn ON waiting (warn_at)",
    "CREATE INDEX waiting_held ON waiting (held, item) WHERE held <> ''",
    "CREATE INDEX item_expires ON item (expires)",
    f"""CREATE TABLE attempt (item TEXT NOT NULL, destination TEXT NOT NULL, at REAL NOT NULL, seconds REAL NOT NULL,
        mta TEXT NOT NULL, transcript TEXT NOT NULL, PRIMARY KEY (item, destination, at)) {_TABLE_OPTIONS}""",
    f"""CREATE TABLE destination (name TEXT PRIMARY KEY, since REAL NOT NULL, tried REAL NOT NULL, until REAL NOT NULL,
        failures INTEGER NOT NULL, reason TEXT NOT NULL) {_TABLE_OPTIONS}""",
    f"CREATE TABLE note (name TEXT PRIMARY KEY, value TEXT NOT NULL) {_TABLE_OPTIONS}",
)
_WAITING = """SELECT w.item, w.destination, w.recipients, w.due, w.attempts, w.priority, w.held, w.warn_at,
    w.last, w.last_at, i.arrived, i.expires, i.start, i.size, i.document FROM waiting w JOIN item i ON i.id = w.item"""

_IDLE = "until <= ? AND NOT EXISTS (SELECT 1 FROM waiting WHERE waiting.destination = destination.name)"


COMPLETE = "complete"
"""The note of a database that speaks of every item there is: it is older than all files that it does not know."""


class QueueDatabaseError(Exception):
    """The file is not one that we can use; the message names it and says why."""


class QueueDatabaseDamaged(QueueDatabaseError):
    """It is no database of SQLite's, or not a whole one."""


class QueueDatabase:
    """The file, made when it is not there. Every method raises apsw.Error when SQLite cannot.
    Raises: QueueDatabaseError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.unreadable: dict[tuple[str, str], str] = {}
        """(item, destination) → why, of rows that were to be read and could not be; they were left out."""
        try:
            self._db = _open(path)
        except (apsw.CorruptError, apsw.NotADBError) as error:
            raise QueueDatabaseDamaged(f"{path}: {error}") from error
        except apsw.Error as error:
            raise QueueDatabaseError(f"{path}: {error}") from error

    def close(self) -> None:
        """No more calls."""
        self._db.close()

    def check(self) -> None:
        """Read it all. Raises: QueueDatabaseDamaged."""
        try:
            found = self._one("PRAGMA quick_check(1)")
        except (apsw.CorruptError, apsw.NotADBError) as error:
            raise QueueDatabaseDamaged(f"{self.path}: {error}") from error
        if found != "ok":
            raise QueueDatabaseDamaged(f"{self.path}: {found}")

    def transaction(self, work: Callable[[], None]) -> None:
        """Do it all, durably, or nothing. `work` may run twice. Raises: what `work` raises."""
        try:
            self._transaction(work)
        except apsw.FullError:
            if not self._reuse_log():
                raise
            self._transaction(work)

    def _reuse_log(self) -> bool:
        """Write the log's content into the database, so that the next transaction takes its room and no new one. What
        was sent can be taken down on a full disk then, and its files go."""
        try:
            return bool(self._one("PRAGMA wal_checkpoint(RESTART)") == 0)
        except apsw.Error:
            return False

    def _transaction(self, work: Callable[[], None]) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            work()
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _one(self, statement: str, values: Sequence[Any] = ()) -> Any:
        """The first column of the first row, None if there is no row."""
        row = self._db.execute(statement, values).fetchone()
        return None if row is None else row[0]

    @property
    def others_changes(self) -> int:
        """A number that is another one after another process has committed something."""
        return int(self._one("PRAGMA data_version"))

    # --- items

    def add(self, item: Item, places: Iterable[Placed], warn_at: float | None) -> None:
        """A new item, which is in its file. Within a transaction."""
        envelope = item.envelope
        text = json.dumps(document(envelope, item.arrived), separators=(",", ":"))
        self._db.execute(
            "INSERT INTO item (id, arrived, expires, sender, account, start, size, document)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (item.id, item.arrived, item.expires, str(envelope.sender or ""), envelope.account or "", item.offset,
             item.size, text),
        )  # fmt: skip
        for place in places:
            self._put(
                Waiting(
                    item,
                    place.destination,
                    place.recipients,
                    place.due,
                    0,
                    envelope.parameters.priority,
                    place.held,
                    warn_at,
                )
            )

    def replace(self, waiting: Waiting) -> None:
        """The row as it is now. Within a transaction."""
        self.remove_row(waiting)
        self._put(waiting)

    def _put(self, waiting: Waiting) -> None:
        self._db.execute(
            "INSERT INTO waiting (item, destination, recipients, due, attempts, priority, held, warn_at, last, last_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (waiting.item.id, waiting.destination, numbers_text(waiting.recipients), waiting.due, waiting.attempts,
             waiting.priority, waiting.held, waiting.warn_at, outcomes_text(waiting.last), waiting.last_at),
        )  # fmt: skip

    def remove_row(self, waiting: Waiting) -> None:
        """To be put elsewhere: the item stays. Within a transaction."""
        self._db.execute(
            "DELETE FROM waiting WHERE item = ? AND destination = ?", (waiting.item.id, waiting.destination)
        )

    def remove(self, item: str, destination: str) -> bool:
        """Nobody waits there any more; True if nobody waits for the item anywhere: it is gone, and its file may go.
        Within a transaction."""
        self._db.execute("DELETE FROM waiting WHERE item = ? AND destination = ?", (item, destination))
        return self._row_removed(item, destination)

    def remove_done(self, waiting: Waiting) -> bool | None:
        """As `remove`, if the row is still of these recipients; else None, and nothing is done. Within a
        transaction."""
        item, destination = waiting.item.id, waiting.destination
        self._db.execute(
            "DELETE FROM waiting WHERE item = ? AND destination = ? AND recipients = ?",
            (item, destination, numbers_text(waiting.recipients)),
        )
        return self._row_removed(item, destination) if self._db.changes() else None

    def _row_removed(self, item: str, destination: str) -> bool:
        self._db.execute(
            "DELETE FROM item WHERE id = ? AND NOT EXISTS (SELECT 1 FROM waiting WHERE waiting.item = item.id)", (item,)
        )
        if self._db.changes():
            self._db.execute("DELETE FROM attempt WHERE item = ?", (item,))  # also at destinations that it has left
            return True
        self._db.execute("DELETE FROM attempt WHERE item = ? AND destination = ?", (item, destination))
        return False

    def row(self, item: str, destination: str) -> Waiting | None:
        """One item at one destination, as it is now."""
        found = self._rows("w.item = ? AND w.destination = ?", (item, destination))
        return found[0] if found else None

    def of_item(self, item: str) -> list[Waiting]:
        """Everything that waits of an item."""
        return self._rows("w.item = ? ORDER BY w.destination", (item,))

    def has(self, item: str) -> bool:
        """Whether there is such an item."""
        return self._db.execute("SELECT 1 FROM item WHERE id = ?", (item,)).fetchone() is not None

    def ids(self) -> set[str]:
        """Of all items."""
        return {row[0] for row in self._db.execute("SELECT id FROM item")}

    def all(self, after: tuple[str, str] = ("", ""), most: int = 1000) -> list[Waiting]:
        """Rows in the order of their items' ids, which is that of their arrival, after one (id, destination)."""
        where = "(w.item, w.destination) > (?, ?) ORDER BY w.item, w.destination LIMIT ?"
        while rows := self._db.execute(f"{_WAITING} WHERE {where}", (*after, most)).fetchall():
            if found := list(self._readable(rows)):
                return found
            after = str(rows[-1][0]), str(rows[-1][1])
        return []

    # --- whose turn it is

    def destinations(self, before: float) -> list[tuple[str, float]]:
        """Destinations at which something is due before a time, and when the first of it is."""
        rows = self._db.execute(
            "SELECT destination, min(due) FROM waiting WHERE held = '' AND due < ? GROUP BY destination", (before,)
        )
        return [(str(name), float(due)) for name, due in rows]

    def next_of(self, destination: str, now: float, most: int, without: frozenset[str]) -> list[Waiting]:
        """What is due at a destination, at most so much: higher priorities first, then what is due longest. Items
        `without`, by their ids, are left out."""
        found: list[Waiting] = []
        for priority in self._priorities(destination):
            rows = self._db.execute(
                f"{_WAITING} WHERE w.destination = ? AND w.held = '' AND w.priority = ? AND w.due <= ?"
                " ORDER BY w.due LIMIT ?",
                (destination, priority, now, most - len(found) + len(without)),
            )
            found += self._readable(row for row in rows if row[0] not in without)
            if len(found) >= most:
                break
        return found[:most]

    def next_due(self, destination: str, after: float) -> float | None:
        """When something is due at a destination after a time; None if nothing is that is not held."""
        statement = "SELECT min(due) FROM waiting WHERE destination = ? AND held = '' AND priority = ? AND due > ?"
        found = (self._one(statement, (destination, priority, after)) for priority in self._priorities(destination))
        return min((float(due) for due in found if due is not None), default=None)

    def _priorities(self, destination: str) -> Iterator[int]:
        """Those of what waits at a destination, the highest first: each step is one look into the index."""
        priority = 1 << 31
        while True:
            found = self._one(
                "SELECT max(priority) FROM waiting WHERE destination = ? AND held = '' AND priority < ?",
                (destination, priority),
            )
            if found is None:
                return
            priority = int(found)
            yield priority

    def late(self, now: float, most: int) -> list[Waiting]:
        """Rows whose sender is to hear by now that they are late."""
        return self._rows("w.warn_at <= ? AND w.held = '' ORDER BY w.warn_at LIMIT ?", (now, most))

    def expired(self, now: float, most: int, after: tuple[float, str, str]) -> list[Waiting]:
        """Rows of items whose time is over by now, in the order of (expires, id, destination), after one."""
        return self._rows(
            "i.expires <= ? AND i.expires >= ? AND (i.expires, i.id, w.destination) > (?, ?, ?) AND w.held = ''"
            " ORDER BY i.expires, i.id, w.destination LIMIT ?",
            (now, after[0], *after, most),
        )

    def given_up(self, most: int) -> list[Waiting]:
        """Rows that are given up by hand."""
        return self._rows("w.held = ? AND w.held <> '' LIMIT ?", (GIVEN_UP, most))

    def pull_forward(self, latest: float, now: float) -> int:
        """The clock was set back: what was tried before is due now if it is due later than any interval would have it,
        what was never tried if it came in the future and was due at once. Returns how many rows that is. Within a
        transaction."""
        self._db.execute("UPDATE waiting SET due = ? WHERE attempts > 0 AND due > ?", (now, latest))
        pulled = self._db.changes()
        self._db.execute(
            "UPDATE waiting SET due = ? WHERE attempts = 0 AND due > ?"
            " AND due <= (SELECT arrived FROM item WHERE id = waiting.item)",
            (now, now),
        )
        return pulled + self._db.changes()

    def hold_unreadable(self, why: str) -> dict[tuple[str, str], str]:
        """Let nobody try what is `unreadable`, and forget it; returns it. Within a transaction."""
        found, self.unreadable = self.unreadable, {}
        for key in found:
            self._db.execute("UPDATE waiting SET held = ? WHERE item = ? AND destination = ?", (why, *key))
        return found

    # --- destinations and attempts

    def set_destination(self, state: DestinationState) -> None:
        """Within a transaction."""
        self.clear_destination(state.name)
        self._db.execute(
            "INSERT INTO destination (name, since, tried, until, failures, reason) VALUES (?, ?, ?, ?, ?, ?)",
            (state.name, state.since, state.tried, state.until, state.failures, state.text),
        )

    def clear_destination(self, name: str) -> None:
        """It can be reached. Within a transaction."""
        self._db.execute("DELETE FROM destination WHERE name = ?", (name,))

    def destination_states(self) -> list[DestinationState]:
        """All that could not be reached."""
        rows = self._db.execute("SELECT name, since, tried, until, failures, reason FROM destination ORDER BY name")
        return [DestinationState(*row) for row in rows]

    def idle_destinations(self, now: float) -> bool:
        """Whether there are states of destinations that could be tried again, but nothing waits for them any more."""
        return self._one(f"SELECT 1 FROM destination WHERE {_IDLE} LIMIT 1", (now,)) is not None

    def forget_idle_destinations(self, now: float) -> None:
        """Of these, everything. Within a transaction."""
        self._db.execute(f"DELETE FROM destination WHERE {_IDLE}", (now,))

    def add_attempt(self, item: str, destination: str, attempt: Attempt) -> None:
        """Within a transaction."""
        self._db.execute(
            "INSERT INTO attempt (item, destination, at, seconds, mta, transcript) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO NOTHING",
            (item, destination, attempt.at, attempt.seconds, attempt.mta, attempt.transcript),
        )
        self._db.execute(
            "DELETE FROM attempt WHERE item = ? AND destination = ? AND at NOT IN"
            " (SELECT at FROM attempt WHERE item = ? AND destination = ? ORDER BY at DESC LIMIT ?)",
            (item, destination, item, destination, MAX_ATTEMPTS),
        )

    def attempts(self, item: str, destination: str) -> list[Attempt]:
        """The latest, in the order of time."""
        return [attempt for where, attempt in self.attempts_of(item) if where == destination]

    def attempts_of(self, item: str) -> list[tuple[str, Attempt]]:
        """The latest of each destination, also of those that the item has left, in the order of time."""
        rows = self._db.execute(
            "SELECT destination, at, seconds, mta, transcript FROM attempt WHERE item = ? ORDER BY at", (item,)
        )
        return [(str(row[0]), Attempt(*row[1:])) for row in rows]

    def note(self, name: str) -> str:
        """What `set_note` has set, "" for nothing."""
        return str(self._one("SELECT value FROM note WHERE name = ?", (name,)) or "")

    def set_note(self, name: str, value: str) -> None:
        """Something small to remember. Within a transaction."""
        self._db.execute("DELETE FROM note WHERE name = ?", (name,))
        self._db.execute("INSERT INTO note (name, value) VALUES (?, ?)", (name, value))

    def lines(self) -> list[DestinationLine]:
        """Each destination at which something waits: where most does first."""
        states = {state.name: state for state in self.destination_states()}
        rows: list[Any] = self._db.execute(
            "SELECT w.destination, count(*), sum(CASE WHEN w.held <> '' THEN 1 ELSE 0 END), min(i.arrived),"
            " min(CASE WHEN w.held = '' THEN w.due END) FROM waiting w JOIN item i ON i.id = w.item"
            " GROUP BY w.destination ORDER BY count(*) DESC, w.destination"
        ).fetchall()
        return [
            DestinationLine(
                name,
                number,
                held,
                oldest,
                due,
                states[name].text if name in states else self._error(name),
                states.get(name),
            )  # fmt: skip
            for name, number, held, oldest, due in rows
        ]

    def _error(self, destination: str) -> str:
        text = self._one("SELECT last FROM waiting WHERE destination = ? ORDER BY last_at DESC LIMIT 1", (destination,))
        return next((outcome.text for outcome in outcomes_of(text or "").values()), "")

    def census(self, now: float) -> Census:
        """How much waits; looks into indexes only."""
        rows: Any = self._db.execute("SELECT held, count(*) FROM waiting WHERE held <> '' GROUP BY held")
        held: dict[str, int] = dict(rows)
        given_up = held.pop(GIVEN_UP, 0)
        counted: Any = self._db.execute(
            "SELECT count(*), sum(CASE WHEN due <= ? THEN 1 ELSE 0 END) FROM waiting WHERE held = ''", (now,)
        ).fetchone()
        return Census(
            messages=self.count(),
            waiting=counted[0],
            due=counted[1] or 0,
            held=sum(held.values()),
            given_up=given_up,
            failing=int(
                self._one(
                    "SELECT count(*) FROM destination d"
                    " WHERE EXISTS (SELECT 1 FROM waiting w WHERE w.destination = d.name AND w.held = '')"
                )
            ),
            oldest=self._one("SELECT arrived FROM item ORDER BY id LIMIT 1"),
        )

    def count(self) -> int:
        """How many items there are."""
        return int(self._one("SELECT count(*) FROM item"))

    def _rows(self, where: str, values: Sequence[Any]) -> list[Waiting]:
        return list(self._readable(self._db.execute(f"{_WAITING} WHERE {where}", values)))

    def _readable(self, rows: Iterable[Any]) -> Iterator[Waiting]:
        """What the rows say; those that cannot be read are `unreadable` afterwards."""
        envelopes: dict[str, Envelope] = {}  # an item's rows stand together, or are few
        for row in rows:
            try:
                yield waiting_of(row, envelopes)
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                self.unreadable[row[0], row[1]] = f"{error!r}"


def known_items(path: Path) -> set[str] | None:
    """The ids of all items in a database that may be in use; None if it does not speak of all files yet. Nothing is
    written. Raises: QueueDatabaseDamaged, QueueDatabaseError."""
    try:
        db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            db.set_busy_timeout(BUSY)
            if db.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                raise QueueDatabaseDamaged(f"{path}: not a whole database")
            if db.execute("SELECT 1 FROM note WHERE name = ?", (COMPLETE,)).fetchone() is None:
                return None
            return {str(row[0]) for row in db.execute("SELECT id FROM item")}
        finally:
            db.close()
    except (apsw.CorruptError, apsw.NotADBError) as error:
        raise QueueDatabaseDamaged(f"{path}: {error}") from error
    except apsw.Error as error:
        raise QueueDatabaseError(f"{path}: {error}") from error


def _open(path: Path) -> apsw.Connection:
    new = not path.exists()
    db = apsw.Connection(str(path))
    if new:
        path.chmod(0o600)
    db.set_busy_timeout(BUSY)
    db.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")
    db.execute(f"PRAGMA cache_size = {-CACHE}; PRAGMA wal_autocheckpoint = {LOG}")
    with db:
        version = db.pragma("user_version")
        if version == 0:
            for statement in _TABLES:
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {VERSION}")
        elif version != VERSION:
            raise QueueDatabaseError(f"{path}: made by another version of mailstack (tables {version}, not {VERSION})")
    return db
