"""What makes an account's mailboxes quick to open and to list: a cache, in one SQLite file an account.

Everything in it can be made again from the Maildir. It is never waited for, never repaired and never
believed against the files: a value carries a checksum, a mailbox's columns carry the time stamps of the
directories they were read from, and a file that SQLite does not like is removed and begun anew."""

from __future__ import annotations

import threading
from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from zlib import crc32

import apsw

from mailstack.ports import Log, Wanted

T = TypeVar("T")

FILE = "mailstack-index"
TEXTS_FILE = "mailstack-texts"
"""The same for what is large."""
PAGES = {FILE: 4096, TEXTS_FILE: 32 * 1024}
"""Octets of a page: a value above a quarter of it has pages of its own."""
SCHEMA = 4
"""A file of another version is removed."""
MAX_OPEN = 64
"""Accounts whose file is kept open: three descriptors and some 100 kB each."""
BUSY = 2000
"""Milliseconds to wait for another process; then it is done without."""
SCATTERED = 4
"""UIDs among which one is asked for, on average, from which on each is looked up by itself."""
_PASSING = (
    apsw.BusyError, apsw.LockedError, apsw.FullError, apsw.IOError, apsw.CantOpenError, apsw.ReadOnlyError,
    apsw.PermissionsError, apsw.NoMemError, apsw.InterruptError, apsw.AbortError, OSError,
)  # fmt: skip
"""What a file that is whole may be refused for. Everything else means that it is not whole."""
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

    def __init__(self, log: Log, file: str = FILE) -> None:
        self._log = log
        self._file = file
        self._recent: OrderedDict[Path, AccountIndex] = OrderedDict()

    def get(self, account: Path) -> AccountIndex:
        """The index of an account's directory."""
        found = self._recent.get(account)
        if found is None:
            found = self._recent[account] = AccountIndex(account / self._file, self._log)
            while len(self._recent) > MAX_OPEN:
                self._recent.popitem(last=False)[1].close()
        self._recent.move_to_end(account)
        return found

    def drop(self, account: Path) -> None:
        """Its directory is gone."""
        found = self._recent.pop(account, None)
        if found is not None:
            found.close()

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
        self.opened = 0
        """How many times the file was opened: what was known of it before may be of another one."""
        self._ids: dict[tuple[str, int], int] = {}
        self._complained = ""
        """Why it was done without, as logged last."""

    def load(self, guid: str, validity: int) -> Snapshot | None:
        """What `save` was given last, if it is whole."""
        if self._database is None and not self._path.exists():
            return None
        row = self._try(lambda database: self._read(database, guid, validity), None)
        if row is None or row[0] is None:
            return None
        return _unpack(row[0], row[1], _seed(guid, validity, "", 0))

    def save(self, guid: str, validity: int, snapshot: Snapshot) -> None:
        """Keep a mailbox's columns."""
        state, columns = _pack(snapshot, _seed(guid, validity, "", 0))

        def write(database: apsw.Connection) -> None:
            number = self._mailbox(database, guid, validity)
            database.execute("UPDATE mailbox SET state = ?, columns = ? WHERE id = ?", (state, columns, number))

        self._try(write, None)

    def derived(self, guid: str, validity: int, item: str, uids: Sequence[int]) -> dict[int, bytes]:
        """What was kept of these messages (UIDs ascending) under `item`, a short name of what it is."""

        def read(database: apsw.Connection) -> dict[int, bytes]:
            number = self._mailbox(database, guid, validity)
            question = "SELECT uid, value FROM derived WHERE mailbox = ? AND item = ? AND uid "
            if uids[-1] - uids[0] < SCATTERED * len(uids):
                found = database.execute(question + "BETWEEN ? AND ?", (number, item, uids[0], uids[-1]))
            else:
                found = database.executemany(question + "= ?", ((number, item, uid) for uid in uids))
            seed = _seed(guid, validity, item)
            kept: dict[int, bytes] = {}
            for uid, value in found:
                octets = value[4:]
                if crc32(octets, seed) ^ uid == int.from_bytes(value[:4]):
                    kept[uid] = octets
            return kept

        return self._try(read, {}) if uids else {}

    def believed(self, guid: str, validity: int, item: str, uids: Sequence[int]) -> list[bytes] | None:
        """The values of these messages (UIDs ascending), which all have one, in their order; no checksum is compared.
        None if it cannot say, or if others have values between them."""

        def read(database: apsw.Connection) -> list[bytes] | None:
            where = self._mailbox(database, guid, validity), item, uids[0], uids[-1]
            question = (
                "SELECT uid, substr(value, 5) FROM derived WHERE mailbox = ? AND item = ? AND uid BETWEEN ? AND ?"
            )
            found: list[tuple[int, bytes]] = database.execute(question + " ORDER BY uid", where).fetchall()  # type: ignore[assignment]  # an INTEGER and a BLOB
            return [value for _, value in found] if [uid for uid, _ in found] == [*uids] else None

        return self._try(read, None)

    def lacking(self, guid: str, validity: int, item: str, uids: Sequence[int]) -> list[int]:
        """Those of these messages (UIDs ascending) of which nothing is kept under `item`. Checksums are not compared.
        All of them, if the index cannot say."""

        def read(database: apsw.Connection) -> list[int]:
            where = self._mailbox(database, guid, validity), item, uids[0], uids[-1]
            among = "FROM derived WHERE mailbox = ? AND item = ? AND uid BETWEEN ? AND ?"
            if database.execute(f"SELECT count(*) {among}", where).get == len(uids):
                return []
            known = {uid for (uid,) in database.execute(f"SELECT uid {among}", where)}
            return [uid for uid in uids if uid not in known]

        return self._try(read, list(uids)) if uids else []

    def keep(self, guid: str, validity: int, item: str, values: Iterable[tuple[int, bytes]]) -> bool:
        """Keep what was made of some messages; whether that was done."""
        return self.keep_several(guid, validity, {item: values})

    def keep_several(self, guid: str, validity: int, made: Mapping[str, Iterable[tuple[int, bytes]]]) -> bool:
        """The same of several items, by name."""

        def write(database: apsw.Connection) -> bool:
            number = self._mailbox(database, guid, validity)
            with database:
                for item, values in made.items():
                    seed = _seed(guid, validity, item)
                    rows = [
                        (number, item, uid, (crc32(value, seed) ^ uid).to_bytes(4) + value) for uid, value in values
                    ]
                    database.executemany("INSERT OR REPLACE INTO derived VALUES (?, ?, ?, ?)", rows)
            return True

        return self._try(write, False)

    def grep(
        self, guid: str, validity: int, item: str, uids: Sequence[int], wanted: Wanted
    ) -> list[tuple[int, bytes]] | None:
        """UIDs of those messages, and of others between them, that have what is wanted but for `Wanted.holds`; and the
        values, if that has to be asked. No checksum is compared. All of `uids` (ascending) have a value: an index that
        lacks one is damaged. None if it cannot say."""
        value = "x''" if wanted.holds is None else "substr(value, 5)"
        among = "FROM derived WHERE mailbox = ? AND item = ? AND uid BETWEEN ? AND ?"
        question = f"SELECT uid, {value} {among}"
        bounds: list[bytes | int] = []
        if wanted.low or wanted.high:
            question += " AND substr(value, 5, ?) BETWEEN ? AND ?"
            bounds += [len(wanted.low), wanted.low, wanted.high]
        if wanted.needle:
            # The checksum is no part of the value, which is copied only when the first find is there.
            question += " AND instr(value, ?) AND (instr(value, ?) > 4 OR instr(substr(value, 5), ?))"
            bounds += [wanted.needle] * 3

        def read(database: apsw.Connection) -> list[tuple[int, bytes]]:
            where = self._mailbox(database, guid, validity), item, uids[0], uids[-1]
            count: int = database.execute(f"SELECT count(*) {among}", where).get
            if count < len(uids):
                raise ValueError(f"{count} values of {len(uids)} messages")
            found: list[tuple[int, bytes]] = database.execute(question, (*where, *bounds)).fetchall()  # type: ignore[assignment]  # an INTEGER and a BLOB
            return found

        return self._try(read, None)

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

    def forget_all(self, guid: str, validity: int) -> None:
        """The UIDs mean other messages now."""

        def write(database: apsw.Connection) -> None:
            number = self._mailbox(database, guid, validity)
            with database:
                database.execute("DELETE FROM derived WHERE mailbox = ?", (number,))

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
            except (apsw.Error, OSError, TypeError, ValueError, OverflowError) as error:
                # Damage looks like anything; but a full disk is no damage, though the rollback after it may fail.
                reason = _passing(error)
                if reason is None:
                    self._begin_anew(error)
                else:
                    self._do_without(reason)
                return otherwise

    def _open(self) -> apsw.Connection:
        if self._database is None:
            database = apsw.Connection(str(self._path))
            try:
                _prepare(database, PAGES.get(self._path.name, 4096))
            except BaseException:
                database.close(True)
                raise
            self._database = database
            self.opened += 1
        return self._database

    def _do_without(self, reason: BaseException) -> None:
        if str(reason) != self._complained:
            self._complained = str(reason)
            self._log.warning("index not used", path=str(self._path), reason=str(reason))
        self._shut()

    def _begin_anew(self, error: Exception) -> None:
        self._log.warning("index begun anew", path=str(self._path), reason=str(error))
        self._shut()
        try:
            for suffix in ("", "-wal", "-shm", "-journal"):
                Path(f"{self._path}{suffix}").unlink(missing_ok=True)
        except OSError as why:
            self._log.warning("index not removed", path=str(self._path), reason=str(why))

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


