"""What is known of the messages of an open mailbox: parallel arrays by UID, 32 octets a message; and of
those that vanished from it (RFC 7162)."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import repeat

from mailstack.ports import ALL_FLAGS, Columns
from mailstack.store.arrays import joined, kept_runs
from mailstack.store.maildir.modseq import SLACK

UNKNOWN = -1
MAX_HISTORY = 50_000
"""Vanished UIDs that are remembered with the mod-sequence at which they did, 12 octets each."""
MAX_FLIPS = 1000
"""Changes of flags that are remembered by what changed."""
NO_DATE = -(1 << 62)
"""An internal date that was not looked up yet; -1 is a second before the epoch."""
_FEW = 16


COLUMNS = ("uids", "flags", "modseqs", "sizes", "dates")


class History:
    """Which messages vanished, and when: ascending mod-sequences, and a UID for each."""

    __slots__ = ("modseqs", "since", "uids")

    def __init__(self, since: int) -> None:
        self.since = since
        """Nothing that vanished at a higher mod-sequence is missing here."""
        self.modseqs: array[int] = array("Q")
        self.uids: array[int] = array("I")

    def add(self, uids: Sequence[int], modseq: int) -> None:
        """These vanished just now. The oldest are forgotten when there are too many."""
        self.uids.extend(uids)
        self.modseqs.extend(repeat(modseq, len(uids)))
        if len(self.uids) > MAX_HISTORY:
            surplus = len(self.uids) - MAX_HISTORY // 2
            self.since = self.modseqs[surplus - 1]
            del self.uids[:surplus], self.modseqs[:surplus]

    def after(self, modseq: int) -> list[int] | None:
        """UIDs that vanished at higher mod-sequences, ascending; None if not all of them are known."""
        if modseq < self.since:
            return None
        return sorted(self.uids[bisect_right(self.modseqs, modseq) :])

    def has_modseq(self, modseq: int) -> bool:
        """Whether something vanished at this mod-sequence."""
        at = bisect_left(self.modseqs, modseq)
        return modseq == self.since or (at < len(self.modseqs) and self.modseqs[at] == modseq)

    def copy(self) -> History:
        made = History(self.since)
        made.modseqs, made.uids = self.modseqs[:], self.uids[:]
        return made


class Flips:
    """Which flags of which messages changed lately: what one number a message does not tell (RFC 7162 §3.1.12)."""

    __slots__ = ("_log", "since")

    def __init__(self) -> None:
        self.since = 0
        """No change at a higher mod-sequence is missing here."""
        self._log: deque[tuple[int, int, int]] = deque()

    def note(self, uid: int, modseq: int, bits: int) -> None:
        """These bits of a message's flags are others now."""
        self._log.append((modseq, uid, bits))
        if len(self._log) > MAX_FLIPS:
            self.since = self._log.popleft()[0]

    def note_new(self, uids: Sequence[int], modseq: int) -> None:
        """All flags of these messages are new."""
        if len(uids) > MAX_FLIPS // 4:
            self._log.clear()
            self.since = modseq
        for uid in uids if self.since < modseq else ():
            self.note(uid, modseq, ALL_FLAGS)

    def has_modseq(self, modseq: int) -> bool:
        """Whether one of these changes has this mod-sequence."""
        return any(number == modseq for number, _, _ in self._log)

    def above(self, modseq: int) -> dict[int, int]:
        """UID → the bits that changed at higher mod-sequences; empty if not all of them are known."""
        found: dict[int, int] = {}
        if modseq >= self.since:
            for number, uid, bits in reversed(self._log):
                if number <= modseq:
                    break
                found[uid] = found.get(uid, 0) | bits
        return found


