from __future__ import annotations

import base64
import os
import re
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstack.imap.search import WINDOW, Open, Row, Search, matches, sent_day
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
    Smaller,
    TextHas,
)
from mailstack.ports import FIRST_KEYWORD, Flag

CORPUS = Path(os.environ.get("MAILSTACK_CORPUS", Path(__file__).parents[2] / "../shared/corpus"))
ODD = sorted(CORPUS.glob("*/*.eml"))

OPEN = Open(max_seq=10, max_uid=50, keywords=["$Junk", "done"])
# 2024-02-29T23:59:59Z
ROW = Row(seq=3, uid=20, flags=Flag.SEEN | 2 << FIRST_KEYWORD, recent=True, size=1000, internal_date=1709251199.0)
LEAP = date(2024, 2, 29)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (All(), True),
        (InSequence(((1, 2), (5, 5))), False),
        (InSequence(((5, 2),)), True),
        (InSequence(((STAR, 3),)), True),
        (InSequence(((STAR, STAR),)), False),
        (InUids(((20, 20), (30, 31))), True),
        (InUids(((1, 5), (60, STAR))), False),
        (InUids(((1, 500_000_000), (7, 7))), True),
        (HasFlag(Flag.SEEN), True),
        (HasFlag(Flag.DELETED), False),
        (HasKeyword("DONE"), True),
        (HasKeyword("$junk"), False),
        (HasKeyword("unknown"), False),
        (IsRecent(), True),
        (InternalDay(DateOrder.ON, LEAP), True),
        (InternalDay(DateOrder.SINCE, LEAP), True),
        (InternalDay(DateOrder.BEFORE, LEAP), False),
        (Larger(999), True),
        (Larger(1000), False),
        (Smaller(1001), True),
        (Smaller(1000), False),
        (Not(Not(All())), True),
        (And(()), True),
        (And((All(), HasFlag(Flag.DRAFT), BodyHas("x"))), False),
        (Or(BodyHas("x"), All()), True),
        (Or(HasFlag(Flag.DRAFT), Not(IsRecent())), False),
    ],
)
def test_columns_decide(key: SearchKey, expected: bool) -> None:
    assert Search(key, OPEN).on_columns(ROW) is expected


@pytest.mark.parametrize(
    ("key", "rest"),
    [
        (BodyHas("x"), BodyHas("x")),
        (And((All(), BodyHas("x"))), BodyHas("x")),
        (And((BodyHas("x"), All(), TextHas("y"))), And((BodyHas("x"), TextHas("y")))),
        (Not(Or(IsRecent(), BodyHas("x"))), False),
        (Not(And((IsRecent(), BodyHas("x")))), Not(BodyHas("x"))),
        (Or(Not(All()), BodyHas("x")), BodyHas("x")),
        (Or(BodyHas("x"), TextHas("y")), Or(BodyHas("x"), TextHas("y"))),
    ],
)
def test_columns_leave_what_they_cannot_decide(key: SearchKey, rest: bool | SearchKey) -> None:
    assert Search(key, OPEN).on_columns(ROW) == rest


def test_needs() -> None:
    search = Search(And((HasFlag(Flag.SEEN), Not(Larger(3)))), OPEN)
    assert (search.needs_measure, search.needs_content) == (True, False)
    search = Search(Or(All(), SentDay(DateOrder.ON, LEAP)), OPEN)
    assert (search.needs_measure, search.needs_content) == (False, True)


