"""inotify(7) of Linux: the three calls, and the events as values. Python's library has no such module."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE, IN_DELETE = 0x40, 0x80, 0x100, 0x200
IN_DELETE_SELF, IN_MOVE_SELF = 0x400, 0x800
IN_Q_OVERFLOW, IN_IGNORED, IN_ONLYDIR, IN_MASK_ADD = 0x4000, 0x8000, 0x01000000, 0x20000000
_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC
_HEAD = struct.Struct("iIII")
READ_SIZE = 256 * 1024
"""Octets read at once: some 2,000 events."""

LONGEST = _HEAD.size + 256
"""Octets of an event with the longest name."""


class Event(NamedTuple):
    """`cookie` joins the two halves of a rename; `name` is in file system octets, "" for the directory."""

    descriptor: int
    mask: int
    cookie: int
    name: str


class Inotify:
    """One queue of events. Raises OSError when the system has no more of them."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.fd = self._call(self._libc.inotify_init1, _NONBLOCK_CLOEXEC)

    def add(self, path: str | Path, mask: int) -> int:
        """Watch a directory; its descriptor. Raises: OSError."""
        return self._call(self._libc.inotify_add_watch, self.fd, os.fsencode(path), mask | IN_ONLYDIR)

    def remove(self, descriptor: int) -> None:
        """Idempotent: a directory that was deleted is not watched any more."""
        self._libc.inotify_rm_watch(self.fd, descriptor)

    def read(self) -> Iterator[Event]:
        """All events that are there. Never waits. Raises: OSError."""
        while True:
            try:
                data = os.read(self.fd, READ_SIZE)
            except BlockingIOError:
                return
            position, end = 0, len(data)
            while position < end:
                descriptor, mask, cookie, length = _HEAD.unpack_from(data, position)
                position += _HEAD.size
                name = data[position : position + length].rstrip(b"\0")
                position += length
                yield Event(descriptor, mask, cookie, os.fsdecode(name))
            if end + LONGEST < READ_SIZE:
                return  # there was room for one more, so there was none

    def close(self) -> None:
        os.close(self.fd)

    def _call(self, function: ctypes._NamedFuncPointer, *arguments: object) -> int:
        result = function(*arguments)
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return int(result)
