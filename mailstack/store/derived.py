"""What is made of a mailbox's messages and kept in the account's index.

An index is not believed before its values were read and their checksums compared. `Derived` remembers of which
messages that was done since the file was opened, and then lets SQLite do the searching."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic, sleep
from typing import Any

from mailstack.mail.header import Headed
from mailstack.ports import Octets, Wanted
from mailstack.store.index import SCATTERED, AccountIndex

MAX_DERIVED = 16 * 1024
"""Octets of what is made of a message that are worth keeping."""
MAX_TEXT = 1024 * 1024
"""The same of its texts, where they are kept."""
MADE_AT_ONCE = 256
"""Messages of which values are made, or read and checked, in one visit to a worker."""
TEXTS_AT_ONCE = 32
"""The same of what is large."""
FILLED_AT_ONCE = 1024
"""Messages that are looked at for what the index lacks, in one visit to a worker."""
TURN, REST = 0.001, 0.0003
"""Seconds after which who fills lets the other threads have the interpreter, which they would have to wait five times
as long for, and seconds that it takes them to take it."""
SEARCHED_AT_ONCE = 16 * 1024
"""Messages that the index searches in one visit to a worker."""

Run = Callable[[Callable[[], Any]], Awaitable[Any]]
Examine = Callable[[Sequence[int], Callable[[Octets], bytes]], Awaitable[Sequence[bytes | None]]]


@dataclass(frozen=True, slots=True)
class Made:
    """The values of some messages, None where one is gone; the UIDs of those that the index has; and how many times
    its file had been opened then, -1 if that changed meanwhile."""

    values: list[bytes | None]
    kept: list[int]
    opened: int


@dataclass(frozen=True, slots=True)
class Filled:
    """Up to which UID there is nothing left to make, of how many messages something was, and whether it is kept."""

    last: int
    messages: int
    kept: bool


Items = Mapping[str, Callable[[Octets], bytes]]
"""What makes what is kept, by its name."""


class Foreseen:
    """What will be asked for of a mailbox, and the UID up to which all of that is kept."""

    def __init__(self, items: Items | None = None) -> None:
        self.items: Items = items or {}
        self.filled = 0

    def add(self, items: Items) -> None:
        """Of what is new, nothing is kept."""
        if not items.keys() <= self.items.keys():
            self.items = {**self.items, **items}
            self.filled = 0

    def lacks(self, uids: Sequence[int]) -> bool:
        """Whether there may be something to do."""
        return bool(self.items and uids and uids[-1] > self.filled)

    def first(self, uids: Sequence[int]) -> Sequence[int]:
        """Those of the mailbox's messages that come first."""
        start = bisect_right(uids, self.filled)
        return uids[start : start + FILLED_AT_ONCE]


