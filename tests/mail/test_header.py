from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from mailstack.mail import header

MESSAGE = b"Subject: one\r\n two\r\nX-A:1\r\nsubject : again\r\nnot a field\r\nTo: a@b\r\n\r\nbody\r\n\r\nmore"
HEADER = MESSAGE[: MESSAGE.index(b"body")]


def test_the_body_begins_after_the_first_blank_line() -> None:
    assert header.body_start(MESSAGE, 0, len(MESSAGE)) == len(HEADER)


def test_a_message_may_begin_with_its_body() -> None:
    assert header.body_start(b"\r\nbody", 0, 6) == 2


def test_without_a_blank_line_all_is_header() -> None:
    assert header.body_start(b"A: b\r\nC: d\r\n", 0, 12) == 12
    assert header.body_start(b"", 0, 0) == 0


def test_fields_know_their_place() -> None:
    found = list(header.fields(HEADER))
    assert [field.name for field in found] == [b"Subject", b"X-A", b"subject", b"To"]
    assert HEADER[found[0].start : found[0].end] == b"Subject: one\r\n two\r\n"
    assert HEADER[found[0].value : found[0].end] == b" one\r\n two\r\n"


def test_values_by_name_in_order() -> None:
    found = header.values(HEADER)
    assert [header.unfold(value) for value in found[b"subject"]] == [b"one two", b"again"]


def test_a_subset_keeps_octets_order_and_the_blank_line() -> None:
    assert header.subset(HEADER, {b"to", b"subject"}, exclude=False) == (
        b"Subject: one\r\n two\r\nsubject : again\r\nTo: a@b\r\n\r\n"
    )
    assert header.subset(HEADER, {b"to", b"subject"}, exclude=True) == b"X-A:1\r\nnot a field\r\n\r\n"


def test_a_subset_of_nothing_is_the_blank_line() -> None:
    assert header.subset(HEADER, {b"date"}, exclude=False) == b"\r\n"
    assert header.subset(b"\r\n", {b"date"}, exclude=True) == b"\r\n"


def test_a_header_without_blank_line_has_none_in_its_subset() -> None:
    assert header.subset(b"A: b\r\nC: d\r\n", {b"a"}, exclude=False) == b"A: b\r\n"


def test_no_more_fields_than_the_limit() -> None:
    many = b"A: b\r\n" * (header.MAX_FIELDS + 5)
    assert sum(1 for _ in header.fields(many)) == header.MAX_FIELDS


@given(st.lists(st.sampled_from([b"A", b":", b" ", b"\t", b"\r\n", b"\n", b"\r", b"To", b"\x00", b"\xff", b"--"])))
def test_subset_and_its_complement_have_every_octet(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    head = data[: header.body_start(data, 0, len(data))]
    inside = header.subset(head, {b"a"}, exclude=False)
    outside = header.subset(head, {b"a"}, exclude=True)
    blank = 2 if head.endswith(b"\r\n\r\n") or head == b"\r\n" else 0
    assert len(inside) + len(outside) == len(head) + blank


COMMON = (
    b"date", b"subject", b"from", b"sender", b"reply-to", b"to", b"cc", b"bcc", b"message-id", b"in-reply-to",
    b"references",
)  # fmt: skip
LINES = st.sampled_from(
    [
        b"To: a@b", b"tO : c", b"Cc:", b" folded", b"\tSubject: folded", b"Subject: x", b"From:y", b"X-To: z", b"To",
        b"", b":", b"In-Reply-To: <a@b>", b"References: <c>", b"Date: 1", b"Sender\t: s", b"To\r: odd", b"garbage",
        b"Message-ID:\r",
    ]
)  # fmt: skip


@given(st.lists(st.tuples(LINES, st.sampled_from([b"\r\n", b"\n", b"\r", b""]))), st.booleans())
def test_common_values_are_those_of_all_values(lines: list[tuple[bytes, bytes]], whole: bool) -> None:
    octets = b"".join([line + end for line, end in lines])
    head = octets[: header.body_start(octets, 0, len(octets))]
    expected = {
        name: [header.unfold(raw) for raw in found] for name, found in header.values(head).items() if name in COMMON
    }
    message = header.Headed(octets) if whole else octets
    for _ in range(2):
        found = header.common_values(message)
        assert {name: [header.unfold(raw) for raw in each] for name, each in found.items()} == expected


@given(st.lists(st.sampled_from([b"\r\n", b"\n", b"\r", b" ", b"\t", b"x", b"\r\n ", b"\r\n\t"])))
def test_unfolding_takes_out_line_ends_before_white_space(pieces: list[bytes]) -> None:
    value = b"".join(pieces)
    assert header.unfold(value) == re.sub(rb"\r?\n(?=[ \t])", b"", value.strip(b" \t\r\n"))
