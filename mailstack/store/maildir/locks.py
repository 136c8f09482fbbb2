"""Dotlocks, as Dovecot takes them: `<file>.lock`, made with O_EXCL, holding "pid:host".

A lock is stale when its process is dead; when nobody can tell, because it is another host's or does not say,
after two minutes without a change of the lock or of the file. The lock of a process that lives on this host
is never broken. One with nothing in it is of a process that died between making and writing it, unless it
is about to write: it is stale after two seconds, and who writes so late notices.

Who takes many locks has a `Mark`, a file with that text in it, and makes a lock of it by link(2): one call, never
empty, and no inode is made and removed for it. ext4 does not use the inodes of removed files for a minute or more,
and looks at each of them whenever it makes a file, so that a thousand locks made every file on the disk dear."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mailstack.errors import Problem, Refused
from mailstack.store.spool import write_all

PATIENCE = 30.0
"""Seconds to wait for a lock before the operation is refused for now."""
STALE_AFTER = 120.0
"""Seconds without a change after which a lock's owner is taken for dead (Dovecot's own value)."""
_RETRY = 0.005
_CLOCKS = 2.0
"""Seconds by which the times of a process and of a file on this host may differ."""
_UNWRITTEN = 2.0
"""Seconds after which a lock that is empty is one that nobody will write."""
_LONGEST = 512


_NO_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP})


Identity = tuple[int, int]
"""Device and inode of a lock."""


class Mark:
    """The file that locks of this process are links to, in a directory of the same file system as what is locked.
    Made when it is first needed, and again when somebody removed it. Used by several workers at once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._making = threading.Lock()
        self._file: tuple[str, Identity] | None = None

    def link(self, lock: str) -> Identity | None:
        """Take the lock; None if this file system has no links to our file. Raises: FileExistsError if somebody has
        it, OSError."""
        for _ in range(2):
            path, identity = self._file or self._make()
            try:
                os.link(path, lock)
                return identity
            except FileNotFoundError:
                if os.path.lexists(path):
                    raise
                self._file = None
            except OSError as error:
                if error.errno not in _NO_LINK:
                    raise
                return None
        return None

    def close(self) -> None:
        """Remove the file. A lock that is held is not given up by it."""
        with self._making:
            file, self._file = self._file, None
            if file is not None:
                Path(file[0]).unlink(missing_ok=True)

    def _make(self) -> tuple[str, Identity]:
        with self._making:
            if self._file is None:
                self._remove_left()
                path = f"{self._directory}/mailstack-{os.getpid()}-{os.urandom(4).hex()}.lock"
                fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                try:
                    write_all(fd, _own().encode())
                    self._file = path, _of(os.fstat(fd))
                except BaseException:
                    Path(path).unlink(missing_ok=True)
                    raise
                finally:
                    os.close(fd)
            return self._file

    def _remove_left(self) -> None:
        """Those of processes of this host that were killed."""
        for path in self._directory.glob("mailstack-*-????????.lock"):
            owner, _, host = (_text(path) or "").partition(":")
            if host == socket.gethostname() and owner.isdecimal() and not _exists(int(owner)):
                path.unlink(missing_ok=True)


@contextmanager
def dotlock(path: Path | str, mark: Mark | None = None) -> Iterator[None]:
    """Hold the lock of `path`. Waits in the worker. Raises: OSError; Refused(STORE_UNAVAILABLE) if the
    lock cannot be had in PATIENCE."""
    lock = f"{path}.lock"
    ours = _take(lock, path, mark)
    try:
        yield
    finally:
        # If it is not ours any more, another program took it for stale, and it is its own.
        if _seen(lock) == ours if ours is not None else _text(Path(lock)) == _own():
            with suppress(FileNotFoundError):
                os.unlink(lock)


def _take(lock: str, path: Path | str, mark: Mark | None) -> Identity | None:
    """Wait for the lock. What it is, if it was made of the mark. Raises: OSError, Refused."""
    deadline = 0.0
    while True:
        try:
            linked = mark.link(lock) if mark is not None else None
            if linked is not None or _try(Path(lock)):
                return linked
        except FileExistsError:
            pass
        deadline = deadline or time.monotonic() + PATIENCE
        if _remove_if_stale(Path(lock), Path(path)):
            continue
        if time.monotonic() > deadline:
            raise Refused(Problem.STORE_UNAVAILABLE, f"{lock} is held by another program")
        time.sleep(_RETRY)


def _seen(lock: str) -> Identity | None:
    """Raises: OSError."""
    try:
        return _of(os.lstat(lock))
    except FileNotFoundError:
        return None


def _of(stat: os.stat_result) -> Identity:
    return stat.st_dev, stat.st_ino


def _own() -> str:
    return f"{os.getpid()}:{socket.gethostname()}"


def _text(lock: Path) -> str | None:
    """What a lock says; None if there is none. Raises: OSError."""
    try:
        return lock.read_bytes()[:_LONGEST].decode("utf-8", "replace").strip()
    except FileNotFoundError:
        return None


def _try(lock: Path) -> bool:
    try:
        fd = os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return False
    try:
        write_all(fd, _own().encode())
        return os.fstat(fd).st_nlink > 0  # not ours if it was empty for so long that another took it for stale
    except BaseException:
        lock.unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)


def _identity(lock: Path) -> tuple[int, int, int, int] | None:
    try:
        stat = os.lstat(lock)
    except FileNotFoundError:
        return None
    return stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns


def _remove_if_stale(lock: Path, path: Path) -> bool:
    """Whether the lock is gone, since nobody held it any more. Raises: OSError."""
    seen = _identity(lock)
    if seen is None:
        return True
    if not stale(lock, path):
        return False
    # Two that see one stale lock must not both break it: the slower would break the quicker one's own.
    directory = os.open(lock.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # a file system that has no such locks: then as Dovecot, without
            fcntl.flock(directory, fcntl.LOCK_EX)
        if _identity(lock) == seen:
            lock.unlink(missing_ok=True)
    finally:
        os.close(directory)
    return True


def stale(lock: Path, path: Path) -> bool:
    """Whether the lock of `path` is there, and nobody's. Raises: OSError."""
    text = _text(lock)
    try:
        made = _made(os.lstat(lock))
    except FileNotFoundError:
        return False
    if text is not None and not text.strip("\0"):  # a power cut leaves NUL, too
        return time.time() - made > _UNWRITTEN
    owner, _, host = (text or "").partition(":")
    old = time.time() - made > STALE_AFTER
    if host == socket.gethostname() and owner.isascii() and owner.isdecimal() and int(owner) > 0:
        return not _exists(int(owner)) or _younger(int(owner), made)
    with suppress(FileNotFoundError):
        old = old and time.time() - path.stat().st_mtime > STALE_AFTER
    return old


def _made(stat: os.stat_result) -> float:
    """When a lock was made. A link's file is older; its change time is that of the last link."""
    return max(stat.st_mtime, stat.st_ctime) if stat.st_nlink > 1 else stat.st_mtime


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _younger(pid: int, made: float) -> bool:
    """Whether a process started after a lock was made: its number was given again, as after a start of the
    machine or a container, and who made the lock is dead. False if the system does not tell."""
    slack = 0.0 if pid == os.getpid() else _CLOCKS  # we took no lock as we started
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        up = float(Path("/proc/uptime").read_text("ascii").split()[0])
    except OSError:
        return False
    return time.time() - up + int(fields[19]) / os.sysconf("SC_CLK_TCK") > made + slack
