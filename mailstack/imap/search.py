"""SEARCH: which messages match (RFC 9051 §6.4.4).

In two stages. `Search.on_columns` decides from what an open mailbox has in memory, and gives back what
of the key it could not decide; `matches` decides that from a message's octets, in a worker.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from typing import NamedTuple, assert_never

from mailstack.imap.wire.values import (
    STAR,
    All,
    And,
    BodyHas,
    DateOrder,
    HasFlag,
    HasKeyword,
    HeaderHas,
    InSequence,
    InternalDay,
    InUids,
    IsRecent,
    Larger,
    Not,
    Or,
    SearchKey,
    SentDay,
    SequenceSet,
    Smaller,
    TextHas,
)
from mailstack.mail import mime, transfer, words
from mailstack.mail.header import block, body_start, unfold, values
from mailstack.ports import FIRST_KEYWORD, MEMORY_LIMIT, Octets

WINDOW = MEMORY_LIMIT
"""Octets of an encoded text part that are decoded at a time."""


class Row(NamedTuple):
    """What is in memory of one message. `size` and `internal_date` count only if `needs_measure`."""

    seq: int
    uid: int
    flags: int
    recent: bool
    size: int
    internal_date: float


class Open(NamedTuple):
    """What of the open mailbox decides with it: "*" of both kinds, and the keywords."""

    max_seq: int
    max_uid: int
    keywords: Sequence[str]


Verdict = bool | SearchKey
"""Whether a message matches, or the key that its octets have to match yet."""
_Decide = Callable[[Row], Verdict]


class Search:
    """One search key over one open mailbox."""

    def __init__(self, key: SearchKey, mailbox: Open) -> None:
        self.needs_measure = any(isinstance(leaf, InternalDay | Larger | Smaller) for leaf in _leaves(key))
        """Whether Mailbox.measure has to come first."""
        self.needs_content = any(isinstance(leaf, _CONTENT) for leaf in _leaves(key))
        """Whether any message's octets may be needed."""
        self.on_columns: _Decide = _decider(key, mailbox)
        """Decides for a Row. The keys it gives back are few: group messages by them for Mailbox.examine."""


_CONTENT = (HeaderHas, SentDay, BodyHas, TextHas)


def _leaves(key: SearchKey) -> Iterator[SearchKey]:
    match key:
        case And(keys):
            for inside in keys:
                yield from _leaves(inside)
        case Or(left, right):
            yield from _leaves(left)
            yield from _leaves(right)
        case Not(inside):
            yield from _leaves(inside)
        case _:
            yield key


# --- the first stage: columns ---------------------------------------------------------------


def _decider(key: SearchKey, mailbox: Open) -> _Decide:
    match key:
        case And(keys):
            return _all_of([_decider(inside, mailbox) for inside in keys])
        case Or(left, right):
            return _one_of(_decider(left, mailbox), _decider(right, mailbox))
        case Not(inside):
            return _none_of(_decider(inside, mailbox))
        case HeaderHas() | SentDay() | BodyHas() | TextHas():
            return lambda row: key
        case _:
            return _column(key, mailbox)


def _all_of(deciders: list[_Decide]) -> _Decide:
    def decide(row: Row) -> Verdict:
        open_keys: list[SearchKey] = []
        for decider in deciders:
            verdict = decider(row)
            if verdict is False:
                return False
            if verdict is not True:
                open_keys.append(verdict)
        if not open_keys:
            return True
        return open_keys[0] if len(open_keys) == 1 else And(tuple(open_keys))

    return decide


def _one_of(left: _Decide, right: _Decide) -> _Decide:
    def decide(row: Row) -> Verdict:
        first = left(row)
        if first is True:
            return True
        second = right(row)
        if second is True or first is False:
            return second
        return first if second is False else Or(first, second)

    return decide


def _none_of(decider: _Decide) -> _Decide:
    def decide(row: Row) -> Verdict:
        verdict = decider(row)
        return not verdict if isinstance(verdict, bool) else Not(verdict)

    return decide


