from __future__ import annotations

import base64
import os
import re
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred

from mailstack.errors import BadSyntax, FramingLost
from mailstack.imap import fetch
from mailstack.imap.core.fetch import TOGETHER, grouped
from mailstack.imap.fetch import Slice, Trouble
from mailstack.imap.wire.encode import FlagLists
from mailstack.imap.wire.values import (
    BinarySection,
    BinarySize,
    BodySection,
    FetchAtt,
    FetchItem,
    Partial,
    Section,
    SectionText,
)
from mailstack.mail import mime
from mailstack.ports import MEMORY_LIMIT, Flag

CORPUS = Path(os.environ.get("MAILSTACK_CORPUS", Path(__file__).parents[2] / "../shared/corpus"))
ODD = sorted(CORPUS.glob("*/*.eml"))

PLAIN = b"Subject: hi\r\nX-A: 1\r\n\r\nbody\r\n"
INNER = b"Subject: inner\r\nContent-Type: multipart/mixed; boundary=i\r\n\r\n"
INNER += b"--i\r\n\r\nfirst\r\n--i\r\n\r\nsecond\r\n--i--\r\n"
MIXED = (
    b"Subject: outer\r\nContent-Type: multipart/mixed; boundary=o\r\n\r\n"
    b"--o\r\nContent-Type: text/plain\r\n\r\none\r\n"
    b"--o\r\nContent-Type: message/rfc822\r\n\r\n" + INNER + b"\r\n"
    b"--o\r\nContent-Type: message/rfc822\r\n\r\nSubject: single\r\n\r\nalone\r\n"
    b"--o\r\nContent-Transfer-Encoding: base64\r\n\r\naGVs\r\nbG8=\r\n"
    b"--o\r\nContent-Transfer-Encoding: x-odd\r\n\r\n???\r\n--o--\r\n"
)


def section(text: str, fields: tuple[bytes, ...] = ()) -> Section:
    numbers = re.match(r"[\d.]*", text)
    assert numbers is not None
    part = tuple(int(number) for number in numbers[0].split(".") if number)
    return Section(part, SectionText(text[numbers.end() :]), fields)


def render(data: bytes, *items: FetchItem) -> bytes:
    pieces = fetch.plan(items).render(data)
    assert all(isinstance(piece, bytes) for piece in pieces)
    return b"".join(piece for piece in pieces if isinstance(piece, bytes))


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("", MIXED),
        ("HEADER", MIXED[: MIXED.index(b"--o")]),
        ("TEXT", MIXED[MIXED.index(b"--o") :]),
        ("1", b"one"),
        ("1.MIME", b"Content-Type: text/plain\r\n\r\n"),
        ("1.HEADER", None),
        ("1.1", None),
        ("2", INNER),
        ("2.HEADER", INNER[: INNER.index(b"--i")]),
        ("2.TEXT", INNER[INNER.index(b"--i") :]),
        ("2.MIME", b"Content-Type: message/rfc822\r\n\r\n"),
        ("2.2", b"second"),
        ("2.1.MIME", b"\r\n"),
        ("2.3", None),
        ("3.1", b"alone"),
        ("3.HEADER", b"Subject: single\r\n\r\n"),
        ("3.1.1", None),
        ("4", b"aGVs\r\nbG8="),
        ("9", None),
        ("99999999999", None),
    ],
)
def test_sections(spec: str, expected: bytes | None) -> None:
    value = b"NIL" if expected is None else b"{%d}\r\n%b" % (len(expected), expected)
    assert render(MIXED, BodySection(section(spec), peek=True)) == b"BODY[%b] %b" % (spec.encode(), value)


def test_a_plain_message_has_part_one() -> None:
    assert render(PLAIN, BodySection(section("1"))) == b"BODY[1] {6}\r\nbody\r\n"
    assert render(PLAIN, BodySection(section("1.1"))) == b"BODY[1.1] NIL"
    assert render(PLAIN, BodySection(section("1.MIME"))) == b"BODY[1.MIME] {23}\r\nSubject: hi\r\nX-A: 1\r\n\r\n"


def test_header_fields() -> None:
    some = BodySection(section("HEADER.FIELDS", (b"subject", b"x y")))
    assert render(PLAIN, some) == b'BODY[HEADER.FIELDS (subject "x y")] {15}\r\nSubject: hi\r\n\r\n'
    others = BodySection(section("2.HEADER.FIELDS.NOT", (b"Content-type",)))
    assert render(MIXED, others) == b"BODY[2.HEADER.FIELDS.NOT (Content-type)] {18}\r\nSubject: inner\r\n\r\n"
    part = BodySection(section("HEADER.FIELDS", (b"Subject",)), Partial(3, 4))
    assert render(PLAIN, part) == b"BODY[HEADER.FIELDS (Subject)]<3> {4}\r\nject"


