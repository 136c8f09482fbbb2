"""Mod-sequences (RFC 7162) that never go back: `mailstack-modseq` holds a number that none has reached yet.

It is moved ahead, durably, before a number above it is used; so that a crash skips numbers and repeats none.
A lost file begins at the time, which is above what a mailbox can have used: a million changes a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from mailstack.store.maildir.layout import replace_file

FILE = "mailstack-modseq"
BLOCK = 1 << 20
"""Numbers taken ahead at a time: one more sync to disk in a million changes, and after each crash."""
MAX_MODSEQ = (1 << 63) - 1
"""RFC 7162 §7: a positive unsigned 63-bit integer."""


class ModSequences:
    """The numbers of one mailbox. Used in the account's lane."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self.last = 0
        """The highest number in use; 0 before `load`."""
        self._path = folder / FILE
        self._mark = 0
        self._clock = clock

    def load(self) -> None:
        """Begin above all numbers that may have been used. Raises: OSError."""
        self._mark = self.last = max(self._read(), self.last)

    def resume(self, last: int) -> bool:
        """Begin at `last`, if it is certain that no number above it was used: nothing was after `settle`.
        False if not; then it is as after `load`. Raises: OSError."""
        self.load()
        return self.last == last

    def settle(self) -> None:
        """The numbers taken ahead are given back, durably. Raises: OSError."""
        if 0 < self.last < self._mark:
            replace_file(self._path, b"%d\n" % self.last)
            self._mark = self.last

    def next(self) -> int:
        """A number above all others. Raises: OSError."""
        if self.last >= self._mark:
            mark = min(self.last + BLOCK, MAX_MODSEQ)
            replace_file(self._path, b"%d\n" % mark)
            self._mark = mark
        self.last += 1
        return self.last

    def _read(self) -> int:
        try:
            text = self._path.read_bytes().strip()
        except FileNotFoundError:
            text = b""
        mark = int(text) if text.isdigit() and len(text) < 20 else 0
        return mark if 0 < mark <= MAX_MODSEQ else int(self._clock()) << 20