def _column(
    key: All | InSequence | InUids | HasFlag | HasKeyword | IsRecent | InternalDay | Larger | Smaller, mailbox: Open
) -> _Decide:
    match key:
        case All():
            return lambda row: True
        case InSequence(numbers):
            within = _within(numbers, mailbox.max_seq)
            return lambda row: within(row.seq)
        case InUids(uids):
            within = _within(uids, mailbox.max_uid)
            return lambda row: within(row.uid)
        case HasFlag(flag):
            bit = int(flag)
            return lambda row: row.flags & bit != 0
        case HasKeyword(keyword):
            bit = _keyword_bit(keyword, mailbox.keywords)
            return lambda row: row.flags & bit != 0
        case IsRecent():
            return lambda row: row.recent
        case InternalDay(order, day):
            return lambda row: _stands(order, _day_of(row.internal_date), day)
        case Larger(octets):
            return lambda row: row.size > octets
        case Smaller(octets):
            return lambda row: row.size < octets
        case _:
            assert_never(key)


def _within(numbers: SequenceSet, largest: int) -> Callable[[int], bool]:
    """A test for the numbers of a sequence-set; "*" is the largest in use."""
    ranges = []
    for one, other in numbers:
        one, other = (largest if end == STAR else end for end in (one, other))
        ranges.append((min(one, other), max(one, other)))
    if len(ranges) == 1:
        low, high = ranges[0]
        return lambda number: low <= number <= high
    if sum(high - low for low, high in ranges) < 4 * len(ranges):
        known = frozenset(number for low, high in ranges for number in range(low, high + 1))
        return known.__contains__
    return lambda number: any(low <= number <= high for low, high in ranges)


def _keyword_bit(keyword: str, keywords: Sequence[str]) -> int:
    """The keyword's bit in any case of letters (RFC 9051 §2.3.2); 0 if the mailbox does not know it."""
    wanted = keyword.lower()
    return next((1 << (FIRST_KEYWORD + i) for i, known in enumerate(keywords) if known.lower() == wanted), 0)


def _day_of(seconds: float) -> date:
    """The day of an internal date, in UTC as INTERNALDATE shows it."""
    return datetime.fromtimestamp(min(max(seconds, 0.0), 253402300799.0), UTC).date()


def _stands(order: DateOrder, actual: date, day: date) -> bool:
    match order:
        case DateOrder.BEFORE:
            return actual < day
        case DateOrder.ON:
            return actual == day
        case DateOrder.SINCE:
            return actual >= day
        case _:
            assert_never(order)


# --- the second stage: content --------------------------------------------------------------


def matches(key: SearchKey, octets: Octets) -> bool:
    """Whether a message matches a key that `Search.on_columns` gave back. Pure; for Mailbox.examine."""
    return _Content(octets).matches(key)


