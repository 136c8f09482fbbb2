"""What makes an account's mailboxes quick to open and to list: a cache, in one SQLite file an account.

Everything in it can be made again from the Maildir. It is never waited for, never repaired and never
believed against the files: a value carries a checksum, a mailbox's columns carry the time stamps of the
directories they were read from, and a file that SQLite does not like is removed and begun anew."""

from __future__ import annotations

import threading
from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from zlib import crc32

import apsw

from mailstack.ports import Log

T = TypeVar("T")

FILE = "mailstack-index"
SCHEMA = 3
"""A file of another version is removed."""
MAX_OPEN = 64
"""Accounts whose file is kept open: three descriptors and some 100 kB each."""
BUSY = 2000
"""Milliseconds to wait for another process; then it is done without."""
_TABLES = """
CREATE TABLE mailbox (
    id INTEGER PRIMARY KEY, guid TEXT NOT NULL UNIQUE, validity INTEGER NOT NULL, state BLOB, columns BLOB);
CREATE TABLE derived (
    mailbox INTEGER NOT NULL, item TEXT NOT NULL, uid INTEGER NOT NULL, value BLOB NOT NULL,
    PRIMARY KEY (mailbox, item, uid)) WITHOUT ROWID;
"""


@dataclass(slots=True)
class Snapshot:
    """A mailbox as it was when its directories had these time stamps. Columns are parallel, UIDs ascend."""

    stamps: Sequence[int]
    """Modification times of new/ and cur/ in nanoseconds; zeros if they tell nothing."""
    uidlist: Sequence[int]
    """inode, size, modification time, octets read, records, next UID of dovecot-uidlist."""
    modseq: int
    history: int
    """The mod-sequence since which all that vanished is known."""
    uids: array[int]
    flags: array[int]
    modseqs: array[int]
    sizes: array[int]
    dates: array[int]
    gone: array[int]
    gone_modseqs: array[int]
    """UIDs that vanished, and the mod-sequence of each."""
    starts: array[int]
    slots: array[int]
    """Of `Rows`: where each name begins, and the table of names."""
    names: bytes
    odd: bytes
    """Names that base and flags do not tell: "UID/name/…"."""


_CODES = {
    "uids": "I", "flags": "I", "modseqs": "Q", "sizes": "q", "dates": "q", "gone": "I", "gone_modseqs": "Q",
    "starts": "I", "slots": "I",
}  # fmt: skip
_NUMBERS = 2 + 6 + 2
""""stamps", "uidlist", "modseq" and "history"."""
_PARTS = (*_CODES, "names", "odd")


class Indexes:
    """The files of all accounts, of which few are open. In the reactor's thread."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._recent: OrderedDict[Path, AccountIndex] = OrderedDict()

    def get(self, account: Path) -> AccountIndex:
        """The index of an account's directory."""
        found = self._recent.get(account)
        if found is None:
            found = self._recent[account] = AccountIndex(account / FILE, self._log)
            while len(self._recent) > MAX_OPEN:
                self._recent.popitem(last=False)[1].close()
        self._recent.move_to_end(account)
        return found

    def close(self) -> None:
        while self._recent:
            self._recent.popitem()[1].close()


