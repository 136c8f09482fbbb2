"""How far a long command is, on standard error when that is a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

INTERVAL = 0.1
"""Seconds between two changes of the line."""
_CLEAR = "\r\x1b[K"


class Progress:
    """One line that is written over. Silent elsewhere than on a terminal."""

    def __init__(self) -> None:
        self._shows = sys.stderr is not None and sys.stderr.isatty()
        self._last = 0.0
        self._there = False

    def __call__(self, what: str, messages: int) -> None:
        now = time.monotonic()
        if self._shows and now - self._last >= INTERVAL:
            self._last = now
            self._there = True
            sys.stderr.write(f"{_CLEAR}{what[:60]}  {messages:,} messages ")
            sys.stderr.flush()

    def clear(self) -> None:
        """Before anything else is written."""
        if self._there:
            self._there = False
            sys.stderr.write(_CLEAR)
            sys.stderr.flush()


@contextmanager
def progress() -> Iterator[Progress]:
    """A line that is gone afterwards."""
    line = Progress()
    try:
        yield line
    finally:
        line.clear()


def size(octets: int) -> str:
    """As people read it."""
    value, units = float(octets), ["octets", "KiB", "MiB", "GiB", "TiB"]
    while value >= 1024 and len(units) > 1:
        value /= 1024
        units.pop(0)
    return f"{octets} octets" if units[0] == "octets" else f"{value:.1f} {units[0]}"


def counted(number: int, what: str, plural: str = "") -> str:
    """ "1 message", "3 mailboxes"."""
    return f"{number:,} {what if number == 1 else plural or what + 's'}"


def printable(text: str) -> str:
    """With \\xXX for what no terminal should get: file names may have any octets."""
    return "".join(c if c.isprintable() else f"\\x{ord(c) & 0xFF:02x}" for c in text)