class MessageColumns:
    """Rows in the order of UIDs. Belongs to the reactor's thread."""

    __slots__ = (*COLUMNS, "flips", "history")

    def __init__(self) -> None:
        self.history = History(0)
        self.flips = Flips()
        self.uids: array[int] = array("I")
        self.flags: array[int] = array("I")
        self.modseqs: array[int] = array("Q")
        self.sizes: array[int] = array("q")
        self.dates: array[int] = array("q")

    def __len__(self) -> int:
        return len(self.uids)

    def copy(self) -> MessageColumns:
        """These rows, whatever happens to the columns."""
        made = MessageColumns()
        for name in COLUMNS:
            setattr(made, name, getattr(self, name)[:])
        made.history = self.history.copy()
        return made

    def row(self, uid: int) -> int:
        """The index of a message; -1 if there is none."""
        index = bisect_left(self.uids, uid)
        return index if index < len(self.uids) and self.uids[index] == uid else -1

    def since(self, modseq: int) -> int:
        """`Mailbox.since`: of a number that we gave, we know what was told with it; one that is not among ours may
        be of another process, which noticed some changes before us and some after. Costs some 20 ns a message."""
        if self.history.has_modseq(modseq) or self.flips.has_modseq(modseq) or modseq in self.modseqs:
            return modseq
        return max(modseq - SLACK, 0)

    def add(self, uids: array[int], flags: array[int], modseq: int) -> array[int]:
        """New messages, UIDs ascending; returns those that were not there."""
        if not uids:
            return uids
        if not self.uids or uids[0] > self.uids[-1]:
            count = len(uids)
            self.uids.extend(uids)
            self.flags.extend(flags)
            self.modseqs.extend(repeat(modseq, count))
            self.sizes.extend(repeat(UNKNOWN, count))
            self.dates.extend(repeat(NO_DATE, count))
            self.flips.note_new(uids, modseq)
            return uids
        return self._add_among(uids, flags, modseq)

    def _add_among(self, uids: array[int], flags: array[int], modseq: int) -> array[int]:
        """Files that came back, or to which another process gave UIDs: rare."""
        added = array("I")
        for uid, bits in zip(uids, flags, strict=True):
            row = bisect_left(self.uids, uid)
            if row < len(self.uids) and self.uids[row] == uid:
                continue
            added.append(uid)
            for column, value in self._cells(uid, bits, modseq):
                column.insert(row, value)
        self.flips.note_new(added, modseq)
        return added

    def _cells(self, uid: int, bits: int, modseq: int) -> tuple[tuple[array[int], int], ...]:
        return (
            (self.uids, uid), (self.flags, bits), (self.modseqs, modseq), (self.sizes, UNKNOWN), (self.dates, NO_DATE),
        )  # fmt: skip

    def change(self, changed: Iterable[tuple[int, int]], modseq: int) -> list[int]:
        """Other flags; returns the UIDs of messages that had different ones."""
        different: list[int] = []
        for uid, bits in changed:
            row = self.row(uid)
            if row >= 0 and self.flags[row] != bits:
                self.flips.note(uid, modseq, self.flags[row] ^ bits)
                self.flags[row] = bits
                self.modseqs[row] = modseq
                different.append(uid)
        return different

    def remove(self, uids: Iterable[int], modseq: int) -> list[int]:
        """Messages that are gone; returns those that were there, ascending."""
        rows = sorted(row for uid in set(uids) if (row := self.row(uid)) >= 0)
        removed = [self.uids[row] for row in rows]
        self.history.add(removed, modseq)
        if len(rows) <= _FEW:
            for row in reversed(rows):
                del self.uids[row], self.flags[row], self.modseqs[row], self.sizes[row], self.dates[row]
            return removed
        runs = kept_runs(len(self.uids), rows)
        for name in COLUMNS:
            setattr(self, name, joined(getattr(self, name), runs))
        return removed

    def select(self, uids: Sequence[int]) -> Columns:
        """The rows of those of `uids` (ascending) that are there."""
        if not uids:
            return Columns((), (), (), (), ())
        wanted = uids if isinstance(uids, array) else array("I", uids)
        start = bisect_left(self.uids, wanted[0])
        end = start + len(wanted)
        if self.uids[start:end] == wanted:  # the usual case: messages that stand together
            run = slice(start, end)
            return Columns(wanted, self.flags[run], self.modseqs[run], self.sizes[run], self.dates[run])
        rows = [row for uid in wanted if (row := self.row(uid)) >= 0]
        return Columns(
            *([column[row] for row in rows] for column in (self.uids, self.flags, self.modseqs, self.sizes, self.dates))
        )

    def unmeasured(self, uids: Sequence[int], *, dates: bool) -> list[int]:
        """Those of which the size, or the internal date where it is wanted, is not known yet."""
        found = self.select(uids)
        if UNKNOWN not in found.sizes and not (dates and NO_DATE in found.dates):
            return []
        return [
            uid
            for uid, size, date in zip(found.uids, found.sizes, found.dates, strict=True)
            if size == UNKNOWN or (dates and date == NO_DATE)
        ]

    def measured(self, uid: int, size: int, date: int) -> None:
        """What was looked up; NO_DATE for a date that was not, UNKNOWN for the size of a message that is gone."""
        row = self.row(uid)
        if row >= 0 and size != UNKNOWN:
            self.sizes[row] = size
            if date != NO_DATE:
                self.dates[row] = date
