"""What SEARCH has to know of a message's header, in a few hundred octets that an index keeps.

    day  FF  field  FF  field …     in the order of `SEARCHED`

`day` is that of Date, a proleptic ordinal in four octets, 0 for none. A field is FE and its folded text for each
time that it stands in the header; neither octet is in UTF-8, so that finding the octets of a folded text is
finding the text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date
from functools import lru_cache, partial

from mailstack.imap.search_content import fold, one_blank, readable, sent_day
from mailstack.imap.wire.values import And, DateOrder, HeaderHas, Not, Or, SearchKey, SentDay
from mailstack.mail.header import common_values, unfold
from mailstack.ports import Octets, Wanted

ITEM = "summary/2"
"""The name under which summaries are kept; another one whenever what `summarize` makes changes."""
SEARCHED = (b"subject", b"from", b"to", b"cc", b"bcc", b"message-id", b"in-reply-to", b"references")
"""Fields whose text can be searched, in the order of a summary."""
SHORT = 100
"""Octets of a raw value that is remembered with what it is folded to, if that has to be decoded: who writes again."""
MAX_REMEMBERED = 1024
_DAY = 4
_FIELD, _EACH = b"\xff", b"\xfe"


def summarize(octets: Octets) -> bytes:
    """The summary of a message. Pure; for Mailbox.derive."""
    found = common_values(octets)
    day = sent_day(found.get(b"date", [b""])[0])
    head = (day.toordinal() if day else 0).to_bytes(_DAY)
    return _FIELD.join([head, *[_each(found.get(name, ())) for name in SEARCHED]])


def _each(raw: Sequence[bytes]) -> bytes:
    return b"".join([_EACH + _folded(value) for value in raw])


def _folded(raw: bytes) -> bytes:
    """A raw value, readable and folded."""
    if b"=?" not in raw and raw.isascii():  # nearly all
        return unfold(raw).lower().replace(b"\t", b" ")
    return _remembered(raw) if len(raw) <= SHORT else folded(readable(raw))


def folded(text: str) -> bytes:
    """A text as it stands in a summary."""
    return fold(text).encode("utf-8", "surrogatepass")


_remembered = lru_cache(MAX_REMEMBERED)(lambda raw: folded(readable(raw)))


def texts_of(place: int, summary: bytes) -> list[str]:
    """The folded texts of the field at this place of SEARCHED."""
    field = summary[_DAY + 1 :].split(_FIELD, place + 1)[place]
    return [text.decode("utf-8", "surrogatepass") for text in field.split(_EACH)[1:]]


def wanted(key: SearchKey) -> Wanted | None:
    """What summaries of the messages have for which a key matches; None if summaries do not tell."""
    match key:
        case HeaderHas(field, text) if field.lower() in SEARCHED:
            needle = folded(one_blank(text))
            return Wanted(needle, holds=partial(_has, SEARCHED.index(field.lower()), needle or _EACH))
        case SentDay(order, day):
            number = day.toordinal()
            low = number if order is not DateOrder.BEFORE else 1
            high = (
                number if order is DateOrder.ON else number - 1 if order is DateOrder.BEFORE else date.max.toordinal()
            )
            return Wanted(b"", low.to_bytes(_DAY), high.to_bytes(_DAY))
    return None


def _has(place: int, needle: bytes, summary: bytes) -> bool:
    return needle in summary[_DAY + 1 :].split(_FIELD, place + 1)[place]


# --- many keys at once --------------------------------------------------------------------------

_Test = Callable[[list[bytes]], bool]
"""Of a summary's day and fields."""


def judge(key: SearchKey) -> Wanted | None:
    """What summaries of the messages have for which a key of many matches, told by one look at each; None if
    summaries do not tell."""
    test = _test(key)
    return None if test is None else Wanted(holds=lambda summary: test(_split(summary)))


def _split(summary: bytes) -> list[bytes]:
    return [summary[:_DAY], *summary[_DAY + 1 :].split(_FIELD)]


def _test(key: SearchKey) -> _Test | None:
    match key:
        case And(keys):
            return _combined(all, keys)
        case Or(left, right):
            return _combined(any, (left, right))
        case Not(inside):
            test = _test(inside)
            return None if test is None else lambda fields: not test(fields)
        case HeaderHas(field, text) if field.lower() in SEARCHED:
            place, needle = 1 + SEARCHED.index(field.lower()), folded(one_blank(text)) or _EACH
            return lambda fields: needle in fields[place]
        case SentDay():
            found = wanted(key)
            assert found is not None
            low, high = found.low, found.high
            return lambda fields: low <= fields[0] <= high
    return None


def _combined(how: Callable[[Iterable[bool]], bool], keys: Sequence[SearchKey]) -> _Test | None:
    tests = [test for key in keys if (test := _test(key)) is not None]
    return (lambda fields: how(test(fields) for test in tests)) if len(tests) == len(keys) else None
