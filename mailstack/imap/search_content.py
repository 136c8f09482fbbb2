"""SEARCH: what a message's octets decide (RFC 9051 §6.4.4). Pure; in a worker."""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Callable, Iterator
from datetime import date
from functools import lru_cache
from typing import assert_never

from mailstack.imap.search_keys import ContentKey
from mailstack.imap.wire.values import And, BodyHas, DateOrder, HeaderHas, Not, Or, SearchKey, SentDay, TextHas
from mailstack.mail import mime, transfer, words
from mailstack.mail.header import block, unfold, values, whole_header
from mailstack.ports import MEMORY_LIMIT, Octets

WINDOW = MEMORY_LIMIT
"""Octets of an encoded text part that are decoded at a time."""
SHORT = 16
"""Characters of a run outside of US-ASCII that is remembered with what it is folded to."""
MAX_REMEMBERED = 4096
_OTHERS = re.compile(r"([^\x00-\x7f]+)")
Verdict = bool | SearchKey
"""Whether a message matches, or the key that has to be decided yet."""


def verdict(key: SearchKey, octets: Octets) -> Verdict:
    """What is left of a key once the message's octets are known. Pure; for Mailbox.examine."""
    return Content(octets).verdict(key)


def conjunction(verdicts: Iterator[Verdict]) -> Verdict:
    """All of them; no more is asked for after the first that is False."""
    rest: list[SearchKey] = []
    for found in verdicts:
        if found is False:
            return False
        if found is not True:
            rest.append(found)
    if not rest:
        return True
    return rest[0] if len(rest) == 1 else And(tuple(rest))


def disjunction(verdicts: Iterator[Verdict]) -> Verdict:
    """One of the two; the second is not asked for if the first is True."""
    rest: list[SearchKey] = []
    for found in verdicts:
        if found is True:
            return True
        if found is not False:
            rest.append(found)
    if not rest:
        return False
    return rest[0] if len(rest) == 1 else Or(rest[0], rest[1])


def negation(found: Verdict) -> Verdict:
    return not found if isinstance(found, bool) else Not(found)


def fold(text: str) -> str:
    """Text as it is compared. Texts that i;unicode-casemap (RFC 5051) takes for the same are the same, and so are
    some that it does not: "ß" and "ss", and compatible forms of a letter in either case."""
    if text.isascii():
        return text.lower()
    # Letters of US-ASCII have no part in what becomes of others: whether marks stand behind them, or what they follow.
    pieces = _OTHERS.split(text)
    pieces[::2] = [piece.lower() for piece in pieces[::2]]
    pieces[1::2] = [_remembered(piece) if len(piece) <= SHORT else _folded(piece) for piece in pieces[1::2]]
    return "".join(pieces)


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold()).replace("ı", "i")


_remembered = lru_cache(MAX_REMEMBERED)(_folded)