class AccountIndex:
    """The file of one account. From any worker; one at a time is in it."""

    def __init__(self, path: Path, log: Log) -> None:
        self._path = path
        self._log = log
        self._lock = threading.Lock()
        self._database: apsw.Connection | None = None
        self._ids: dict[tuple[str, int], int] = {}

    def load(self, guid: str, validity: int) -> Snapshot | None:
        """What `save` was given last, if it is whole."""
        if self._database is None and not self._path.exists():
            return None
        row = self._try(lambda database: self._read(database, guid, validity), None)
        if row is None or row[0] is None:
            return None
        return _unpack(row[0], row[1])

    def save(self, guid: str, validity: int, snapshot: Snapshot) -> None:
        """Keep a mailbox's columns."""
        state, columns = _pack(snapshot)

        def write(database: apsw.Connection) -> None:
            number = self._mailbox(database, guid, validity)
            database.execute("UPDATE mailbox SET state = ?, columns = ? WHERE id = ?", (state, columns, number))

        self._try(write, None)

    def derived(self, guid: str, validity: int, item: str, uids: Sequence[int]) -> dict[int, bytes]:
        """What was kept of these messages (UIDs ascending) under `item`, a short name of what it is."""

        def read(database: apsw.Connection) -> dict[int, bytes]:
            number = self._mailbox(database, guid, validity)
            found = database.execute(
                "SELECT uid, value FROM derived WHERE mailbox = ? AND item = ? AND uid BETWEEN ? AND ?",
                (number, item, uids[0], uids[-1]),
            )
            return {uid: value[4:] for uid, value in found if crc32(value[4:]) == int.from_bytes(value[:4])}

        return self._try(read, {}) if uids else {}

    def keep(self, guid: str, validity: int, item: str, values: Iterable[tuple[int, bytes]]) -> None:
        """Keep what was made of some messages."""

        def write(database: apsw.Connection) -> None:
            number = self._mailbox(database, guid, validity)
            rows = [(number, item, uid, crc32(value).to_bytes(4) + value) for uid, value in values]
            with database:
                database.executemany("INSERT OR REPLACE INTO derived VALUES (?, ?, ?, ?)", rows)

        self._try(write, None)

    def forget(self, guid: str, validity: int, uids: Sequence[int]) -> None:
        """Messages that are gone."""

        def write(database: apsw.Connection) -> None:
            number = self._mailbox(database, guid, validity)
            known = database.execute("SELECT DISTINCT item FROM derived WHERE mailbox = ?", (number,))
            items = [item for (item,) in known]
            with database:
                database.executemany(
                    "DELETE FROM derived WHERE mailbox = ? AND item = ? AND uid = ?",
                    [(number, item, uid) for item in items for uid in uids],
                )

        self._try(write, None)

    def close(self) -> None:
        with self._lock:
            self._shut()

    # --- inside

    def _try(self, fn: Callable[[apsw.Connection], T], otherwise: T) -> T:
        """Use the database, or do without."""
        with self._lock:
            try:
                return fn(self._open())
            except (apsw.CorruptError, apsw.NotADBError, apsw.SchemaChangeError, apsw.SQLError) as error:
                self._begin_anew(error)
            except (apsw.Error, OSError) as error:
                self._log.warning("index not used", path=str(self._path), reason=str(error))
            return otherwise

    def _open(self) -> apsw.Connection:
        if self._database is None:
            database = apsw.Connection(str(self._path))
            self._database = database
            database.set_busy_timeout(BUSY)
            version = database.pragma("user_version")
            if version not in (0, SCHEMA):
                raise apsw.SQLError(f"version {version} of the index; this server's is {SCHEMA}")
            database.pragma("journal_mode", "wal")
            database.pragma("synchronous", "normal")
            if version == 0:
                with database:
                    database.execute(_TABLES)
                    database.pragma("user_version", SCHEMA)
        return self._database

    def _begin_anew(self, error: Exception) -> None:
        self._log.warning("index begun anew", path=str(self._path), reason=str(error))
        self._shut()
        for suffix in ("", "-wal", "-shm", "-journal"):
            Path(f"{self._path}{suffix}").unlink(missing_ok=True)

    def _shut(self) -> None:
        database, self._database = self._database, None
        self._ids.clear()
        if database is not None:
            database.close(True)

    def _mailbox(self, database: apsw.Connection, guid: str, validity: int) -> int:
        """The number of a mailbox. What is known under another UIDVALIDITY is of other messages."""
        known = self._ids.get((guid, validity))
        if known is not None:
            return known
        with database:
            found: list[tuple[int, int]] = database.execute(
                "SELECT id, validity FROM mailbox WHERE guid = ?", (guid,)
            ).fetchall()  # type: ignore[assignment]  # the columns are INTEGER
            numbers = [number for number, other in found if other == validity]
            if not numbers:
                for number, _ in found:
                    database.execute("DELETE FROM derived WHERE mailbox = ?", (number,))
                    database.execute("DELETE FROM mailbox WHERE id = ?", (number,))
                database.execute("INSERT INTO mailbox (guid, validity) VALUES (?, ?)", (guid, validity))
                numbers = [database.last_insert_rowid()]
        self._ids[guid, validity] = numbers[0]
        return numbers[0]

    def _read(self, database: apsw.Connection, guid: str, validity: int) -> tuple[bytes | None, bytes] | None:
        question = "SELECT state, columns FROM mailbox WHERE guid = ? AND validity = ?"
        row: tuple[bytes | None, bytes] | None = database.execute(question, (guid, validity)).fetchone()
        return row


# --- snapshots as octets ----------------------------------------------------------------------


def _pack(snapshot: Snapshot) -> tuple[bytes, bytes]:
    """State (numbers, and the lengths and checksum of the columns), and the columns one after the other."""
    parts = [memoryview(getattr(snapshot, name)).cast("B") for name in _PARTS]
    columns = b"".join(parts)
    numbers = [*snapshot.stamps, *snapshot.uidlist, snapshot.modseq, snapshot.history, *map(len, parts)]
    state = array("Q", [*numbers, crc32(columns)]).tobytes()
    return state + crc32(state).to_bytes(8), columns


def _unpack(state: bytes, columns: bytes) -> Snapshot | None:
    """None if it is not what was packed."""
    if len(state) != 8 * (_NUMBERS + len(_PARTS) + 2) or crc32(state[:-8]) != int.from_bytes(state[-8:]):
        return None
    numbers = array("Q", state[:-8])
    if crc32(columns) != numbers[-1]:
        return None
    view, position = memoryview(columns), 0
    found: dict[str, array[int]] = {}
    for (name, code), length in zip(_CODES.items(), numbers[_NUMBERS:], strict=False):
        found[name] = array(code)
        found[name].frombytes(view[position : position + length])
        position += length
    names, odd = bytes(view[position : len(view) - numbers[-2]]), bytes(view[len(view) - numbers[-2] :])
    stamps, uidlist, modseq, history = numbers[:2], numbers[2:8], numbers[8], numbers[9]
    return Snapshot(stamps, uidlist, modseq, history, **found, names=names, odd=odd)