def _passing(error: BaseException | None) -> BaseException | None:
    """The error, or what it followed from, that a whole file may be refused for."""
    while error is not None and not isinstance(error, _PASSING):
        error = error.__context__
    return error


def _prepare(database: apsw.Connection, page: int) -> None:
    database.set_busy_timeout(BUSY)
    database.pragma("page_size", page)  # of a new file
    version = database.pragma("user_version")
    if version not in (0, SCHEMA):
        raise apsw.SQLError(f"version {version} of the index; this server's is {SCHEMA}")
    database.pragma("journal_mode", "wal")
    database.pragma("synchronous", "normal")
    if version == 0:
        with database:
            database.execute(_TABLES)
            database.pragma("user_version", SCHEMA)


# --- snapshots as octets ----------------------------------------------------------------------


def _seed(guid: str, validity: int, *more: str | int) -> int:
    """Where checksums begin: a value under another key is as wrong as one with other octets. That of what is said
    of one message has its UID besides."""
    return crc32(" ".join([guid, str(validity), *map(str, more)]).encode())


def _pack(snapshot: Snapshot, seed: int) -> tuple[bytes, bytes]:
    """State (numbers, and the lengths and checksum of the columns), and the columns one after the other."""
    parts = [memoryview(getattr(snapshot, name)).cast("B") for name in _PARTS]
    columns = b"".join(parts)
    numbers = [*snapshot.stamps, *snapshot.uidlist, snapshot.modseq, snapshot.history, *map(len, parts)]
    state = array("Q", [*numbers, crc32(columns)]).tobytes()
    return state + crc32(state, seed).to_bytes(8), columns


def _unpack(state: bytes, columns: bytes, seed: int) -> Snapshot | None:
    """None if it is not what was packed."""
    if not isinstance(state, bytes) or not isinstance(columns, bytes):
        return None
    if len(state) != 8 * (_NUMBERS + len(_PARTS) + 2) or crc32(state[:-8], seed) != int.from_bytes(state[-8:]):
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