MESSAGE = (
    b"From: =?utf-8?q?J=C3=B6rg?= <joerg@example.org>\r\nSubject: Hello\r\n World\r\nSubject: twice\r\nX-Empty:\r\n"
    b"Date: Thu, 29 Feb 2024 23:59:59 -0800\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\nin the preamble\r\n"
    b"--b\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    b"Gr=FC=\r\n=DFe an alle\r\n"
    b"--b\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    + base64.b64encode("<b>Straße</b>".encode())
    + b"\r\n--b\r\nContent-Type: application/x\r\n\r\nattached\r\n"
    b"--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: =?utf-8?q?inne?= =?utf-8?q?res?=\r\n\r\n"
    b"forwarded text\r\n--b--\r\n"
)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (HeaderHas(b"from", "jörg"), True),
        (HeaderHas(b"FROM", "JÖRG <"), True),
        (HeaderHas(b"subject", "hello world"), True),
        (HeaderHas(b"subject", "TWICE"), True),
        (HeaderHas(b"subject", "joerg"), False),
        (HeaderHas(b"x-empty", ""), True),
        (HeaderHas(b"x-absent", ""), False),
        (BodyHas("grüsse an"), True),
        (BodyHas("GRÜßE"), True),
        (BodyHas("strasse"), True),
        (BodyHas("attached"), False),
        (BodyHas("inneres"), True),
        (BodyHas("Forwarded Text"), True),
        (BodyHas("hello"), False),
        (BodyHas(""), True),
        (TextHas("hello world"), True),
        (TextHas("an alle"), True),
        (TextHas("nowhere"), False),
        (SentDay(DateOrder.ON, LEAP), True),
        (SentDay(DateOrder.BEFORE, LEAP), False),
        (Not(BodyHas("x y z")), True),
        (And((BodyHas("alle"), HeaderHas(b"subject", "hello"))), True),
        (Or(BodyHas("x y z"), HeaderHas(b"to", "")), False),
    ],
)
def test_content_decides(key: SearchKey, expected: bool) -> None:
    assert matches(key, MESSAGE) is expected


@pytest.mark.parametrize("charset", [b"utf-8", b"no-such-charset", b"us-ascii", b"utf-7", b"x\xff", b"hex"])
def test_a_find_across_the_windows_of_a_large_part(charset: bytes) -> None:
    head = b"Content-Type: text/plain; charset=" + charset + b"\r\n\r\n"
    for shift in range(0, 8, 3):
        data = head + b"x" * (WINDOW - shift) + b"Needle" + b"y" * WINDOW
        assert matches(BodyHas("nEEDLE"), data)
        assert not matches(BodyHas("needless"), data)


def test_a_find_in_a_large_base64_part() -> None:
    text = ("ä" * WINDOW + "Größe" + "ö" * WINDOW).encode()
    data = b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(
        text
    )
    assert matches(BodyHas("grösse"), data)
    assert not matches(BodyHas("grosses"), data)


def test_a_find_far_into_a_message_that_fits_memory() -> None:
    data = b"\r\n" + b"x" * (WINDOW // 2 - 3) + b"needle"
    assert matches(Or(BodyHas("no"), BodyHas("needle")), data)


@pytest.mark.parametrize(
    ("raw", "day"),
    [
        (b" Thu, 29 Feb 2024 23:59:59 -0800", LEAP),
        (b"1 Jan 99 00:00", date(1999, 1, 1)),
        (b"1 january 05", date(2005, 1, 1)),
        (b"1 Jan 105", date(2005, 1, 1)),
        (b"17-Jul-1996 02:44:25", date(1996, 7, 17)),
        (b"30 Feb 2024", None),
        (b"1 Foo 2024", None),
        (b"", None),
    ],
)
def test_sent_days(raw: bytes, day: date | None) -> None:
    assert sent_day(raw) == day


def keys() -> st.SearchStrategy[SearchKey]:
    leaves = st.sampled_from([All(), HasFlag(Flag.SEEN), HasFlag(Flag.DRAFT), BodyHas("alle"), BodyHas("zzz")])
    return st.recursive(
        leaves,
        lambda inside: st.one_of(
            st.builds(Not, inside),
            st.builds(Or, inside, inside),
            st.lists(inside, max_size=3).map(lambda several: And(tuple(several))),
        ),
        max_leaves=8,
    )


def directly(key: SearchKey) -> bool:
    match key:
        case And(inside):
            return all(directly(part) for part in inside)
        case Or(left, right):
            return directly(left) or directly(right)
        case Not(inside):
            return not directly(inside)
        case HasFlag(flag):
            return flag is Flag.SEEN
        case BodyHas(text):
            return text == "alle"
    return True


@given(keys())
def test_two_stages_say_the_same_as_one(key: SearchKey) -> None:
    verdict = Search(key, OPEN).on_columns(ROW)
    assert (verdict if isinstance(verdict, bool) else matches(verdict, MESSAGE)) is directly(key)


@pytest.mark.skipif(not ODD, reason="the folder of odd messages is not there")
@pytest.mark.parametrize("path", ODD, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_odd_messages(path: Path) -> None:
    data = re.sub(rb"\r?\n", b"\r\n", path.read_bytes())
    assert not matches(Or(TextHas("no such text in any message"), HeaderHas(b"subject", "\0")), data)
    assert matches(Not(And((BodyHas("\0\0\0"), SentDay(DateOrder.SINCE, LEAP)))), data)
