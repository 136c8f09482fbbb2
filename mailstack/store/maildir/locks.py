"""Dotlocks, as Dovecot takes them: `<file>.lock`, made with O_EXCL, holding "pid:host"."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mailstack.errors import Problem, Refused

PATIENCE = 30.0
"""Seconds to wait for a lock before the operation is refused for now."""
STALE_AFTER = 120.0
"""Seconds without a change after which a lock's owner is taken for dead (Dovecot's own value)."""
_RETRY = 0.005


@contextmanager
def dotlock(path: Path) -> Iterator[None]:
    """Hold the lock of `path`. Waits in the worker. Raises: OSError; Refused(STORE_UNAVAILABLE) if the
    lock cannot be had in PATIENCE."""
    lock = path.with_name(path.name + ".lock")
    deadline = time.monotonic() + PATIENCE
    while not _try(lock):
        if time.monotonic() > deadline:
            raise Refused(Problem.STORE_UNAVAILABLE, f"{lock} is held by another program")
        if not _remove_if_stale(lock):
            time.sleep(_RETRY)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def _try(lock: Path) -> bool:
    try:
        fd = os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return False
    try:
        os.write(fd, f"{os.getpid()}:{socket.gethostname()}".encode())
    finally:
        os.close(fd)
    return True


def _remove_if_stale(lock: Path) -> bool:
    """Whether a lock that nobody holds any more was removed."""
    try:
        stat = lock.stat()
        owner, _, host = lock.read_text("ascii", "replace").partition(":")
    except FileNotFoundError:
        return True
    dead = host == socket.gethostname() and owner.isdecimal() and not _alive(int(owner))
    if not dead and time.time() - stat.st_mtime < STALE_AFTER:
        return False
    try:
        if lock.stat().st_ino == stat.st_ino:
            lock.unlink()
    except FileNotFoundError:
        return True  # somebody else was quicker
    return True


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
