from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from mailstack.imap.search import AT_ONCE, Searched, search
from mailstack.imap.search_content import WINDOW, sent_day, verdict
from mailstack.imap.search_keys import ColumnKey, ContentKey, Message, Rows
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
from mailstack.ports import Flag, Flags, Octets
from mailstack.testing.store import MemoryAccountStore, MemoryMailbox

CORPUS = Path(os.environ.get("MAILSTACK_CORPUS", Path(__file__).parents[2] / "../shared/corpus"))
ODD = sorted(CORPUS.glob("*/*.eml"))

LEAP = date(2024, 2, 29)


def searched(key: SearchKey, box: MemoryMailbox, *, recent: Collection[int] = (), now: float = 0.0) -> list[int]:
    async def turn() -> None:
        turns.append(None)

    turns: list[None] = []
    found: list[list[int]] = []
    where = Searched(box, box.uids, recent)
    Deferred.fromCoroutine(search(key, where, now, turn)).addCallback(found.append)
    return found[0]


def box_with(count: int) -> MemoryMailbox:
    """UIDs 1 to `count`, each message of its UID's length, and a day older than the next."""
    account = MemoryAccountStore()
    box = account.boxes["INBOX"]
    for uid in range(1, count + 1):
        box.insert(b"\r\n" + b"x" * (uid - 2), 0, 1709251199.0 - 86400 * (count - uid))
    return box


def flagged() -> MemoryMailbox:
    """Ten messages with UIDs 1, 3 … 19."""
    box = box_with(20)
    for uid in range(2, 21, 2):
        del box.messages[uid]
    box._uids = None
    bits = box.bits(Flags(Flag.SEEN, frozenset({"$Junk", "done"})))
    box.messages[3].flags, box.messages[5].flags, box.messages[19].flags = bits, int(Flag.SEEN), int(Flag.DRAFT)
    return box


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (All(), [1, 3, 5, 7, 9, 11, 13, 15, 17, 19]),
        (InSequence(((1, 2), (5, 5))), [1, 3, 9]),
        (InSequence(((3, 2),)), [3, 5]),
        (InSequence(((STAR, 9),)), [17, 19]),
        (InSequence(((STAR, STAR),)), [19]),
        (InSequence(((11, 40), (2, 2), (1, 3))), [1, 3, 5]),
        (InSequence(((8, 40),)), [15, 17, 19]),
        (InUids(((3, 3), (4, 8))), [3, 5, 7]),
        (InUids(((2, 2), (60, STAR))), [19]),
        (InUids(((16, 500_000_000), (7, 7))), [7, 17, 19]),
        (InUids(()), []),
        (HasFlag(Flag.SEEN), [3, 5]),
        (HasFlag(Flag.DRAFT), [19]),
        (HasFlag(Flag.DELETED), []),
        (HasKeyword("DONE"), [3]),
        (HasKeyword("$junk"), [3]),
        (HasKeyword("unknown"), []),
        (IsRecent(), [1, 17]),
        (InternalDay(DateOrder.ON, LEAP - timedelta(3)), [17]),
        (InternalDay(DateOrder.SINCE, LEAP - timedelta(3)), [17, 19]),
        (InternalDay(DateOrder.SINCE, LEAP), []),
        (InternalDay(DateOrder.BEFORE, LEAP - timedelta(17)), [1]),
        (InternalDay(DateOrder.BEFORE, date(1, 1, 1)), []),
        (InternalDay(DateOrder.ON, date(1, 1, 1)), []),
        (InternalDay(DateOrder.SINCE, date(9999, 12, 31)), []),
        (Larger(16), [17, 19]),
        (Larger(17), [19]),
        (Smaller(3), [1]),
        (Smaller(4), [1, 3]),
        (Not(Not(All())), [1, 3, 5, 7, 9, 11, 13, 15, 17, 19]),
        (Not(HasFlag(Flag.SEEN)), [1, 7, 9, 11, 13, 15, 17, 19]),
        (And(()), [1, 3, 5, 7, 9, 11, 13, 15, 17, 19]),
        (And((All(), HasFlag(Flag.DRAFT), BodyHas("x"))), [19]),
        (And((HasFlag(Flag.DELETED), BodyHas("x"))), []),
        (Or(BodyHas("xxxxxxxxxxxxxxxxx"), InUids(((1, 5),))), [1, 3, 5, 19]),
        (Or(HasFlag(Flag.DRAFT), Not(IsRecent())), [3, 5, 7, 9, 11, 13, 15, 19]),
    ],
)
def test_keys(key: SearchKey, expected: list[int]) -> None:
    assert searched(key, flagged(), recent={1, 17}) == expected


def test_the_days_of_dates_that_internaldate_cannot_show() -> None:
    box = box_with(2)
    box.messages[1].internal_date, box.messages[2].internal_date = -86401.0, 253402300800.0
    assert searched(InternalDay(DateOrder.ON, date(1970, 1, 1)), box) == [1]
    assert searched(InternalDay(DateOrder.BEFORE, date(1970, 1, 1)), box) == []
    assert searched(InternalDay(DateOrder.SINCE, date(1969, 1, 1)), box) == [1, 2]
    assert searched(InternalDay(DateOrder.ON, date.max), box) == [2]
    assert searched(InternalDay(DateOrder.BEFORE, date.max), box) == [1]


@pytest.mark.parametrize("key", [All(), InSequence(((1, STAR),)), InUids(((STAR, STAR),)), Not(All())])
def test_an_empty_mailbox(key: SearchKey) -> None:
    assert searched(key, box_with(0)) == []


