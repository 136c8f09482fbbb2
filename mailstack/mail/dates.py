"""The date of a Date field as a moment (RFC 5322 §3.3 and §4.3, RFC 5256 §2.2)."""

from __future__ import annotations

import re
from datetime import date

_LOOKED_AT = 200
"""Octets of a Date field that are looked at; ours."""
_COMMENT = re.compile(rb"\([^()]*+\)")
# date-time = [ day-of-week "," ] day month year hour ":" minute [ ":" second ] zone, with what real mail makes of it
_DATE = re.compile(rb"(?:^|[\s,])(\d{1,2})[ \t-]{1,9}([A-Za-z]{3})[a-z]{0,9}[ \t-]{1,9}(\d{2,4})(?!\d)")
_TIME = re.compile(rb"[ \t,]{0,9}(\d{1,2})[:.](\d{1,2})(?:[:.](\d{1,2}))?(?![\d:.])")
_ZONE = re.compile(rb"[ \t]{0,9}(?:([+-])(\d\d)(\d\d)(?!\d)|([A-Za-z]{1,5})(?![A-Za-z]))")
_MONTHS = (b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec")
# obs-zone = "UT" / "GMT" / "EST" / … ; RFC 5322 §4.3; the military ones and others tell nothing, which is UTC
_NAMED_ZONES = {b"EST": -5, b"EDT": -4, b"CST": -6, b"CDT": -5, b"MST": -7, b"MDT": -6, b"PST": -8, b"PDT": -7}
_EPOCH = date(1970, 1, 1).toordinal()


def sent_date(value: bytes) -> int | None:
    """Seconds since the epoch of an unfolded Date field's value; None if it has no valid date. An invalid zone is
    UTC, and an invalid time 00:00:00 (RFC 5256 §2.2)."""
    text = value[:_LOOKED_AT]
    if b"(" in text:
        text = _COMMENT.sub(b" ", text)
    found = _DATE.search(text)
    if found is None:
        return None
    day = _day(found[1], found[2], found[3])
    if day is None:
        return None
    midnight = (day - _EPOCH) * 86400
    time = _TIME.match(text, found.end())
    if time is None:
        return midnight
    hour, minute, second = int(time[1]), int(time[2]), int(time[3] or 0)
    if hour > 23 or minute > 59 or second > 60:
        return midnight
    return midnight + 3600 * hour + 60 * minute + second - _offset(text, time.end())


def _day(day: bytes, month: bytes, year: bytes) -> int | None:
    """Its proleptic Gregorian ordinal."""
    number = int(year)
    if len(year) < 4:
        # Two digits up to 49 are of this century, and three count from 1900 (RFC 5322 §4.3).
        number += 2000 if len(year) == 2 and number < 50 else 1900
    try:
        return date(number, _MONTHS.index(month.lower()) + 1, int(day)).toordinal()
    except ValueError:
        return None


def _offset(text: bytes, position: int) -> int:
    """Seconds by which the zone is ahead of UTC."""
    found = _ZONE.match(text, position)
    if found is None:
        return 0
    sign, hours, minutes, name = found.groups()
    if sign is None:
        return 3600 * _NAMED_ZONES.get(name.upper(), 0)
    if int(minutes) > 59:
        return 0
    ahead = 3600 * int(hours) + 60 * int(minutes)
    return ahead if sign == b"+" else -ahead
