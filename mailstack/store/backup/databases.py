"""Copies of SQLite files that others write to meanwhile."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from mailstack.store.backup.places import BackupError


def copy_database(source: Path, target: Path) -> None:
    """As it is in one moment, in one file. Raises: BackupError, OSError."""
    try:
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        with (
            closing(sqlite3.connect(f"{source.resolve().as_uri()}?mode=ro", uri=True, timeout=10)) as reading,
            closing(sqlite3.connect(target)) as copy,
        ):
            reading.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # so that it is one file, also for who may only read it
    except sqlite3.Error as error:
        raise BackupError(f"database {source}: {error}") from error
