"""The messages of one mailbox by UID, with the names of their files, in some 80 octets each.

Python objects would take five times as much: a million messages are to be open in 120 MB. So columns are
arrays, names are octets in one buffer, and the way from a name to its UID is a table of UIDs by hash."""

from __future__ import annotations

import os
import threading
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple
from zlib import crc32

from mailstack.store.arrays import joined, kept_runs
from mailstack.store.maildir import names

_END = b"/"
"""Ends each name in the buffer: the one octet, besides NUL, that no file name has."""
_FEW = 16
"""Rows that are taken out one by one; more of them, and the columns are made anew."""
_FREE, _TAKEN = 0, 0xFFFFFFFF
"""Slots of the table that never had a UID, and that had one. Neither is a UID of a message."""


class Packed(NamedTuple):
    """Rows as they are kept: parallel columns, the names one after the other, and the table, if it was made."""

    uids: array[int]
    flags: array[int]
    starts: array[int]
    names: bytes
    slots: array[int]


class Rows:
    """Rows in the order of UIDs. `flags[i]` are the bits in the name of the file of `uids[i]`.

    One thread at a time changes it, the account's lane; `name_of` may be asked from any."""

    __slots__ = ("_buffer", "_garbage", "_lock", "_odd", "_slots", "_starts", "_used", "flags", "uids")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._empty()

    def _empty(self) -> None:
        self.uids: array[int] = array("I")
        self.flags: array[int] = array("I")
        self._starts: array[int] = array("I")  # 4 GiB of names: seventy million messages
        self._buffer = bytearray()
        self._garbage = 0
        self._odd: dict[int, str] = {}
        """Names in cur/ that are not what `names.join` makes of base and flags: foreign letters, no letters."""
        self._slots: array[int] | None = None
        self._used = 0

    def __len__(self) -> int:
        return len(self.uids)

    def row(self, uid: int) -> int:
        """The index of a message in the columns; -1 if there is none."""
        index = bisect_left(self.uids, uid)
        return index if index < len(self.uids) and self.uids[index] == uid else -1

    def base(self, row: int) -> str:
        """The part of the name that stays for the life of the message."""
        start = self._starts[row]
        return os.fsdecode(bytes(self._buffer[start : self._buffer.index(_END, start)]))

    def base_octets(self, row: int) -> bytes:
        """The same as it is on disk."""
        start = self._starts[row]
        return bytes(self._buffer[start : self._buffer.index(_END, start)])

    def name(self, row: int) -> str:
        """The name of the file in cur/, as last seen."""
        odd = self._odd.get(self.uids[row]) if self._odd else None
        return odd if odd is not None else self.base(row) + names.suffix(self.flags[row])

    def names_with(self, row: int, flags: int) -> tuple[str, str]:
        """The name of the file, as last seen, and the one that it gets with other flags. Letters that are not
        flags of IMAP stay."""
        odd = self._odd.get(self.uids[row]) if self._odd else None
        if odd is None:
            base = self.base(row)
            return base + names.suffix(self.flags[row]), base + names.suffix(flags)
        base, letters = names.split(odd)
        return odd, names.join(base, names.letters(flags, letters))

    def name_of(self, uid: int) -> str | None:
        """The name of a message's file in cur/, as last seen; None if there is no such message."""
        with self._lock:
            row = self.row(uid)
            return self.name(row) if row >= 0 else None

    def find(self, base: str) -> int:
        """The UID of a base name; 0 if none has it."""
        octets = os.fsencode(base)
        slots = self._table()
        mask = len(slots) - 1
        slot = crc32(octets) & mask
        while (uid := slots[slot]) != _FREE:
            if uid != _TAKEN and self._is(uid, octets):
                return uid
            slot = (slot + 1) & mask
        return 0

    def add(self, uid: int, name: str) -> int:
        """A message whose UID is above all others, or between them if it came back; returns its flags."""
        base, info = names.split_info(name)
        flags = names.info_bits(info)
        octets = os.fsencode(base)
        row = len(self.uids)
        if row and uid <= self.uids[-1]:
            row = bisect_left(self.uids, uid)
        with self._lock:
            self.uids.insert(row, uid)
            self.flags.insert(row, flags)
            self._starts.insert(row, len(self._buffer))
            self._buffer += octets
            self._buffer += _END
        if info != names.suffix(flags):
            self._odd[uid] = name
        if self._slots is not None:
            self._enter(octets, uid)
        return flags

    def extend(self, uids: Sequence[int], found: Sequence[str]) -> None:
        """Many messages at once: UIDs ascend and are above all that are there; `found` are names."""
        with self._lock:
            self._extend(uids, found)

    def _extend(self, uids: Sequence[int], found: Sequence[str]) -> None:
        if not found:
            return
        parts = [name.partition(":") for name in found]
        octets = os.fsencode("/".join([base for base, _, _ in parts])) + _END
        lengths = [len(base) + 1 for base in octets[:-1].split(_END)]
        self._starts.extend(accumulate(lengths[:-1], initial=len(self._buffer)))
        self._buffer += octets
        self.uids.extend(uids)
        infos = [colon + info for _, colon, info in parts]
        bits = {info: names.info_bits(info) for info in set(infos)}  # few differ
        self.flags.extend([bits[info] for info in infos])
        odd = {info for info, flags in bits.items() if info != names.suffix(flags)}
        if odd:
            self._odd.update((uid, name) for uid, name, info in zip(uids, found, infos, strict=True) if info in odd)
        self._slots = None

    def rename(self, row: int, name: str) -> int:
        """The file has this name now; returns its flags."""
        _, info = names.split_info(name)
        flags = names.info_bits(info)
        with self._lock:
            uid = self.uids[row]
            self.flags[row] = flags
            if info != names.suffix(flags):
                self._odd[uid] = name
            elif self._odd:
                self._odd.pop(uid, None)
        return flags

    def reflag(self, row: int, flags: int) -> None:
        """The file has the name now that `names_with` said for these flags."""
        if self._odd:
            self.rename(row, self.names_with(row, flags)[1])
        else:
            self.flags[row] = names.info_bits(names.suffix(flags))

    def remove(self, uids: Iterable[int]) -> None:
        """Messages that are gone. Unknown UIDs are passed over."""
        with self._lock:
            self._remove(sorted(row for uid in set(uids) if (row := self.row(uid)) >= 0))

    def _remove(self, rows: list[int]) -> None:
        for row in rows:
            self._leave(row)
        if len(rows) <= _FEW:
            for row in reversed(rows):
                del self.uids[row], self.flags[row], self._starts[row]
        else:
            runs = kept_runs(len(self.uids), rows)
            self.uids, self.flags = joined(self.uids, runs), joined(self.flags, runs)
            self._starts = joined(self._starts, runs)
        if self._garbage > len(self._buffer) // 2:
            self._compact()

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._empty()

    def items(self) -> Iterator[tuple[int, str]]:
        """UID and base name of every message, ascending."""
        for uid, base in zip(self.uids, self.bases(), strict=True):
            yield uid, os.fsdecode(base)

    def bases(self) -> list[bytes]:
        """Base names in the order of UIDs."""
        if not self._garbage and self._in_order():
            return bytes(self._buffer).split(_END)[:-1]
        buffer, index = bytes(self._buffer), self._buffer.index
        return [buffer[start : index(_END, start)] for start in self._starts]

    def all_names(self) -> Iterator[bytes]:
        """The name of each message's file in cur/, as last seen, in the order of UIDs."""
        ends = {flags: names.suffix(flags).encode() for flags in set(self.flags)}
        whole = map(bytes.__add__, self.bases(), map(ends.__getitem__, self.flags))
        if not self._odd:
            return whole
        return (
            os.fsencode(self._odd[uid]) if uid in self._odd else name
            for uid, name in zip(self.uids, whole, strict=True)
        )

    def odd(self) -> dict[int, str]:
        """Names in cur/ that base and flags do not tell, by UID."""
        return self._odd

    def packed(self) -> Packed:
        """All of it in few pieces, for `restore`. Names are in the order of UIDs, without gaps."""
        if self._garbage or not self._in_order():
            with self._lock:
                self._compact()
        return Packed(self.uids, self.flags, self._starts, bytes(self._buffer), self._slots or array("I"))

    def restore(self, packed: Packed, odd: dict[int, str]) -> None:
        """What `packed` and `odd` gave once. Raises: ValueError if the parts do not fit together."""
        uids, flags, starts, names_, slots = packed
        buffer = bytearray(names_)
        if not len(uids) == len(flags) == len(starts) == buffer.count(_END):
            raise ValueError("columns of different lengths")
        if len(slots) & (len(slots) - 1):
            raise ValueError("no table")
        with self._lock:
            self._empty()
            self.uids, self.flags, self._starts, self._buffer, self._odd = uids, flags, starts, buffer, odd
            if slots:
                self._slots, self._used = slots, len(slots) - slots.count(_FREE)

    # --- inside

    def _in_order(self) -> bool:
        # Only a message that came back stands elsewhere in the buffer than in the columns.
        return all(map(int.__lt__, self._starts, self._starts[1:]))

    def _is(self, uid: int, octets: bytes) -> bool:
        start = self._starts[self.row(uid)]
        end = start + len(octets)
        return self._buffer[end : end + 1] == _END and self._buffer[start:end] == octets

    def _leave(self, row: int) -> None:
        """Out of the table and of the odd names; the rest of the row is still there."""
        start = self._starts[row]
        end = self._buffer.index(_END, start)
        self._garbage += end + 1 - start
        uid = self.uids[row]
        self._odd.pop(uid, None)
        slots = self._slots
        if slots is None:
            return
        mask = len(slots) - 1
        slot = crc32(self._buffer[start:end]) & mask
        while slots[slot] != uid:
            slot = (slot + 1) & mask
        slots[slot] = _TAKEN

    def _compact(self) -> None:
        bases = self.bases()
        self._buffer = bytearray(b"".join([base + _END for base in bases]))
        self._starts = (
            array("I", accumulate((len(base) + 1 for base in bases[:-1]), initial=0)) if bases else array("I")
        )
        self._garbage = 0

    def _table(self) -> array[int]:
        if self._slots is None:
            size = 64
            while size < 2 * len(self.uids):
                size *= 2
            self._slots = array("I", bytes(4 * size))
            self._used = 0
            slots, mask = self._slots, size - 1
            for uid, base in zip(self.uids, self.bases(), strict=True):
                slot = crc32(base) & mask
                while slots[slot]:
                    slot = (slot + 1) & mask
                slots[slot] = uid
            self._used = len(self.uids)
        return self._slots

    def _enter(self, octets: bytes, uid: int) -> None:
        slots = self._slots
        assert slots is not None
        self._used += 1
        if 3 * self._used > 2 * len(slots):  # too full, or of too many that are gone: make it anew when asked
            self._slots = None
            return
        mask = len(slots) - 1
        slot = crc32(octets) & mask
        while slots[slot] != _FREE:
            slot = (slot + 1) & mask
        slots[slot] = uid
