"""SEARCH: which messages match (RFC 9051 §6.4.4).

Messages are decided many at a time. A set of messages is a `Mask`; what a key is known to say of all of
them is a pair of masks (those that match for sure, those that may), and AND, OR and NOT are operations on
these. First come the keys that memory decides; what is open after them is asked of the messages' octets,
in a worker."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property, partial
from itertools import compress
from sys import byteorder

from mailstack.imap import summary, texts
from mailstack.imap.search_content import Verdict, conjunction, disjunction, negation, verdict
from mailstack.imap.search_keys import ColumnKey, ContentKey, Rows, Source, leaves
from mailstack.imap.wire.values import (
    STAR,
    All,
    And,
    DateOrder,
    ExtensionKey,
    HasFlag,
    HasKeyword,
    InSequence,
    InternalDay,
    InUids,
    IsRecent,
    Larger,
    Not,
    Or,
    SearchKey,
    SequenceSet,
    Smaller,
)
from mailstack.ports import FIRST_KEYWORD, MEMORY_LIMIT, TEXT_ITEM, Mailbox, Wanted

AT_ONCE = 16 * 1024
"""Messages that are decided together: a key costs at most a millisecond or so."""
CONTENTS_AT_ONCE = 50
"""Messages that are read in one visit to a worker."""
KEYS_AT_ONCE = 4
"""Keys after which others have their turn."""
MANY_KEYS = 8
"""Keys that are asked one by one of what the store keeps; more of them all at once, where that is possible."""

Mask = int
"""A set of rows: of n rows the first is the highest of n bits."""
Ranges = list[tuple[int, int]]
"""Of UIDs, ends included, in order, none overlapping another."""
Turn = Callable[[], Awaitable[None]]
"""Gives other connections their turn."""


@dataclass(frozen=True, slots=True)
class Searched:
    """Where is searched: `numbered[n-1]` is the UID of message n; `recent` are UIDs."""

    mailbox: Mailbox
    numbered: Sequence[int]
    recent: Collection[int]


async def search(key: SearchKey, where: Searched, now: float, turn: Turn) -> list[int]:
    """UIDs of the messages that match, ascending. SessionKeys are resolved already. Raises: Refused."""
    uids = where.numbered
    if any(_measures(leaf, where.mailbox) for leaf in leaves(key)):
        await where.mailbox.measure(uids)
    found: list[int] = []
    if not uids:
        return found
    ranges = {leaf: named for leaf in leaves(key) if (named := uid_ranges(leaf, uids)) is not None}
    for start in range(0, len(uids), AT_ONCE):
        if start:
            await turn()
        columns = where.mailbox.columns(uids[start : start + AT_ONCE])
        if columns.uids:
            rows = Rows(where.mailbox, columns, uids, where.recent, now)
            found += await _Block(rows, turn, ranges).matching(key)
    return found


def sources(key: SearchKey, *, keeps_texts: bool) -> tuple[Source, ...]:
    """What the store keeps that decides a key."""
    wanted = summary.wanted(key)
    if wanted is not None:
        return ((summary.ITEM, summary.summarize, wanted),)
    if isinstance(key, ContentKey):
        return key.sources(keeps_texts=keeps_texts)
    return texts.sources(key) if keeps_texts else ()


def _are_texts(found_in: Sequence[Source]) -> bool:
    return any(item.startswith(TEXT_ITEM) for item, _, _ in found_in)


def _measures(key: SearchKey, mailbox: Mailbox) -> bool:
    """Whether sizes or internal dates have to be known."""
    if isinstance(key, ColumnKey):
        return key.measures
    if isinstance(key, InternalDay | Larger | Smaller):
        return True
    return mailbox.keeps_texts and _are_texts(sources(key, keeps_texts=True))


@dataclass(frozen=True, slots=True)
class _Decided(ExtensionKey):
    """In the place of a key that is decided: the rows for which it matches."""

    rows: Mask


class _Block:
    """Some thousand messages."""

    def __init__(self, rows: Rows, turn: Turn, ranges: Mapping[SearchKey, Ranges]) -> None:
        self._rows = rows
        self._ranges = ranges
        self._uids = rows.columns.uids
        self._turn = turn
        self._all: Mask = (1 << len(self._uids)) - 1
        self._known: dict[SearchKey, tuple[Mask, Mask]] = {}

    async def matching(self, key: SearchKey) -> Iterable[int]:
        yes, possible = await self._bounds(key)
        undecided = possible & ~yes
        if undecided:
            yes, undecided = await self._by_index(key, yes, undecided)
        if undecided:
            yes |= await self._by_content(self._rest(key, undecided), undecided)
        return self._members(yes)

    def _members(self, mask: Mask) -> Iterable[int]:
        if mask == self._all:
            return self._uids
        return compress(self._uids, f"{mask:0{len(self._uids)}b}".encode().translate(_DIGITS))

    # --- what is known

    async def _bounds(self, key: SearchKey) -> tuple[Mask, Mask]:
        """Rows that match for sure, and those that may."""
        match key:
            case And(keys):
                yes = possible = self._all
                for inside in keys:
                    sure, may = await self._bounds(inside)
                    yes, possible = yes & sure, possible & may
                    if not possible:
                        break
                return yes, possible
            case Or(left, right):
                yes, possible = await self._bounds(left)
                if yes != self._all:
                    sure, may = await self._bounds(right)
                    yes, possible = yes | sure, possible | may
                return yes, possible
            case Not(inside):
                sure, may = await self._bounds(inside)
                return self._all ^ may, self._all ^ sure
        known = self._known.get(key)
        if known is None:
            ranges = self._ranges.get(key)
            mask = column_mask(key, self._rows) if ranges is None else _between(ranges, self._uids)
            known = self._known[key] = (0, self._all) if mask is None else (mask, mask)
            if len(self._known) % KEYS_AT_ONCE == 0:
                await self._turn()
        return known

    def _rest(self, key: SearchKey, wanted: Mask) -> Verdict:
        """The key as far as it is open for any of the rows that are wanted."""
        match key:
            case And(keys):
                return conjunction(self._rest(inside, wanted) for inside in keys)
            case Or(left, right):
                return disjunction(self._rest(inside, wanted) for inside in (left, right))
            case Not(inside):
                return negation(self._rest(inside, wanted))
        # A key that was never looked at stands where it makes no difference.
        yes, possible = self._known.get(key, (0, 0))
        if not possible & wanted:
            return False
        if yes & wanted == wanted:
            return True
        return _Decided(yes) if (yes ^ possible) & wanted == 0 else key

    # --- what is asked of the store

    async def _by_index(self, key: SearchKey, yes: Mask, undecided: Mask) -> tuple[Mask, Mask]:
        """What the keys add of which the store keeps what they look at. Each is asked for the messages that are
        undecided then; of many keys, not each is followed by a look at what that decided."""
        asked = 0
        mailbox = self._rows.mailbox
        every = {leaf: sources(leaf, keeps_texts=mailbox.keeps_texts) for leaf in leaves(key)}
        found_in = {leaf: there for leaf, there in every.items() if there}
        if len(found_in) > MANY_KEYS and (judge := self._judge(key, undecided)) is not None:
            asking = list(self._members(undecided))
            return yes | self._mask_of(await mailbox.grep(asking, summary.ITEM, summary.summarize, judge)), 0
        for leaf in sorted(found_in, key=lambda leaf: _are_texts(found_in[leaf])):
            if not undecided:
                break
            among = undecided & self._in_memory if _are_texts(found_in[leaf]) else undecided
            found: Mask = 0
            for item, make, wanted in found_in[leaf]:
                hits = await mailbox.grep(list(self._members(among & ~found)), item, make, wanted)
                found |= self._mask_of(hits)
            self._known[leaf] = found, found | (self._all ^ among)
            asked += 1
            if asked & (asked - 1) == 0:
                yes, possible = await self._bounds(key)
                undecided = possible & ~yes
        if asked:
            yes, possible = await self._bounds(key)
            undecided = possible & ~yes
        return yes, undecided

    def _judge(self, key: SearchKey, undecided: Mask) -> Wanted | None:
        """What decides the rest of a key of many, if summaries alone do."""
        rest = self._rest(key, undecided)
        return None if isinstance(rest, bool) else summary.judge(rest)

    def _mask_of(self, uids: Collection[int]) -> Mask:
        return mask(map(frozenset(uids).__contains__, self._uids)) if uids else 0

    @cached_property
    def _in_memory(self) -> Mask:
        """Messages of which the texts may be kept."""
        return mask(map(MEMORY_LIMIT.__ge__, self._rows.columns.sizes))

    async def _by_content(self, rest: Verdict, wanted: Mask) -> Mask:
        """Which of these rows match."""
        if isinstance(rest, bool):
            return wanted if rest else 0
        test = partial(verdict, rest)
        rows = [row for row, bit in enumerate(f"{wanted:0{len(self._uids)}b}") if bit == "1"]
        found = bytearray(b"0") * len(self._uids)
        for start in range(0, len(rows), CONTENTS_AT_ONCE):
            if start:
                await self._turn()
            batch = rows[start : start + CONTENTS_AT_ONCE]
            answers = await self._rows.mailbox.examine([self._uids[row] for row in batch], test)
            for row, answer in zip(batch, answers, strict=True):
                if answer is not None and (answer is True or self._at(answer, row)):
                    found[row] = ord("1")
        return int(found, 2)

    def _at(self, key: Verdict, row: int) -> bool:
        """What keys that are decided say of one row."""
        match key:
            case bool():
                return key
            case And(keys):
                return all(self._at(inside, row) for inside in keys)
            case Or(left, right):
                return self._at(left, row) or self._at(right, row)
            case Not(inside):
                return not self._at(inside, row)
            case _Decided(rows):
                return bool(rows >> (len(self._uids) - 1 - row) & 1)
            case _:
                raise AssertionError(f"{key} is decided by octets")


# --- masks of columns -------------------------------------------------------------------------

_DIGITS = bytes(octet == ord("1") for octet in range(256))
"""Digits of a mask → truth."""
_TRUTHS = b"01" + b"1" * 254
"""Truth → digits of a mask."""
_BITS = tuple(bytes(ord("1") if octet >> bit & 1 else ord("0") for octet in range(256)) for bit in range(8))
"""Octets of flags → digits of a mask, for each bit."""


def column_mask(key: SearchKey, rows: Rows) -> Mask | None:
    """The rows for which a key matches; None if memory does not decide it."""
    columns = rows.columns
    match key:
        case All():
            return (1 << len(columns.uids)) - 1
        case HasFlag(flag):
            return _with_bit(columns.flags, int(flag).bit_length() - 1)
        case HasKeyword(keyword):
            bit = _keyword_bit(keyword, rows.mailbox.keywords)
            return 0 if bit is None else _with_bit(columns.flags, bit)
        case IsRecent():
            return mask(map(rows.recent.__contains__, columns.uids)) if rows.recent else 0
        case InternalDay(order, day):
            return _on_day(order, day, columns.dates)
        case Larger(octets):
            return mask(map(octets.__lt__, columns.sizes))
        case Smaller(octets):
            return mask(map(octets.__gt__, columns.sizes))
        case ColumnKey():
            return mask(key.decide(rows))
    return None


def mask(truths: Iterable[bool]) -> Mask:
    """From one truth for each of the rows, which are at least one."""
    return int(bytes(truths).translate(_TRUTHS), 2)


def uid_ranges(key: SearchKey, numbered: Sequence[int]) -> Ranges | None:
    """The UIDs that a sequence-set names; None for another key."""
    match key:
        case InSequence(numbers):
            return [
                (numbered[low - 1], numbered[min(high, len(numbered)) - 1])
                for low, high in joined(numbers, len(numbered)) if low <= len(numbered)
            ]  # fmt: skip
        case InUids(uids):
            return joined(uids, numbered[-1] if numbered else 0)
    return None


def joined(numbers: SequenceSet, largest: int) -> Ranges:
    """The ranges of a sequence-set in order, none touching another; "*" is the largest number in use."""
    ordered: list[tuple[int, int]] = []
    for one, other in numbers:
        one, other = (largest if end == STAR else end for end in (one, other))
        ordered.append((one, other) if one <= other else (other, one))
    ordered.sort()
    ranges: Ranges = []
    for low, high in ordered:
        if ranges and low <= ranges[-1][1] + 1:
            ranges[-1] = ranges[-1][0], max(high, ranges[-1][1])
        else:
            ranges.append((low, high))
    return ranges


def _between(ranges: Ranges, uids: Sequence[int]) -> Mask:
    """Rows whose UID is in one of the ranges."""
    digits = bytearray(b"0") * len(uids)
    for low, high in ranges[max(bisect_left(ranges, (uids[0], 0)) - 1, 0) :]:
        if low > uids[-1]:
            break
        start, end = bisect_left(uids, low), bisect_right(uids, high)
        digits[start:end] = b"1" * (end - start)
    return int(digits, 2)


def _with_bit(flags: Sequence[int], bit: int) -> Mask:
    column = flags if isinstance(flags, array) else array("I", flags)
    width = column.itemsize
    place = bit // 8 if byteorder == "little" else width - 1 - bit // 8
    return int(column.tobytes()[place::width].translate(_BITS[bit % 8]), 2)


def _keyword_bit(keyword: str, keywords: Sequence[str]) -> int | None:
    """The keyword's bit in any case of letters (RFC 9051 §2.3.2); None if the mailbox does not know it."""
    wanted = keyword.lower()
    return next((FIRST_KEYWORD + i for i, known in enumerate(keywords) if known.lower() == wanted), None)


_DAY = 86400
_FIRST, _LAST = date(1970, 1, 1), date.max
"""The days that INTERNALDATE shows: what is before or after has the first or the last."""


def _on_day(order: DateOrder, day: date, dates: Sequence[int]) -> Mask:
    """By internal dates, in UTC as INTERNALDATE shows them."""
    start = (day - _FIRST).days * _DAY
    before = 0 if day <= _FIRST else mask(map(start.__gt__, dates))
    if order is DateOrder.BEFORE:
        return before
    every = (1 << len(dates)) - 1
    if order is DateOrder.SINCE:
        return every ^ before
    through = every if day == _LAST else 0 if day < _FIRST else mask(map((start + _DAY).__gt__, dates))
    return through & ~before
