"""Delivery: the function that makes "250 means on disk" true.

No lock is taken: no two deliveries use one name. See DESIGN.md for what a crash between any two
lines leaves behind."""

from __future__ import annotations

import errno
import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from mailstack.store.maildir.names import UniqueNames
from mailstack.store.spool import write_all

MAX_DIRECTORIES = 256
"""Directories kept open; each delivery needs two."""
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_PIECE = 16 * 1024 * 1024
"""Octets for one call of the kernel's copy."""


class Directories:
    """Open `tmp` and `new` of the folders that get mail, so that a delivery need not open them.
    Used by several workers at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: OrderedDict[Path, OpenFolder] = OrderedDict()

    def get(self, folder: Path) -> OpenFolder:
        """Raises: OSError."""
        with self._lock:
            known = self._open.get(folder)
            if known is not None:
                self._open.move_to_end(folder)
        # Anybody may have put another folder in its place: one that was renamed, or a backup.
        if known is not None and known.is_at(folder):
            return known
        opened = OpenFolder(folder)
        with self._lock:
            self._open[folder] = opened
            if len(self._open) > MAX_DIRECTORIES:
                self._open.popitem(last=False)
        return opened

    def forget(self, folder: Path) -> None:
        """The folder was deleted, renamed, or is not what it was."""
        with self._lock:
            self._open.pop(folder, None)

    def clear(self) -> None:
        with self._lock:
            self._open.clear()


class OpenFolder:
    """File descriptors of a folder's `tmp` and `new`; closed when nobody uses them any more."""

    __slots__ = ("_identity", "new", "tmp")

    def __init__(self, folder: Path) -> None:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        self.tmp = self.new = -1
        self.tmp = os.open(folder / "tmp", flags)
        self.new = os.open(folder / "new", flags)
        self._identity = os.fstat(self.new)

    def is_at(self, folder: Path) -> bool:
        """Whether the folder's path still leads here. One call of stat(2). Raises: OSError."""
        return os.path.samestat(os.stat(f"{folder}/new"), self._identity)

    def __del__(self) -> None:
        for fd in (self.tmp, self.new):
            if fd >= 0:
                os.close(fd)


def deliver(
    directories: Directories,
    folder: Path,
    names: UniqueNames,
    parts: Sequence[bytes],
    source: int,
    size: int,
    start: int = 0,
) -> str:
    """Put one message into `new/`, durable on return; returns its name.

    `parts` are written in order, then `source` (a file descriptor, or -1) is copied by the kernel from `start` on.
    `size` is the sum of all of it, lines ending in CRLF. Raises: OSError; then nothing is left."""
    open_folder = directories.get(folder)
    name = f"{names.new()},S={size},W={size}"
    try:
        fd = os.open(name, _CREATE, 0o600, dir_fd=open_folder.tmp)
    except FileNotFoundError:
        directories.forget(folder)  # the folder was replaced meanwhile
        open_folder = directories.get(folder)
        fd = os.open(name, _CREATE, 0o600, dir_fd=open_folder.tmp)
    place = open_folder.tmp
    try:
        try:
            write_all(fd, b"".join(parts))
            if source >= 0:
                copy(source, fd, start)
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(name, name, src_dir_fd=open_folder.tmp, dst_dir_fd=open_folder.new)
        place = open_folder.new
        os.fsync(open_folder.new)
    except BaseException:
        with suppress(FileNotFoundError):  # somebody has taken it already; the error is the one from before
            os.unlink(name, dir_fd=place)
        raise
    return name


def copy(source: int, target: int, offset: int = 0) -> None:
    """All of one file from `offset` on to the end of another, without its octets coming to Python. Raises: OSError,
    also when the source ends early."""
    left = os.fstat(source).st_size - offset
    while left > 0:
        moved = os.sendfile(target, source, offset, min(left, _PIECE))
        if moved == 0:
            raise OSError(errno.EIO, "a file ended before its size")
        offset += moved
        left -= moved
