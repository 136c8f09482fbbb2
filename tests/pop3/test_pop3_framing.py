"""Lines in, dot-stuffed messages out; however either is cut."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstack.errors import FramingLost
from mailstack.pop3.wire.framing import MAX_LINE, DotStuffing, Framer, asked_of, stuffed


def lines(pieces: list[bytes]) -> list[bytes]:
    framer, found = Framer(), list[bytes]()
    for piece in pieces:
        framer.feed(piece)
        while (line := framer.next_line()) is not None:
            found.append(line)
    return found


def cut(octets: bytes, cuts: list[int]) -> list[bytes]:
    borders = [0, *sorted(min(at, len(octets)) for at in cuts), len(octets)]
    return [octets[a:b] for a, b in zip(borders, borders[1:], strict=False)]


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (b"STAT\r\n", [b"STAT"]),
        (b"STAT\nQUIT\r\n", [b"STAT", b"QUIT"]),
        (b"\r\n\n", [b"", b""]),
        (b"a\0b\r\xff\r\n", [b"a\0b\r\xff"]),
        (b"STAT\r", []),
    ],
)
def test_lines(octets: bytes, expected: list[bytes]) -> None:
    assert lines([octets]) == expected
    assert lines([bytes([octet]) for octet in octets]) == expected


@given(
    st.lists(st.sampled_from([b"RETR 1", b"\r\n", b"\n", b"\r", b"\0", b".", b"\xff"])), st.lists(st.integers(0, 60))
)
def test_cuts_do_not_matter(parts: list[bytes], cuts: list[int]) -> None:
    octets = b"".join(parts)
    assert lines(cut(octets, cuts)) == lines([octets])


@pytest.mark.parametrize("step", [1, 1000, 10 * MAX_LINE])
def test_the_longest_line(step: int) -> None:
    longest = b"x" * (MAX_LINE - 2) + b"\r\n"
    assert lines([longest[at : at + step] for at in range(0, len(longest), step)]) == [longest[:-2]]
    too_long = b"x" * (MAX_LINE - 1) + b"\r\n"
    with pytest.raises(FramingLost):
        lines([too_long[at : at + step] for at in range(0, len(too_long), step)])


def test_nothing_is_left_after_clear() -> None:
    framer = Framer()
    framer.feed(b"STLS\r\nUSER evil\r\nPA")
    assert framer.next_line() == b"STLS"
    framer.clear()
    framer.feed(b"CAPA\r\n")
    assert framer.next_line() == b"CAPA"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"stat", ("STAT", "")),
        (b"PASS  two  spaces ", ("PASS", " two  spaces ")),
        (b"USER gr\xc3\xbc\xc3\x9fe", ("USER", "grüße")),
        (b"PASS \xff", ("PASS", "\udcff")),
        (b"", ("", "")),
    ],
)
def test_commands(line: bytes, expected: tuple[str, str]) -> None:
    assert asked_of(line) == expected


@pytest.mark.parametrize(
    ("message", "wire"),
    [
        (b"", b".\r\n"),
        (b"a\r\n", b"a\r\n.\r\n"),
        (b"a", b"a\r\n.\r\n"),
        (b".", b"..\r\n.\r\n"),
        (b".\r\n", b"..\r\n.\r\n"),
        (b"..a\r\n", b"...a\r\n.\r\n"),
        (b"a\r\n.b\r\n.\r\n", b"a\r\n..b\r\n..\r\n.\r\n"),
        (b"a.b\r\n\r\n.", b"a.b\r\n\r\n..\r\n.\r\n"),
        (b"\r\n", b"\r\n.\r\n"),
        (b"a\r", b"a\r\r\n.\r\n"),
    ],
)
def test_stuffing(message: bytes, wire: bytes) -> None:
    assert stuffed(message) == wire
    for at in range(len(message) + 1):
        stuffing = DotStuffing()
        assert stuffing.stuff(message[:at]) + stuffing.stuff(message[at:]) + stuffing.end() == wire, at


def unstuffed(wire: bytes) -> bytes:
    """What a client makes of a multi-line response (RFC 1939 §3), written in another way."""
    body, end = [], False
    for line in re.findall(rb".*?\r\n", wire, re.DOTALL):
        assert not end, "something behind the end"
        if line == b".\r\n":
            end = True
        else:
            body.append(line.removeprefix(b"."))
    assert end
    return b"".join(body)


@given(st.lists(st.sampled_from([b".", b"\r\n", b"a", b"\r\n.", b" "])), st.lists(st.integers(0, 40)))
def test_a_message_comes_back_however_it_is_cut(parts: list[bytes], cuts: list[int]) -> None:
    message = b"".join(parts)
    stuffing = DotStuffing()
    wire = b"".join([*map(stuffing.stuff, cut(message, cuts)), stuffing.end()])
    assert wire == stuffed(message)
    assert unstuffed(wire) == (message if message.endswith(b"\r\n") or not message else message + b"\r\n")
