from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstack.imap.search_content import verdict
from mailstack.imap.summary import SEARCHED, summarize, wanted
from mailstack.imap.wire.values import BodyHas, DateOrder, HeaderHas, SearchKey, SentDay

MESSAGE = (
    b"From: =?utf-8?q?J=C3=B6rg_B?= <Joerg.B@Example.org>, x@example.org\r\nTo: Team: a@example.org;\r\n"
    b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n an alle\r\nSubject: twice\r\nBcc:\r\n"
    b"Message-ID: <One.2@Example.org>\r\nReferences: <a@b>\r\n\t<c@d>\r\nDate: Thu, 29 Feb 2024 23:59:59 -0800\r\n\r\nx"
)


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