class Derived:
    """Of one mailbox under one UIDVALIDITY. Its state belongs to the reactor's thread; what workers do has none."""

    def __init__(
        self, index: AccountIndex, guid: str, validity: int, octets: Callable[[int], Octets | None], *, texts: bool
    ) -> None:
        self.index = index
        self.at_once = TEXTS_AT_ONCE if texts else MADE_AT_ONCE
        self._texts = texts
        self._largest = MAX_TEXT if texts else MAX_DERIVED
        self._key = guid, validity
        self._octets = octets
        self._checked: dict[str, array[int]] = {}
        """By item: UIDs, ascending, of which the index is known to have the value."""
        self._opened = -1

    def make(self, uids: Sequence[int], items: Items) -> list[Made]:
        """Read values of each item, or make and keep them. In a worker; UIDs ascend."""
        opened = self.index.opened
        values: dict[str, dict[int, bytes | None]] = {
            name: {**self.index.derived(*self._key, name, uids)} for name in items
        }
        kept = {name: [*found] for name, found in values.items()}
        made: dict[str, list[tuple[int, bytes]]] = {name: [] for name in items}
        short = [found for found in values.values() if not all(map(found.__contains__, uids))]
        for uid in uids if short else ():
            if any(uid not in found for found in short):
                octets = self._read(uid, len(short))
                for name, fn in items.items():
                    if uid not in values[name]:
                        values[name][uid] = value = None if octets is None else fn(octets)
                        if value is not None and len(value) <= self._largest:
                            made[name].append((uid, value))
        if any(made.values()) and self.index.keep_several(*self._key, made):
            for name, new in made.items():
                kept[name] += [uid for uid, _ in new]
        same = opened if self.index.opened == opened else -1
        return [Made([values[name][uid] for uid in uids], kept[name], same) for name in items]

    def _read(self, uid: int, times: int) -> Octets | None:
        """A message of which so many things are made."""
        octets = self._octets(uid)
        return Headed(octets) if times > 1 and isinstance(octets, bytes) else octets

    def fill(self, uids: Sequence[int], items: Items, seconds: float) -> Filled:
        """Make and keep what the index lacks of these messages (UIDs ascending), for so long. In a worker."""
        now = monotonic()
        until, turn = now + seconds, now + TURN
        lacking = {name: frozenset(self.index.lacking(*self._key, name, uids)) for name in items}
        made: dict[str, list[tuple[int, bytes]]] = {name: [] for name in items}
        before, last, count = 0, uids[-1], 0
        for uid in sorted(frozenset[int]().union(*lacking.values())):
            now = monotonic()
            if count and now >= until:
                last = before
                break
            if now >= turn:
                sleep(REST)
                turn = now + REST + TURN
            octets = self._read(uid, len(items))
            if octets is not None:
                for name, fn in items.items():
                    if uid in lacking[name] and len(value := fn(octets)) <= self._largest:
                        made[name].append((uid, value))
            before, count = uid, count + 1
        return Filled(last, count, not count or self.index.keep_several(*self._key, made))

    def search(self, piece: Sequence[int], item: str, wanted: Wanted) -> list[int] | None:
        """Hits among messages that were checked. In a worker."""
        hits = self.index.grep(*self._key, item, piece, wanted)
        if hits is None:
            return None
        among, holds = frozenset(piece), wanted.holds
        return [uid for uid, value in hits if uid in among and (holds is None or holds(value))]

    def look_through(
        self, piece: Sequence[int], item: str, fn: Callable[[Octets], bytes], wanted: Wanted
    ) -> tuple[list[int], Made]:
        """Hits among other messages; the values are not given back. In a worker."""
        (made,) = self.make(piece, {item: fn})
        pairs = zip(piece, made.values, strict=True)
        hits = [uid for uid, value in pairs if value is not None and wanted.matches(value)]
        return hits, Made([], made.kept, made.opened)

    async def values(self, run: Run, uids: Sequence[int], items: Items) -> list[list[bytes | None]]:
        """As `Mailbox.derive_each`. In the reactor's thread; `run` goes to a worker."""
        if len(uids) and all(self._are_checked(uids, name) for name in items):
            read: list[Any] = await run(lambda: [self.index.believed(*self._key, name, uids) for name in items])
            if None not in read and self.believes():
                return read
        made: list[Made] = await run(partial(self.make, uids, items))
        for name, some in zip(items, made, strict=True):
            known = self._known(name)
            if some.kept and (not known or min(some.kept) > known[-1]):  # else it costs more than it saves
                self.check(name, [some])
        return [some.values for some in made]

    def _are_checked(self, uids: Sequence[int], item: str) -> bool:
        """Whether the index can be asked of all of these, of which there is one."""
        known = self._known(item)
        wanted = uids if isinstance(uids, array) else array("I", uids)
        start = bisect_left(known, wanted[0])
        return known[start : start + len(wanted)] == wanted

    async def grep(
        self, run: Run, uids: Sequence[int], item: str, fn: Callable[[Octets], bytes], wanted: Wanted
    ) -> Sequence[int]:
        """As `Mailbox.grep`. In the reactor's thread; `run` goes to a worker."""
        known, unknown = self.split(uids, item)
        found: list[int] = []
        # Values that have to be looked at are in memory together.
        length = SEARCHED_AT_ONCE if wanted.holds is None or not self._texts else self.at_once
        for piece in pieces(known, length):
            hits: list[int] | None = await run(partial(self.search, piece, item, wanted))
            if hits is None or not self.believes():
                found, unknown = [], uids
                break
            found += hits
        made: list[Made] = []
        for piece in pieces(unknown, self.at_once):
            more, some = await run(partial(self.look_through, piece, item, fn, wanted))
            found += more
            made.append(some)
        self.check(item, made)
        return sorted(found)

    # --- what was checked

    def split(self, uids: Sequence[int], item: str) -> tuple[Sequence[int], Sequence[int]]:
        """Those that the index can be asked of, and those that have to be read."""
        known = self._known(item)
        wanted = uids if isinstance(uids, array) else array("I", uids)
        if not wanted or self._are_checked(wanted, item):
            return wanted, ()
        start = bisect_left(known, wanted[0])
        if len(wanted) * SCATTERED < wanted[-1] - wanted[0]:
            return (), wanted
        those = frozenset(known[start : bisect_right(known, wanted[-1])])
        return [uid for uid in wanted if uid in those], [uid for uid in wanted if uid not in those]

    def check(self, item: str, made: Sequence[Made]) -> None:
        """These values were read or kept."""
        known = self._known(item)
        new = sorted(uid for some in made if some.opened == self._opened for uid in some.kept)
        if new and known and new[0] <= known[-1]:
            new = sorted({*known, *new})
            del known[:]
        known.extend(new)

    def believes(self) -> bool:
        """Whether the file is the one of which something was checked."""
        return self.index.opened == self._opened

    def _known(self, item: str) -> array[int]:
        if not self.believes():
            self._opened = self.index.opened
            self._checked.clear()
        return self._checked.setdefault(item, array("I"))


async def looked_through(
    examine: Examine, uids: Sequence[int], fn: Callable[[Octets], bytes], wanted: Wanted
) -> Sequence[int]:
    """As `Mailbox.grep`, of messages of which nothing is kept, read by `Mailbox.examine`."""
    found: list[int] = []
    for piece in pieces(uids, TEXTS_AT_ONCE):
        pairs = zip(piece, await examine(piece, fn), strict=True)
        found += [uid for uid, value in pairs if value is not None and wanted.matches(value)]
    return found


def pieces(uids: Sequence[int], length: int) -> Iterator[Sequence[int]]:
    """Runs of at most `length`."""
    for start in range(0, len(uids), length):
        yield uids[start : start + length]
