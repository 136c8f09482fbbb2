"""Framing: the same result however the octets are cut, and no end of data but the true one."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstack.errors import FramingLost
from mailstack.smtp.wire.framing import MAX_LINE, TOO_LONG, Framer, TooLong

Result = tuple[bytes, bool, bytes, bool]


def pieces(octets: bytes, cuts: list[int]) -> list[bytes]:
    borders = [0, *sorted(cuts), len(octets)]
    return [octets[a:b] for a, b in zip(borders, borders[1:], strict=False)]


def read_data(parts: list[bytes]) -> Result:
    """Mail data, whether it ended, what is left in the buffer, whether newlines were bare."""
    framer = Framer()
    framer.begin_data()
    out, rest, ended = [], [], False
    for part in parts:
        if ended:
            rest.append(part)
            continue
        framer.feed(part)
        while (chunk := framer.next_data()) is not None:
            out.append(chunk.data)
            if chunk.last:
                ended = True
                rest.append(framer._buffer[framer._position :])
                break
    return b"".join(out), ended, b"".join(rest), framer.bare_newline


def plainly(octets: bytes) -> Result:
    """What RFC 5321 §4.5.2 says, without any streaming."""
    body, end, rest = (b"\r\n" + octets).partition(b"\r\n.\r\n")
    assert end
    body += b"\r\n"
    body = body.replace(b"\r\n.", b"\r\n")[2:]
    normal = re.sub(rb"\r\n|\r|\n", b"\r\n", body)
    return normal, True, rest, normal != body


@pytest.mark.parametrize(
    ("octets", "data"),
    [
        (b".\r\n", b""),
        (b"\r\n.\r\n", b"\r\n"),
        (b"a\r\n.\r\n", b"a\r\n"),
        (b"..\r\n.\r\n", b".\r\n"),
        (b".a\r\n.\r\n", b"a\r\n"),
        (b"a\r\n..\r\n...\r\n.\r\n", b"a\r\n.\r\n..\r\n"),
        (b"a\nb\r\n.\r\n", b"a\r\nb\r\n"),
        (b"a\rb\r\n.\r\n", b"a\r\nb\r\n"),
        (b"\n.\r\n.\r\n", b"\r\n.\r\n"),
    ],
)
def test_data(octets: bytes, data: bytes) -> None:
    assert read_data([octets + b"NOOP\r\n"])[:3] == (data, True, b"NOOP\r\n")


SMUGGLED = [
    b"\n.\n",
    b"\r.\r",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r\n.\r",
    b"\r.\r\n",
    b"\n.\r",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
    b"\r\r\n.\r\r\n",
    b"\r\n..\r\n",
]


@pytest.mark.parametrize("trick", SMUGGLED)
def test_nothing_but_crlf_dot_crlf_ends_mail_data(trick: bytes) -> None:
    octets = b"Subject: x\r\n\r\nhello" + trick + b"MAIL FROM:<evil@example.com>\r\n"
    whole = octets + b".\r\n"
    data, ended, rest, bare = read_data([whole])
    assert ended and rest == b""
    assert data.endswith(b"MAIL FROM:<evil@example.com>\r\n")
    assert b"\r" not in data.replace(b"\r\n", b"") and b"\n" not in data.replace(b"\r\n", b"")
    for cut in range(len(whole)):
        assert read_data([whole[:cut], whole[cut:]]) == (data, ended, rest, bare)


octet_soup = st.lists(st.sampled_from([b"\r", b"\n", b".", b"a", b"\r\n", b"\r\n.", b"bc", b"\xff"]), max_size=25).map(
    b"".join
)


@given(octet_soup, st.lists(st.integers(0, 80), max_size=12))
def test_cut_anywhere_the_data_is_the_same(soup: bytes, cuts: list[int]) -> None:
    octets = soup + b"\r\n.\r\nQUIT\r\n"
    assert read_data(pieces(octets, [min(cut, len(octets)) for cut in cuts])) == plainly(octets)


@given(octet_soup)
def test_octet_by_octet(soup: bytes) -> None:
    octets = soup + b"\r\n.\r\nQUIT\r\n"
    assert read_data([octets[i : i + 1] for i in range(len(octets))]) == plainly(octets)


def test_a_long_line_flows_through() -> None:
    framer = Framer()
    framer.begin_data()
    total = 0
    for _ in range(100):
        framer.feed(b"x" * 65536)
        chunk = framer.next_data()
        assert chunk is not None and not chunk.last
        total += len(chunk.data)
        assert framer.next_data() is None
        assert len(framer._buffer) - framer._position <= 4
    assert total == 100 * 65536


def read_bdat(chunks: list[bytes], cut: int | None = None) -> tuple[bytes, bool]:
    framer = Framer()
    out = []
    for number, octets in enumerate(chunks):
        framer.begin_bdat(len(octets), first=number == 0, last=number == len(chunks) - 1)
        last = False
        for part in pieces(octets + b"NOOP\r\n", [] if cut is None else [min(cut, len(octets))]):
            framer.feed(part)
            while not last and (chunk := framer.next_data()) is not None:
                out.append(chunk.data)
                last = chunk.last
        assert last and framer.next_line() == b"NOOP"
    return b"".join(out), framer.bare_newline


@pytest.mark.parametrize(
    ("chunks", "data", "bare"),
    [
        ([b"a\r\n"], b"a\r\n", False),
        ([b""], b"", False),
        ([b"a\r", b"\nb\r\n"], b"a\r\nb\r\n", False),
        ([b"a\r", b"b\r\n"], b"a\r\nb\r\n", True),
        ([b"a\r", b"", b"\n"], b"a\r\n", False),
        ([b"a\r", b""], b"a\r\n", True),
        ([b"a\n.\r\nb\r\n", b".\r\n"], b"a\r\n.\r\nb\r\n.\r\n", True),
        ([b"no newline at the end"], b"no newline at the end", False),
        ([b"\r\r", b"\n\n"], b"\r\n\r\n\r\n", True),
    ],
)
def test_bdat(chunks: list[bytes], data: bytes, bare: bool) -> None:
    assert read_bdat(chunks) == (data, bare)
    for cut in range(8):
        assert read_bdat(chunks, cut) == (data, bare)


def read_lines(parts: list[bytes]) -> list[bytes | TooLong | None]:
    framer, lines = Framer(), []
    for part in parts:
        framer.feed(part)
        try:
            while (line := framer.next_line()) is not None:
                lines.append(line)
        except FramingLost:
            return [*lines, None]
    return lines


@given(
    st.lists(st.sampled_from([b"\r\n", b"a", b"\r", b"x" * 9000, b"\n"]), max_size=8).map(b"".join),
    st.lists(st.integers(0, 40000), max_size=6),
)
def test_cut_anywhere_the_lines_are_the_same(octets: bytes, cuts: list[int]) -> None:
    assert read_lines(pieces(octets, [min(cut, len(octets)) for cut in cuts])) == read_lines([octets])


def test_lines() -> None:
    assert read_lines([b"EHLO x\r\n\r\nMAIL"]) == [b"EHLO x", b""]
    assert read_lines([b"a\rb\r\n"]) == [b"a\rb"]


def test_too_long_a_line_and_back_in_step() -> None:
    assert read_lines([b"x" * MAX_LINE + b"\r\nNOOP\r\n"]) == [b"x" * MAX_LINE, b"NOOP"]
    assert read_lines([b"x" * (MAX_LINE + 1) + b"\r\nNOOP\r\n"]) == [TOO_LONG, b"NOOP"]
    assert read_lines([b"x" * 9999] * 20 + [b"\r\nNOOP\r\n"]) == [TOO_LONG, b"NOOP"]


def test_an_endless_line_is_not_kept() -> None:
    framer = Framer()
    for _ in range(1000):
        framer.feed(b"x" * 10000)
        assert framer.next_line() is None
    assert len(framer._buffer) <= 10001


@pytest.mark.parametrize("octets", [b"QUIT\n", b"\n", b"MAIL FROM:<a@b>\nDATA\r\n"])
def test_a_bare_line_feed_in_commands_loses_the_framing(octets: bytes) -> None:
    assert read_lines([octets]) == [None]


def test_clear_forgets() -> None:
    framer = Framer()
    framer.feed(b"STARTTLS\r\nMAIL FROM:<evil@example.com>\r\nRC")
    assert framer.next_line() == b"STARTTLS"
    framer.clear()
    assert framer.is_empty and framer.next_line() is None
    framer.feed(b"EHLO x\r\n")
    assert framer.next_line() == b"EHLO x"
