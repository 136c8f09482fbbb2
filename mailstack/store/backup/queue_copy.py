"""The queue into a backup, while messages come and leave.

The database is taken first, in one moment; then the files of its items, which are never changed. An item that left
meanwhile has no file any more, and its rows are taken out of the copy: what is in the backup is whole, and nobody
gets twice what the database knows to be delivered."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from mailstack.queue.content import SUFFIX
from mailstack.queue.database import DATABASE
from mailstack.store.backup.databases import copy_database
from mailstack.store.backup.folder import copy_file
from mailstack.store.backup.places import BackupError
from mailstack.store.maildir.layout import sync_directory

_OF_ITEMS = {"item": "id", "waiting": "item", "attempt": "item"}
"""Tables whose rows belong to an item, and the column that says to which."""


def copy_queue(source: Path, target: Path) -> int:
    """Returns how many messages wait in the copy. Raises: BackupError, OSError."""
    target.mkdir(mode=0o700)
    names = None
    if (source / DATABASE).exists():
        copy_database(source / DATABASE, target / DATABASE)
        names = _items(target / DATABASE)
    copied = set()
    for path in sorted(source.glob("*" + SUFFIX)):
        name = path.name.removesuffix(SUFFIX)
        if names is None or name in names:
            try:
                copy_file(path, target / path.name)
            except FileNotFoundError:  # it was sent meanwhile
                continue
            copied.add(name)
    if names is not None:
        _forget(target / DATABASE, names - copied)
    sync_directory(target)
    return len(copied)


def _items(database: Path) -> set[str]:
    try:
        with closing(sqlite3.connect(database)) as connection:
            return {str(row[0]) for row in connection.execute("SELECT id FROM item")}
    except sqlite3.Error as error:
        raise BackupError(f"database {database}: {error}") from error


def _forget(database: Path, gone: set[str]) -> None:
    if not gone:
        return
    with closing(sqlite3.connect(database)) as connection, connection:
        for table, column in _OF_ITEMS.items():
            connection.executemany(f"DELETE FROM {table} WHERE {column} = ?", [(name,) for name in gone])
