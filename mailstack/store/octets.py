"""A message's octets for reading: always with CRLF line ends, whatever the file has."""

from __future__ import annotations

import os
import tempfile
import threading
from pathlib import Path

from mailstack.mail.lines import CrlfStream, with_crlf
from mailstack.ports import MEMORY_LIMIT, Octets

_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
_UNNOTED = _READ | getattr(os, "O_NOATIME", 0)
"""Reading is not noted in the inode, which would have to be written for each message that is read first."""
USUAL = 16 * 1024
"""Octets that are asked for at first: more than most messages have, and less than malloc maps anew each time."""
WINDOW = 1024 * 1024
"""Octets that a search through a large file holds at once."""


class FileOctets:
    """Implements `ports.Octets` on an open file with CRLF line ends, which it closes at its end."""

    __slots__ = ("_fd", "_size")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._size = os.fstat(fd).st_size

    def __del__(self) -> None:
        os.close(self._fd)

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, key: slice, /) -> bytes:
        start, stop, step = key.indices(self._size)
        assert step == 1, "octets are read in order"
        return self._read(start, max(0, stop - start))

    def find(self, sub: bytes, start: int = 0, end: int | None = None, /) -> int:
        start, stop, _ = slice(start, end).indices(self._size)
        while stop - start >= len(sub):
            window = self._read(start, min(WINDOW, stop - start))
            found = window.find(sub)
            if found >= 0:
                return start + found
            if len(window) < len(sub):
                return -1
            start += len(window) - len(sub) + 1
        return -1

    def count(self, sub: bytes, start: int = 0, end: int | None = None, /) -> int:
        total, stop = 0, slice(0, end).indices(self._size)[1]
        while (found := self._window_count(sub, start, stop)) is not None:
            counted, start = found
            total += counted
        return total

    def _window_count(self, sub: bytes, start: int, stop: int) -> tuple[int, int] | None:
        if stop - start < len(sub):
            return None
        window = self._read(start, min(WINDOW, stop - start))
        if len(window) < len(sub):
            return None
        last = window.rfind(sub)
        after = start + len(window) - len(sub) + 1
        return window.count(sub), max(after, start + last + len(sub)) if last >= 0 else after

    def _read(self, start: int, length: int) -> bytes:
        data = os.pread(self._fd, length, start)
        if len(data) in (0, length):
            return data
        pieces = [data]
        while data and (missing := length - sum(map(len, pieces))):
            data = os.pread(self._fd, missing, start + length - missing)
            pieces.append(data)
        return b"".join(pieces)


class UnconvertedOctets:
    """Implements `ports.Octets` on an open file that has LF line ends, perhaps, and may be large: it is looked through,
    and converted into an unnamed file in `spool`, only when more than its beginning is asked for. That is enough for
    the header."""

    def __init__(self, fd: int, begin: bytes, spool: Path) -> None:
        self._fd = fd
        self._begin = begin
        self._spool = spool
        self._whole: FileOctets | None = None
        self._lock = threading.Lock()

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def __len__(self) -> int:
        return len(self._converted())

    def __getitem__(self, key: slice, /) -> bytes:
        start, stop = key.start or 0, key.stop
        if stop is not None and start >= 0 and 0 <= stop <= len(self._begin):
            return self._begin[start:stop]
        return self._converted()[key]

    def find(self, sub: bytes, start: int = 0, end: int | None = None, /) -> int:
        if start >= 0 and (end is None or end >= 0):
            found = self._begin.find(sub, start, len(self._begin) if end is None else end)
            if found >= 0 or (end is not None and end <= len(self._begin)):
                return found
        return self._converted().find(sub, start, end)

    def count(self, sub: bytes, start: int = 0, end: int | None = None, /) -> int:
        return self._converted().count(sub, start, end)

    def _converted(self) -> FileOctets:
        with self._lock:
            if self._whole is None:
                fd = self._fd
                if _has_bare_lf(fd):
                    fd = _converted(fd, self._spool)
                    os.close(self._fd)
                self._fd = -1
                self._whole = FileOctets(fd)
            return self._whole


def open_octets(path: str | Path, *, known_crlf: bool, spool: Path) -> Octets:
    """The octets of a message file. `known_crlf` when its name says so (S= equals W=). A large file with
    LF line ends is converted when it has to be. Raises: OSError."""
    fd = _open(path)
    try:
        data = os.read(fd, USUAL)
        if len(data) == USUAL and (size := os.fstat(fd).st_size) <= MEMORY_LIMIT:
            data += os.read(fd, size - USUAL)
        if len(data) != USUAL or size == USUAL:
            return data if known_crlf else with_crlf(data)
        kept, fd = fd, -1
        return FileOctets(kept) if known_crlf else UnconvertedOctets(kept, with_crlf(data), spool)
    finally:
        if fd >= 0:
            os.close(fd)


def _open(path: str | Path) -> int:
    try:
        return os.open(path, _UNNOTED)
    except PermissionError:  # open(2): only who owns a file may read it unnoted
        return os.open(path, _READ)


def _has_bare_lf(fd: int) -> bool:
    position, carry = 0, b""
    while data := os.pread(fd, WINDOW, position):
        if (carry + data).count(b"\n") != (carry + data).count(b"\r\n"):
            return True
        carry, position = data[-1:] if data.endswith(b"\r") else b"", position + len(data)
    return False


def _converted(fd: int, spool: Path) -> int:
    stream, position = CrlfStream(), 0
    with tempfile.TemporaryFile(dir=spool) as target:
        while data := os.pread(fd, WINDOW, position):
            position += len(data)
            target.write(stream.feed(data))
        target.write(stream.finish())
        target.flush()
        return os.dup(target.fileno())
