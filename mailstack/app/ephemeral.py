"""Directories for mail that nobody needs after the process: in memory where there is room, and removed at the end, or
by the next process that makes one if this one was killed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = "mailstack-ephemeral-"
MEMORY = Path("/dev/shm")
ROOM = 256 * 1024 * 1024
"""Octets that have to be free in memory; containers often have 64 MiB there, which one large message may fill."""
LOCK = ".in-use"


class EphemeralDirectory:
    """A context manager: the directory's path. Who uses it holds a lock in it, by which others know that it lives."""

    def __init__(self) -> None:
        self.path: Path | None = None
        self._lock = -1

    def __enter__(self) -> Path:
        """Raises: OSError."""
        base = place()
        sweep(base)
        making = Path(tempfile.mkdtemp(prefix=".mailstack-", dir=base))
        try:
            self._lock = os.open(making / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            self.path = base / f"{PREFIX}{making.name.rpartition('-')[2]}"
            making.rename(self.path)
        except BaseException:
            self.__exit__()
            shutil.rmtree(making, ignore_errors=True)
            raise
        return self.path

    def __exit__(self, *error: object) -> None:
        if self.path is not None:
            shutil.rmtree(self.path, ignore_errors=True)
            self.path = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def place() -> Path:
    """Where such directories are made: $TMPDIR if it is set, else memory if there is room, else /tmp or the like."""
    if not os.environ.get("TMPDIR"):
        with contextlib.suppress(OSError):
            room = os.statvfs(MEMORY)
            if room.f_bavail * room.f_frsize >= ROOM and os.access(MEMORY, os.W_OK | os.X_OK):
                return MEMORY
    return Path(tempfile.gettempdir())


def sweep(base: Path) -> list[Path]:
    """Remove what killed processes of this user left behind; what was removed."""
    removed = []
    for path in _ours(base):
        try:
            lock = os.open(path / LOCK, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue  # being removed by its own process, or somebody else's
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue  # in use
        else:
            shutil.rmtree(path, ignore_errors=True)
            removed.append(path)
        finally:
            os.close(lock)
    return removed


def _ours(base: Path) -> Iterator[Path]:
    with contextlib.suppress(OSError), os.scandir(base) as entries:
        for entry in entries:
            if entry.name.startswith(PREFIX) and not entry.is_symlink() and entry.stat().st_uid == os.getuid():
                yield Path(entry.path)