@pytest.mark.parametrize(
    ("partial", "expected"),
    [
        (Partial(0, 4), b"<0> {4}\r\nbody"),
        (Partial(2, 1000), b"<2> {4}\r\ndy\r\n"),
        (Partial(6, 1), b'<6> ""'),
        (Partial(10**12, 1), b'<1000000000000> ""'),
    ],
)
def test_partials(partial: Partial, expected: bytes) -> None:
    assert render(PLAIN, BodySection(section("TEXT"), partial)) == b"BODY[TEXT]" + expected


def test_the_items_of_rfc_3501() -> None:
    found = render(PLAIN, FetchAtt.RFC822, FetchAtt.RFC822_HEADER, FetchAtt.RFC822_TEXT)
    assert found == b"RFC822 {29}\r\n%b RFC822.HEADER {23}\r\n%b RFC822.TEXT {6}\r\nbody\r\n" % (PLAIN, PLAIN[:23])


def test_structure_and_envelope_in_the_order_asked_for() -> None:
    found = render(PLAIN, FetchAtt.BODY, FetchAtt.ENVELOPE, FetchAtt.BODYSTRUCTURE)
    nils = b" ".join([b"NIL"] * 8)
    assert found == (
        b'BODY ("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 6 1) ENVELOPE (NIL "hi" %b) '
        b'BODYSTRUCTURE ("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 6 1 NIL NIL NIL NIL)' % nils
    )


def test_binary() -> None:
    assert render(MIXED, BinarySection((4,))) == b"BINARY[4] {5}\r\nhello"
    assert render(MIXED, BinarySection((4,), Partial(1, 3))) == b"BINARY[4]<1> {3}\r\nell"
    assert render(MIXED, BinarySection((4,), Partial(5, 3))) == b'BINARY[4]<5> ""'
    assert render(MIXED, BinarySize((4,))) == b"BINARY.SIZE[4] 5"
    assert render(MIXED, BinarySection((8,))) == b"BINARY[8] NIL"
    assert render(PLAIN, BinarySection(())) == b"BINARY[] {29}\r\n" + PLAIN


def test_binary_with_nul_is_a_literal8() -> None:
    data = b"Content-Transfer-Encoding: base64\r\n\r\n" + base64.b64encode(b"a\0b") + b"\r\n"
    assert render(data, BinarySection((1,))) == b"BINARY[1] ~{3}\r\na\0b"


def test_an_unknown_encoding_leaves_the_item_out() -> None:
    plan = fetch.plan([BinarySection((5,)), BinarySize((5,)), BodySection(section("5"))])
    assert plan.render(MIXED) == [b"BODY[5] {3}\r\n???", Trouble.UNKNOWN_CTE]


LARGE = b"Content-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(bytes(range(256)) * 2000).replace(
    b"\n", b"\r\n"
)


def test_a_large_section_is_a_slice() -> None:
    pieces = fetch.plan([FetchAtt.ENVELOPE, BodySection(section("TEXT")), BodySection(section("HEADER"))]).render(LARGE)
    text = LARGE[37:]
    assert pieces[1] == Slice(37, len(LARGE))
    assert pieces[0] == b"ENVELOPE (%b) BODY[TEXT] {%d}\r\n" % (b" ".join([b"NIL"] * 10), len(text))
    assert pieces[2] == b" BODY[HEADER] {37}\r\n" + LARGE[:37]


def test_many_sections_together_are_bounded() -> None:
    data = b"\r\n" + b"x" * MEMORY_LIMIT
    items = [BodySection(section("TEXT"), Partial(offset, MEMORY_LIMIT)) for offset in range(9)]
    pieces = fetch.plan(items).render(data)
    assert sum(len(piece) for piece in pieces if isinstance(piece, bytes)) < fetch.INLINE_LIMIT + 1000
    assert sum(isinstance(piece, Slice) for piece in pieces) == 7


class OneMessage:
    """Stands in for a Connection and a Mailbox."""

    def __init__(self, data: bytes | None) -> None:
        self.data = data
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data

    async def drain(self) -> None:
        assert len(self.written) < 2_000_000

    async def read(self, uid: int, start: int, end: int) -> bytes | None:
        assert end - start <= MEMORY_LIMIT
        return None if self.data is None else self.data[start:end]