def test_octets_are_not_read_in_vain() -> None:
    box = flagged()
    read: list[int] = []

    async def examine(uids: Sequence[int], fn: Callable[[Octets], object]) -> list[object]:
        read.extend(uids)
        return [fn(box.messages[uid].octets) for uid in uids]

    box.examine = examine  # type: ignore[method-assign, assignment]
    assert searched(Or(HasFlag(Flag.SEEN), And((InUids(((17, 19),)), BodyHas("x" * 17)))), box) == [3, 5, 19]
    assert read == [17, 19]


def test_a_message_that_vanishes_while_it_is_searched_does_not_match() -> None:
    box = flagged()
    uids = box.uids
    del box.messages[5], box.messages[7]
    box._uids = uids
    assert searched(InSequence(((2, 4),)), box) == [3]


def test_many_messages_and_many_ranges() -> None:
    box = box_with(AT_ONCE * 2 + 3)
    last = AT_ONCE * 2 + 3
    assert searched(InUids(tuple((uid, uid) for uid in range(last, 0, -2))), box) == list(range(1, last + 1, 2))
    assert searched(InSequence(((AT_ONCE, AT_ONCE + 1), (STAR, STAR))), box) == [AT_ONCE, AT_ONCE + 1, last]


class Odd(ColumnKey):
    """Messages of odd size, at an odd second."""

    measures = True

    def decide(self, rows: Rows) -> Iterable[bool]:
        return (size % 2 == 1 and rows.now % 2 == 1 for size in rows.columns.sizes)


class Short(ContentKey):
    def matches(self, message: Message) -> bool:
        return len(message.octets) < 5 and not message.body_has("xx") and not message.fields()


def test_keys_of_extensions() -> None:
    box = box_with(8)
    assert searched(Odd(), box, now=3.0) == [3, 5, 7]
    assert searched(Odd(), box, now=2.0) == []
    assert searched(Short(), box) == [1, 2, 3]
    assert searched(Not(Or(Short(), Odd())), box, now=1.0) == [4, 6, 8]


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
    assert verdict(key, MESSAGE) is expected


INSIDE = (
    b"Subject: folded\r\n\tby a tab\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
    b"Content-Type: image/png;\r\n\tname=cat.png\r\n\r\nx\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n"
    b"Content-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\nContent-Type: application/pdf\r\n\r\nx\r\n"
    b"--c--\r\n--b--\r\n"
)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (HeaderHas(b"subject", "folded by a tab"), True),
        (HeaderHas(b"subject", "folded\tby"), True),
        (HeaderHas(b"subject", "foldedby"), False),
        (TextHas("folded by a tab"), True),
        (TextHas("image/png; name=cat.png"), True),
        (TextHas("application/pdf"), True),
        (BodyHas("cat.png"), False),
        (BodyHas("application/pdf"), False),
    ],
)
def test_headers_are_read_unfolded_and_text_is_in_those_of_parts_too(key: SearchKey, expected: bool) -> None:
    assert verdict(key, INSIDE) is expected


@pytest.mark.parametrize("charset", [b"utf-8", b"no-such-charset", b"us-ascii", b"utf-7", b"x\xff", b"hex"])
def test_a_find_across_the_windows_of_a_large_part(charset: bytes) -> None:
    head = b"Content-Type: text/plain; charset=" + charset + b"\r\n\r\n"
    for shift in range(0, 8, 3):
        data = head + b"x" * (WINDOW - shift) + b"Needle" + b"y" * WINDOW
        assert verdict(BodyHas("nEEDLE"), data)
        assert not verdict(BodyHas("needless"), data)


def test_a_find_in_a_large_base64_part() -> None:
    text = ("ä" * WINDOW + "Größe" + "ö" * WINDOW).encode()
    data = b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(
        text
    )
    assert verdict(BodyHas("grösse"), data)
    assert not verdict(BodyHas("grosses"), data)


def test_a_find_far_into_a_message_that_fits_memory() -> None:
    data = b"\r\n" + b"x" * (WINDOW // 2 - 3) + b"needle"
    assert verdict(Or(BodyHas("no"), BodyHas("needle")), data)


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


def directly(key: SearchKey, first: bool) -> bool:
    match key:
        case And(inside):
            return all(directly(part, first) for part in inside)
        case Or(left, right):
            return directly(left, first) or directly(right, first)
        case Not(inside):
            return not directly(inside, first)
        case HasFlag(flag):
            return first and flag is Flag.SEEN
        case BodyHas(text):
            return text == ("alle" if first else "zzz")
    return True


@given(keys())
def test_two_stages_say_the_same_as_one(key: SearchKey) -> None:
    box = MemoryAccountStore().boxes["INBOX"]
    box.insert(MESSAGE, int(Flag.SEEN))
    box.insert(b"\r\nzzz")
    assert searched(key, box) == [uid for uid in (1, 2) if directly(key, uid == 1)]


@pytest.mark.skipif(not ODD, reason="the folder of odd messages is not there")
@pytest.mark.parametrize("path", ODD, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_odd_messages(path: Path) -> None:
    data = re.sub(rb"\r?\n", b"\r\n", path.read_bytes())
    assert not verdict(Or(TextHas("no such text in any message"), HeaderHas(b"subject", "\0")), data)
    assert verdict(Not(And((BodyHas("\0\0\0"), SentDay(DateOrder.SINCE, LEAP)))), data)