def fold(text: str) -> str:
    """Text as it is compared: without regard to case and to compatible forms (in the spirit of
    i;unicode-casemap, RFC 5051)."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())


class _Content:
    """One message, taken apart as far as its key needs."""

    def __init__(self, octets: Octets) -> None:
        self._octets = octets
        self._fields: dict[bytes, list[bytes]] | None = None
        self._structure: mime.Part | None = None
        self._remembered: list[str] | None = None

    def matches(self, key: SearchKey) -> bool:
        match key:
            case And(keys):
                return all(self.matches(inside) for inside in keys)
            case Or(left, right):
                return self.matches(left) or self.matches(right)
            case Not(inside):
                return not self.matches(inside)
            case HeaderHas(field, text):
                wanted = fold(text)
                return any(wanted in fold(_readable(raw)) for raw in self._header().get(field.lower(), ()))
            case SentDay(order, day):
                sent = sent_day(self._header().get(b"date", [b""])[0])
                return sent is not None and _stands(order, sent, day)
            case BodyHas(text):
                return self._body_has(fold(text))
            case TextHas(text):
                wanted = fold(text)
                header = block(self._octets, 0, body_start(self._octets, 0, len(self._octets)))
                return wanted in fold(_readable(header)) or self._body_has(wanted)
            case _:
                raise AssertionError(f"{key} is decided by columns")

    def _header(self) -> dict[bytes, list[bytes]]:
        if self._fields is None:
            self._fields = values(block(self._octets, 0, body_start(self._octets, 0, len(self._octets))))
        return self._fields

    def _body_has(self, wanted: str) -> bool:
        if not wanted:
            return True
        if len(self._octets) > MEMORY_LIMIT:
            return any(wanted in text for text in self._texts(len(wanted)))
        if self._remembered is None:
            self._remembered = list(self._texts(0))
        return any(wanted in text for text in self._remembered)

    def _texts(self, overlap: int) -> Iterator[str]:
        """The folded text of the body: of text parts, and of the headers of messages inside. A long
        part comes in windows, each beginning with the last `overlap` characters before it."""
        if self._structure is None:
            self._structure = mime.scan(self._octets)
        yield from self._texts_of(self._structure, overlap)

    def _texts_of(self, part: mime.Part, overlap: int) -> Iterator[str]:
        if part.message is not None:
            yield fold(_readable(block(self._octets, part.message.header_start, part.message.body_start)))
            yield from self._texts_of(part.message, overlap)
        for child in part.children:
            yield from self._texts_of(child, overlap)
        if part.type == b"text":
            yield from self._windows(part, overlap)

    def _windows(self, part: mime.Part, overlap: int) -> Iterator[str]:
        charset = words.parameter(part.params, b"charset")
        undone = transfer.decoder(part.encoding) or transfer.Identity()
        if part.size <= WINDOW:
            data = undone.feed(self._octets[part.body_start : part.end]) + undone.finish()
            yield fold(words.decode(data, charset))
            return
        text: codecs.IncrementalDecoder | None = None
        before = ""
        for start in range(part.body_start, part.end, WINDOW):
            end = min(start + WINDOW, part.end)
            data = undone.feed(self._octets[start:end])
            if end == part.end:
                data += undone.finish()
            if text is None:
                text = _incremental(charset, data)
            before += fold(text.decode(data, end == part.end))
            yield before
            before = before[-overlap:] if overlap else ""


def _incremental(charset: str, sample: bytes) -> codecs.IncrementalDecoder:
    """A decoder for text that comes in windows; what is not of the charset is guessed by its first one."""
    name = charset.strip().strip("\"'").lower()
    if name in ("", "us-ascii", "ascii") or not words.is_charset(name):
        name = "utf-8" if words.looks_like_utf8(sample) else "latin-1"
    return codecs.getincrementaldecoder(name)("replace")


def _readable(raw: bytes) -> str:
    """A header field's value, or a whole header, with its encoded-words decoded."""
    return words.decode_words(unfold(raw))


# date-time = [ day-of-week "," ] day month year …   ; RFC 5322 §3.3, comments and time left aside
_DATE = re.compile(rb"(?:^|[\s,])(\d{1,2})[ \t-]{1,9}([A-Za-z]{3})[a-z]{0,9}[ \t-]{1,9}(\d{2,4})(?!\d)")
_MONTHS = (b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec")


def sent_day(raw: bytes) -> date | None:
    """The day in a Date field, disregarding time and zone (RFC 9051 §6.4.4); None if there is none."""
    found = _DATE.search(unfold(raw)[:200])
    if found is None or found[2].lower() not in _MONTHS:
        return None
    year = int(found[3])
    if len(found[3]) < 4:
        # Two digits up to 49 are of this century, and three count from 1900 (RFC 5322 §4.3).
        year += 2000 if len(found[3]) == 2 and year < 50 else 1900
    try:
        return date(year, _MONTHS.index(found[2].lower()) + 1, int(found[1]))
    except ValueError:
        return None
