from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstack.mail.dates import sent_date

GOLDEN = [
    # RFC 5256 §2.2
    (b"31 Dec 2000 16:01:33 -0800", (2001, 1, 1, 0, 1, 33)),
    (b"Sun, 31 Dec 2000 16:01:33 -0800 (PST)", (2001, 1, 1, 0, 1, 33)),
    (b"1 Jan 2001 00:01:33 +0000", (2001, 1, 1, 0, 1, 33)),
    (b"1 Jan 2001 05:31 +0530", (2001, 1, 1, 0, 1)),
    (b"Mon,  1 Jan 01 10:00:00 EST", (2001, 1, 1, 15)),
    (b"1 Jan 2001 10:00:00 gmt", (2001, 1, 1, 10)),
    (b"Thu, 01-Jan-70 00:00:01 GMT", (1970, 1, 1, 0, 0, 1)),
    (b"Mon, 1 Jan 2001 10:00:00", (2001, 1, 1, 10)),
    # an invalid zone is UTC, an invalid time midnight
    (b"1 Jan 2001 10:00:00 +0175", (2001, 1, 1, 10)),
    (b"1 Jan 2001 10:00:00 +1", (2001, 1, 1, 10)),
    (b"1 Jan 2001 10:00:00 XYZ", (2001, 1, 1, 10)),
    (b"1 Jan 2001 10:00:00 A", (2001, 1, 1, 10)),
    (b"1 Jan 2001 25:00:00 -0500", (2001, 1, 1)),
    (b"1 Jan 2001 10:60:00 -0500", (2001, 1, 1)),
    (b"1 Jan 2001", (2001, 1, 1)),
    (b"1 Jan 2001 at noon", (2001, 1, 1)),
]


@pytest.mark.parametrize(("value", "moment"), GOLDEN)
def test_sent_dates(value: bytes, moment: tuple[int, ...]) -> None:
    year, month, day, *time = moment
    hour, minute, second = (*time, 0, 0, 0)[:3]
    assert sent_date(value) == datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    "value",
    [b"", b"no date", b"31 Feb 2001 10:00:00 +0000", b"1 Foo 2001 10:00:00 +0000", b"0 Jan 2001", b"1 Jan 0000"],
)
def test_what_is_no_date(value: bytes) -> None:
    assert sent_date(value) is None


@given(st.datetimes(datetime(1900, 1, 1), datetime(9990, 12, 31)), st.integers(-12 * 60, 14 * 60))
def test_every_date_that_is_written_is_read(moment: datetime, minutes: int) -> None:
    written = moment.replace(microsecond=0, tzinfo=timezone(timedelta(minutes=minutes)))
    assert sent_date(format_datetime(written).encode()) == written.timestamp()


@given(st.binary(max_size=300))
def test_nothing_raises(value: bytes) -> None:
    found = sent_date(value)
    assert found is None or abs(found) < 1 << 40