class Content:
    """One message, taken apart as far as its key needs. Implements `search_keys.Message`."""

    def __init__(self, octets: Octets, compared: Callable[[str], str] = fold) -> None:
        self.octets = octets
        self._fold = compared
        """What makes text that is compared."""
        self._fields: dict[bytes, list[bytes]] | None = None
        self._structure: mime.Part | None = None
        self._remembered: list[str] | None = None

    def verdict(self, key: SearchKey) -> Verdict:
        """What is left of the key: keys that the octets do not decide stay."""
        match key:
            case And(keys):
                return conjunction(map(self.verdict, keys))
            case Or(left, right):
                return disjunction(map(self.verdict, (left, right)))
            case Not(inside):
                return negation(self.verdict(inside))
            case HeaderHas(field, text):
                wanted = self._fold(one_blank(text))
                return any(wanted in self._fold(readable(raw)) for raw in self.fields().get(field.lower(), ()))
            case SentDay(order, day):
                sent = sent_day(self.fields().get(b"date", [b""])[0])
                return sent is not None and stands(order, sent, day)
            case BodyHas(text):
                return self.body_has(self._fold(text))
            case TextHas(text):
                return self._text_has(text)
            case ContentKey():
                return key.matches(self)
            case _:
                return key

    def fields(self) -> dict[bytes, list[bytes]]:
        if self._fields is None:
            self._fields = values(whole_header(self.octets))
        return self._fields

    def _text_has(self, text: str) -> bool:
        wanted = self._fold(one_blank(text))
        if wanted in self.header_text() or self.body_has(self._fold(text)):
            return True
        return any(wanted in text for text in self.part_header_texts())

    def header_text(self) -> str:
        """The folded text of the header."""
        return self._fold(readable(whole_header(self.octets)))

    def part_header_texts(self) -> Iterator[str]:
        """The folded texts of the headers of body parts, which TEXT looks into and BODY does not."""
        return (self._fold(readable(header)) for header in self._part_headers(self._scanned()))

    def _part_headers(self, part: mime.Part) -> Iterator[bytes]:
        for child in part.children:
            yield block(self.octets, child.header_start, child.body_start)
            yield from self._part_headers(child)
        if part.message is not None:
            yield from self._part_headers(part.message)

    def body_texts(self) -> list[str]:
        """The folded texts of the body, of a message that fits memory."""
        if self._remembered is None:
            self._remembered = list(self._texts(0))
        return self._remembered

    def body_has(self, wanted: str) -> bool:
        if not wanted:
            return True
        if len(self.octets) > MEMORY_LIMIT:
            return any(wanted in text for text in self._texts(len(wanted)))
        return any(wanted in text for text in self.body_texts())

    def _texts(self, overlap: int) -> Iterator[str]:
        """The folded text of the body: of text parts, and of the headers of messages inside. A long
        part comes in windows, each beginning with the last `overlap` characters before it."""
        yield from self._texts_of(self._scanned(), overlap)

    def _scanned(self) -> mime.Part:
        if self._structure is None:
            self._structure = mime.scan(self.octets)
        return self._structure

    def _texts_of(self, part: mime.Part, overlap: int) -> Iterator[str]:
        if part.message is not None:
            yield self._fold(readable(block(self.octets, part.message.header_start, part.message.body_start)))
            yield from self._texts_of(part.message, overlap)
        for child in part.children:
            yield from self._texts_of(child, overlap)
        if part.type == b"text":
            yield from self._windows(part, overlap)

    def _windows(self, part: mime.Part, overlap: int) -> Iterator[str]:
        charset = words.parameter(part.params, b"charset")
        undone = transfer.decoder(part.encoding) or transfer.Identity()
        if part.size <= WINDOW:
            data = undone.feed(self.octets[part.body_start : part.end]) + undone.finish()
            yield self._fold(words.decode(data, charset))
            return
        text: codecs.IncrementalDecoder | None = None
        before = ""
        for start in range(part.body_start, part.end, WINDOW):
            end = min(start + WINDOW, part.end)
            data = undone.feed(self.octets[start:end])
            if end == part.end:
                data += undone.finish()
            if text is None:
                text = _incremental(charset, data)
            before += self._fold(text.decode(data, end == part.end))
            yield before
            before = before[-overlap:] if overlap else ""


def _incremental(charset: str, sample: bytes) -> codecs.IncrementalDecoder:
    """A decoder for text that comes in windows; what is not of the charset is guessed by its first one."""
    name = charset.strip().strip("\"'").lower()
    if name in ("", "us-ascii", "ascii") or not words.is_charset(name):
        name = "utf-8" if words.looks_like_utf8(sample) else "latin-1"
    return codecs.getincrementaldecoder(name)("replace")


def readable(raw: bytes) -> str:
    """A header field's value, or a whole header, with its encoded-words decoded and spaces for tabs."""
    return one_blank(words.decode_words(unfold(raw)))


def one_blank(text: str) -> str:
    """Text of a header, or to be found in one: where a field was folded is either a space or a tab, and the
    reader sees a space."""
    return text.replace("\t", " ")


def stands(order: DateOrder, actual: date, day: date) -> bool:
    """Whether a day stands so to another."""
    match order:
        case DateOrder.BEFORE:
            return actual < day
        case DateOrder.ON:
            return actual == day
        case DateOrder.SINCE:
            return actual >= day
        case _:
            assert_never(order)


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
