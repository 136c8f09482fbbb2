"""What SEARCH, SORT and THREAD have to know of a message's header, in a few hundred octets that an index keeps.

    head  FF  field  FF  field …     in the order of `SEARCHED`, then of `Summary`'s others

`head` has the day and the moment of Date. A searched field is FE and its folded text for each time that it
stands in the header; neither octet is in UTF-8, so that finding the octets of a folded text is finding the text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date
from functools import partial
from struct import Struct
from typing import NamedTuple

from mailstack.imap.search_content import fold, readable, sent_day
from mailstack.imap.wire.values import DateOrder, HeaderHas, SearchKey, SentDay
from mailstack.mail.addresses import address_list
from mailstack.mail.header import block, body_start, unfold, values
from mailstack.ports import Octets, Wanted

ITEM = "summary/1"
"""The name under which summaries are kept; another one whenever what `summarize` makes changes."""
SEARCHED = (b"subject", b"from", b"to", b"cc", b"bcc", b"message-id", b"in-reply-to", b"references")
"""Fields whose text can be searched, in the order of a summary."""
_IDS = SEARCHED[5:]
_SORTED = (b"from", b"to", b"cc")
_HEAD = Struct(">IQ")
"""Day of Date as a proleptic ordinal, 0 for none; its moment in seconds since the epoch, above _EPOCH, 0 for none."""
_EPOCH = 1 << 62
_FIELD, _EACH = b"\xff", b"\xfe"


class Summary(NamedTuple):
    """A summary as values. Texts are folded (`search_content.fold`) unless said otherwise; of a field that stands
    more than once, the first counts."""

    sent_day: date | None
    """The day in Date, in its own zone: SENTON and its like (RFC 9051 §6.4.4)."""
    sent: int | None
    """The moment of Date in seconds since the epoch: the sent date of RFC 5256 §2.2."""
    subject: str
    message_id: bytes
    in_reply_to: bytes
    references: bytes
    """These three as in the header, unfolded (as lines); b"" if absent."""
    mailboxes: Sequence[str]
    """addr-mailbox of the first address of From, To and Cc: the keys FROM, TO and CC of RFC 5256 §3; "" for none."""
    displays: Sequence[str]
    """The display name of the same, else mailbox and host: the keys DISPLAYFROM and DISPLAYTO of RFC 5957."""


def summarize(octets: Octets) -> bytes:
    """The summary of a message. Pure; for Mailbox.derive."""
    found = values(block(octets, 0, body_start(octets, 0, len(octets))))
    dates = found.get(b"date", [b""])
    day = sent_day(dates[0])
    moment = None if day is None else _moment(day, dates[0])
    head = _HEAD.pack(day.toordinal() if day else 0, 0 if moment is None else moment + _EPOCH)
    searched = [_each(found.get(name, ())) for name in SEARCHED]
    return _FIELD.join([head, *searched, *_as_written(found), *_addresses(found)])


def _each(raw: Sequence[bytes]) -> bytes:
    return b"".join([_EACH + _folded(value) for value in raw])


def _folded(raw: bytes) -> bytes:
    """A raw value, readable and folded."""
    if b"=?" not in raw and raw.isascii():  # nearly all
        return unfold(raw).lower()
    return folded(readable(raw))


def folded(text: str) -> bytes:
    """A text as it stands in a summary."""
    return fold(text).encode("utf-8", "surrogatepass")


def _as_written(found: Mapping[bytes, list[bytes]]) -> list[bytes]:
    """The message identifiers, where folding made something else of them."""
    lines = [unfold(found[name][0]).replace(_FIELD, b"?") if name in found else b"" for name in _IDS]
    return [b"" if line == _folded(line) else line for line in lines]


def _addresses(found: Mapping[bytes, list[bytes]]) -> list[bytes]:
    mailboxes, displays = [b""] * len(_SORTED), [b""] * len(_SORTED)
    for place, name in enumerate(_SORTED):
        raw = found.get(name)
        listed = address_list(unfold(raw[0])) if raw else ()
        if listed:
            shown, _, mailbox, host = listed[0]
            mailboxes[place] = _folded(mailbox or b"")
            displays[place] = _folded(shown or (b"%s@%s" % (mailbox, host) if mailbox and host else mailbox or b""))
    return [*mailboxes, *displays]


def read(summary: bytes) -> Summary:
    """What is in a summary."""
    day, moment = _HEAD.unpack_from(summary)
    fields = summary[_HEAD.size + 1 :].split(_FIELD)
    count = len(SEARCHED)
    subject, *ids = (_first(fields[place]) for place in (0, 5, 6, 7))
    message_id, in_reply_to, references = (
        raw or first for raw, first in zip(fields[count : count + 3], ids, strict=True)
    )
    texts = [_text(field) for field in fields[count + 3 :]]
    return Summary(
        date.fromordinal(day) if day else None, moment - _EPOCH if moment else None, _text(subject),
        message_id, in_reply_to, references, texts[:3], texts[3:],
    )  # fmt: skip


def _first(field: bytes) -> bytes:
    return field[1:].split(_EACH, 1)[0]


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "surrogatepass")


# --- what SEARCH asks of a summary --------------------------------------------------------------


def wanted(key: SearchKey) -> Wanted | None:
    """What summaries of the messages have for which a key matches; None if summaries do not tell."""
    match key:
        case HeaderHas(field, text) if field.lower() in SEARCHED:
            needle = folded(text)
            return Wanted(needle, holds=partial(_has, SEARCHED.index(field.lower()), needle or _EACH))
        case SentDay(order, day):
            number = day.toordinal()
            low = number if order is not DateOrder.BEFORE else 1
            high = (
                number if order is DateOrder.ON else number - 1 if order is DateOrder.BEFORE else date.max.toordinal()
            )
            return Wanted(b"", low.to_bytes(4), high.to_bytes(4))
    return None


def _has(place: int, needle: bytes, summary: bytes) -> bool:
    return needle in summary[_HEAD.size + 1 :].split(_FIELD, place + 1)[place]


# --- the moment of Date -------------------------------------------------------------------------

# time = hour ":" minute [":" second] FWS zone  ; RFC 5322 §3.3, and the zones of §4.3
_TIME = re.compile(
    rb"(?<!\d)(\d{1,2})[ \t]?:[ \t]?(\d\d)(?:[ \t]?:[ \t]?(\d\d))?(?!\d)"
    rb"(?:[ \t]{1,9}([+-]\d{4}|[A-Za-z]{1,5})(?!\w))?"
)
_ZONES = {b"EDT": -4, b"EST": -5, b"CDT": -5, b"CST": -6, b"MDT": -6, b"MST": -7, b"PDT": -7, b"PST": -8}
_FIRST_DAY = date(1970, 1, 1).toordinal()


def sent_moment(raw: bytes) -> int | None:
    """Seconds since the epoch; a zone that is none counts as UTC and a time that is none as 00:00:00 (RFC 5256
    §2.2); None if there is no date."""
    day = sent_day(raw)
    return None if day is None else _moment(day, raw)


def _moment(day: date, raw: bytes) -> int:
    seconds = (day.toordinal() - _FIRST_DAY) * 86400
    found = _TIME.search(unfold(raw)[:200])
    if found is None or int(found[1]) > 23 or int(found[2]) > 59 or int(found[3] or 0) > 60:
        return seconds
    return seconds + int(found[1]) * 3600 + int(found[2]) * 60 + int(found[3] or 0) - _zone(found[4] or b"")


def _zone(zone: bytes) -> int:
    """Seconds east of Greenwich."""
    if zone[:1] in (b"+", b"-") and int(zone[3:5]) < 60:
        east = int(zone[1:3]) * 3600 + int(zone[3:5]) * 60
        return east if zone[:1] == b"+" else -east
    return _ZONES.get(zone.upper(), 0) * 3600
