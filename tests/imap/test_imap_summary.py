from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstack.imap.search_content import verdict
from mailstack.imap.summary import SEARCHED, read, sent_moment, summarize, wanted
from mailstack.imap.wire.values import BodyHas, DateOrder, HeaderHas, SearchKey, SentDay

MESSAGE = (
    b"From: =?utf-8?q?J=C3=B6rg_B?= <Joerg.B@Example.org>, x@example.org\r\nTo: Team: a@example.org;\r\n"
    b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n an alle\r\nSubject: twice\r\nBcc:\r\n"
    b"Message-ID: <One.2@Example.org>\r\nReferences: <a@b>\r\n\t<c@d>\r\nDate: Thu, 29 Feb 2024 23:59:59 -0800\r\n\r\nx"
)


def test_a_summary_has_what_sort_and_thread_need() -> None:
    found = read(summarize(MESSAGE))
    assert (found.sent_day, found.sent) == (date(2024, 2, 29), 1709279999)
    assert (found.subject, found.message_id, found.in_reply_to, found.references) == (
        "grüsse an alle".replace("ü", "u\u0308"), b"<One.2@Example.org>", b"", b"<a@b>\t<c@d>",
    )  # fmt: skip
    assert (list(found.mailboxes), list(found.displays)) == (
        ["joerg.b", "team", ""], ["jo\u0308rg b", "team", ""],
    )  # fmt: skip


def test_a_summary_of_nothing() -> None:
    found = read(summarize(b""))
    assert (found.sent_day, found.sent, found.subject, found.message_id) == (None, None, "", b"")
    assert read(summarize(b"Message-ID: \xff\xfe\r\nFrom: x\r\n\r\n")).mailboxes[0] == "x"


def says(key: SearchKey, message: bytes) -> bool:
    found = wanted(key)
    assert found is not None
    return found.matches(summarize(message))


@pytest.mark.parametrize("text", ["", "alle", "JÖRG", "example.org", "GRÜSSE AN", "two", "<a@b>\t<c", "@", "\n"])
@pytest.mark.parametrize("name", [*SEARCHED])
def test_fields_as_searched(name: bytes, text: str) -> None:
    assert says(HeaderHas(name, text), MESSAGE) is verdict(HeaderHas(name, text), MESSAGE)


LINES = st.lists(
    st.tuples(st.sampled_from([b"Subject", b"To", b"References", b"X"]), st.binary(max_size=12)), max_size=5
).map(lambda pairs: b"".join(b"%s: %s\r\n" % pair for pair in pairs) + b"\r\n")


@given(LINES, st.sampled_from([b"subject", b"to", b"references"]), st.text(max_size=2))
def test_any_header_as_searched(message: bytes, name: bytes, text: str) -> None:
    assert says(HeaderHas(name, text), message) is verdict(HeaderHas(name, text), message)


@pytest.mark.parametrize("order", [*DateOrder])
@pytest.mark.parametrize("day", [date(2024, 2, 28), date(2024, 2, 29), date(2024, 3, 1)])
@pytest.mark.parametrize("message", [MESSAGE, b"", b"Date: nonsense\r\n\r\n"])
def test_days_as_searched(order: DateOrder, day: date, message: bytes) -> None:
    assert says(SentDay(order, day), message) is verdict(SentDay(order, day), message)


def test_other_keys_are_not_decided_by_summaries() -> None:
    assert [wanted(key) for key in (HeaderHas(b"x-other", ""), BodyHas("x"))] == [None, None]


@pytest.mark.parametrize(
    ("raw", "moment"),
    [
        (b" 31 Dec 2000 16:01:33 -0800", 978307293),
        (b"Mon, 1 Jan 2001 00:01:33 GMT", 978307293),
        (b"1 Jan 2001 00:01", 978307260),
        (b"1 Jan 2001 25:00:00 +0000", 978307200),
        (b"1 Jan 2001 00:00:00 +0099", 978307200),
        (b"1 Jan 2001 00:00:00 EST", 978325200),
        (b"1 Jan 1960 00:00:00 +0130", -315624600),
        (b"1 Jan 2001", 978307200),
        (b"never", None),
    ],
)
def test_moments(raw: bytes, moment: int | None) -> None:
    assert sent_moment(raw) == moment
