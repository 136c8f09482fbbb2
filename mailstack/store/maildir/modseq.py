"""Mod-sequences (RFC 7162) that never go back: the time in microseconds, or one more than the last.

Several processes may serve a mailbox, each numbering the changes as it notices them. Since all count by the
clock, what a client was told by one is not above what another will say later, give or take `SLACK`.

`mailstack-modseq` holds a number that none has reached yet. It is moved ahead, durably, before a number above
it is used, so that a clock which was put back does not repeat numbers."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from mailstack.store.maildir.layout import replace_file

FILE = "mailstack-modseq"
SECOND = 1_000_000
BLOCK = 3600 * SECOND
"""Numbers taken ahead at a time: one more sync to disk in an hour in which there are changes."""
SLACK = 2 * SECOND
"""By so much may processes disagree on when a change was: who asks for changes since a number is to be told
those since `SLACK` before it, too."""
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
        self._mark = self._read()
        now = self._now()
        # Who moved the mark did so at a time of at least `mark - BLOCK`, and has used no number above its time.
        self.last = max(now if self._mark - BLOCK <= now else self._mark, self.last, 1)

    def resume(self, last: int) -> bool:
        """Begin at `last`, if it is certain that no number above it was used: nothing was after `settle`.
        False if not; then it is as after `load`. Raises: OSError."""
        if self._read() != last:
            self.load()
            return False
        self._mark = self.last = last
        return True

    def settle(self) -> None:
        """The numbers taken ahead are given back, durably. Raises: OSError."""
        if self.last and self.last != self._mark:
            replace_file(self._path, b"%d\n" % self.last)
            self._mark = self.last

    def next(self, *, durable: bool = True) -> int:
        """A number above all others. Not `durable` where nothing can be written: then the clock alone says
        that it is not used again. Raises: OSError."""
        number = max(self.last + 1, self._now())
        if durable and number > self._mark:
            mark = min(number + BLOCK, MAX_MODSEQ)
            replace_file(self._path, b"%d\n" % mark)
            self._mark = mark
        self.last = number
        return number

    def _now(self) -> int:
        return int(self._clock() * SECOND)

    def _read(self) -> int:
        try:
            text = self._path.read_bytes().strip()
        except FileNotFoundError:
            return 0
        mark = int(text) if text.isdigit() and len(text) < 20 else 0
        return mark if mark <= MAX_MODSEQ else 0