@pytest.mark.parametrize("partial", [None, Partial(1000, 300_000), Partial(500_000, 300_000)])
def test_a_large_binary_is_decoded_while_it_is_sent(partial: Partial | None) -> None:
    head, piece = fetch.plan([BinarySection((1,), partial)]).render(LARGE)
    plain = bytes(range(256)) * 2000
    if partial is not None:
        plain = plain[partial.offset : partial.offset + partial.length]
    assert isinstance(head, bytes)
    assert isinstance(piece, Slice)
    assert head.endswith(b" ~{%d}\r\n" % len(plain))
    both = OneMessage(LARGE)
    Deferred.fromCoroutine(fetch.send_slice(both, both, 1, piece))  # type: ignore[arg-type]
    assert both.written == plain


def test_the_size_of_a_large_binary() -> None:
    assert render(LARGE, BinarySize((1,))) == b"BINARY.SIZE[1] 512000"


def test_a_message_that_vanishes_half_way() -> None:
    both = OneMessage(None)
    gone = Deferred.fromCoroutine(fetch.send_slice(both, both, 1, Slice(0, 10)))  # type: ignore[arg-type]
    failures: list[object] = []
    gone.addErrback(lambda failure: failures.append(failure.trap(FramingLost)))
    assert failures == [FramingLost]


def test_what_a_plan_needs() -> None:
    plan = fetch.plan([FetchAtt.UID, FetchAtt.FLAGS, FetchAtt.UID])
    assert (plan.needs_content, plan.needs_measure, plan.sets_seen) == (False, False, False)
    plan = fetch.plan([FetchAtt.RFC822_SIZE, FetchAtt.RFC822_HEADER, BodySection(section(""), peek=True)])
    assert (plan.needs_content, plan.needs_measure, plan.sets_seen) == (True, True, False)
    for item in (FetchAtt.RFC822, FetchAtt.RFC822_TEXT, BodySection(section("1")), BinarySection((1,))):
        assert fetch.plan([item]).sets_seen


def test_too_many_items_are_refused() -> None:
    with pytest.raises(BadSyntax, match="at most 250 different data items"):
        fetch.plan([BodySection(Section((number,))) for number in range(1, fetch.MAX_ITEMS + 2)])


def test_columns() -> None:
    plan = fetch.plan([FetchAtt.FLAGS, FetchAtt.UID, FetchAtt.RFC822_SIZE, FetchAtt.INTERNALDATE])
    names = FlagLists(["$Junk"])
    expected = b'* 1 FETCH (FLAGS (\\Seen) UID 7 RFC822.SIZE 99 INTERNALDATE " 1-Jan-1970 00:00:00 +0000"'
    assert plan.render_column(1, 7, names[Flag.SEEN], 99, 0.0) == expected
    assert plan.render_columns([1], [7], [Flag.SEEN], [99], [0.0], names=names) == expected + b")\r\n"
    plan = fetch.plan([FetchAtt.UID])
    assert plan.render_columns([1, 2], [7, 9], names=names) == b"* 1 FETCH (UID 7)\r\n* 2 FETCH (UID 9)\r\n"


def numbers_of(part: mime.Part, prefix: tuple[int, ...]) -> list[tuple[int, ...]]:
    inside = part.children
    if part.message is not None:
        inside = part.message.children or (part.message,)
    own = [(*prefix, number) for number in range(1, len(inside) + 1)]
    return own + [deeper for number, child in zip(own, inside, strict=True) for deeper in numbers_of(child, number)]


@pytest.mark.skipif(not ODD, reason="the folder of odd messages is not there")
@pytest.mark.parametrize("path", ODD, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_everything_of_odd_messages(path: Path) -> None:
    data = re.sub(rb"\r?\n", b"\r\n", path.read_bytes())
    items: list[FetchItem] = [att for att in FetchAtt if att not in fetch.plan([*FetchAtt]).columns]
    for numbers in [(), (1,), *numbers_of(mime.scan(data), ())]:
        for text in SectionText:
            if numbers or text is not SectionText.MIME:
                items.append(BodySection(Section(numbers, text, (b"Subject",) if "FIELDS" in text.value else ())))
        items += [BinarySection(numbers), BinarySize(numbers)]
    for start in range(0, len(items), fetch.MAX_ITEMS):
        for utf8 in (False, True):
            assert fetch.plan(items[start : start + fetch.MAX_ITEMS], utf8=utf8).render(data)


def test_small_messages_go_together_and_others_by_themselves() -> None:
    large: list[fetch.Piece] = [b"x", fetch.Slice(0, 1), b"y"]
    half = b"z" * (TOGETHER // 2)
    rendered: list[list[fetch.Piece] | None] = [[b"a"], None, [b"b"], large, [b""], [half], [half], [b"c"], []]
    assert list(grouped(range(1, 10), rendered)) == [
        {1: b"a", 3: b"b"},
        (4, large),
        (5, [b""]),
        {6: half, 7: half},
        {8: b"c"},
        (9, []),
    ]
