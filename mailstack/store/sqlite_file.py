"""A small SQLite file beside the mail, of what a part of the server remembers. Blocking; several processes may have
it open.

It is no journal: after a crash of the machine the last transactions may be missing (`synchronous = NORMAL`)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BUSY = 10.0
"""Seconds to wait for another process that writes."""
_MODES = "PRAGMA journal_mode = WAL;\nPRAGMA synchronous = NORMAL;\n"


class SqliteFile:
    """The file, made with its tables when it is not there; without a path in memory only. Raises: sqlite3.Error,
    OSError."""

    def __init__(self, path: Path | None, tables: str) -> None:
        self._connection = sqlite3.connect(
            path or ":memory:", timeout=BUSY, isolation_level=None, check_same_thread=False
        )
        if path is not None:
            path.chmod(0o600)
        self._connection.executescript(_MODES + tables)

    def close(self) -> None:
        """No more calls."""
        self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All of it, or nothing."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")
