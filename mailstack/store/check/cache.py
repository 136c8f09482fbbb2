"""An account's index: whether it is whole, and whether what it says is so."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import apsw

from mailstack.store.check.findings import Finding, Kind
from mailstack.store.index import FILE, SCHEMA, TEXTS_FILE, AccountIndex
from mailstack.store.maildir import names
from mailstack.store.maildir.folder import SETTLED, FolderFiles
from mailstack.store.maildir.layout import Folder
from mailstack.store.snapshots import restore

_FILES = ("", "-wal", "-shm", "-journal")
_BUSY = 5000
"""Milliseconds to wait for a server that writes."""


class Collected:
    """Implements `ports.Log`: what the index complains of, instead of a log."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def event(self, what: str, /, **fields: object) -> None:
        """Nothing is wrong."""

    def warning(self, what: str, /, **fields: object) -> None:
        self.lines.append(" ".join([what, *(f"{name}={value}" for name, value in fields.items())]))

    def failure(self, what: str, /, **fields: object) -> None:
        self.warning(what, **fields)

    def bind(self, **fields: object) -> Collected:
        return self


def drop(account: Path) -> bool:
    """Remove an account's index; False if there is none. A server that has it open goes on without, and makes
    another when it starts again. Raises: OSError."""
    there = (account / FILE).exists()
    for file in (FILE, TEXTS_FILE):
        for suffix in _FILES:
            (account / f"{file}{suffix}").unlink(missing_ok=True)
    return there


def check_index(name: str, account: Path, places: Sequence[Folder]) -> Iterator[Finding]:
    """Raises: OSError."""
    path = account / FILE
    if not path.exists():
        return
    broken = _integrity(path)
    if broken:
        yield Finding(name, "", Kind.INDEX_BROKEN, f"the index: {broken}", path)
    if broken != "":
        return
    index = AccountIndex(path, Collected())
    try:
        for place in places:
            wrong = _compare(account, place, index)
            if wrong:
                yield Finding(name, place.name, Kind.INDEX_WRONG, f"the index {wrong}", path)
    finally:
        index.close()


def _integrity(path: Path) -> str | None:
    """What is wrong with the file; "" if nothing is; None if it cannot be told: it is of another version, which
    is no mistake, or in use."""
    try:
        database = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            database.set_busy_timeout(_BUSY)
            if database.pragma("user_version") != SCHEMA:
                return None
            rows = database.execute("PRAGMA quick_check(3)").fetchall()
        finally:
            database.close()
    except (apsw.BusyError, apsw.LockedError, apsw.CantOpenError):
        return None
    except apsw.Error as error:
        return str(error)
    lines = [str(row[0]) for row in rows]
    return "" if lines == ["ok"] else "; ".join(lines)


def _compare(account: Path, place: Folder, index: AccountIndex) -> str:
    """What the index says of a mailbox whose directories are as they were then, and is not so."""
    files = FolderFiles(account, place, Collected())
    try:
        if restore(files, index) is None or files.unsure:
            return ""
        before = files.stat()[:2]
        if before != files.stamps[:2] or time.time() - max(before) / 1e9 < SETTLED:
            return ""  # it does not claim to know
        there = dict(map(names.split_info, os.listdir(place.path / "cur")))
        if files.stat()[:2] != before:
            return ""
    except FileNotFoundError:
        return ""
    known = {base: flags for (_, base), flags in zip(files.rows.items(), files.rows.flags, strict=True)}
    lost = sorted(known.keys() - there.keys())
    more = sorted(base for base in there.keys() - known.keys() if base and not base.startswith("."))
    if lost or more:
        return f"has {len(lost)} messages that are gone, and lacks {len(more)}: {(lost + more)[0]}"
    other = [base for base, flags in known.items() if names.info_bits(there[base]) != flags]
    return f"has other flags of {len(other)} messages: {other[0]}" if other else ""
