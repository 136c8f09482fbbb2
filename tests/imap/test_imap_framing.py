"""Framing: the same commands however the octets are cut, and no literal's octet is ever a command."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstack.imap.wire.framing import (
    MAX_COMMAND,
    MAX_LINE,
    MAX_UNASKED,
    Command,
    Event,
    Framer,
    LiteralAnnounced,
    LiteralTooBig,
    Oversized,
)

SMALL = 100
"""Literals up to this are taken by `events`, larger ones refused."""


def tag(octets: bytes) -> bytes:
    return octets.split(b" ", 1)[0]


def events(pieces: list[bytes], small: int = SMALL) -> list[Event]:
    """What comes out when literals are taken as a session does. Of what is oversized only the tag
    counts: how much of it is kept depends on how it came."""
    framer, found = Framer(), list[Event]()
    for piece in pieces:
        framer.feed(piece)
        while (event := framer.next_event()) is not None:
            if isinstance(event, LiteralAnnounced):
                if event.size <= small:
                    framer.take()
                else:
                    began = framer.refuse(synchronising=event.synchronising)
                    event = replace(event, so_far=tag(began))
            found.append(Oversized(tag(event.octets)) if isinstance(event, Oversized) else event)
    return found


def commands(found: list[Event]) -> list[bytes]:
    return [event.octets for event in found if isinstance(event, Command)]


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (b"a NOOP\r\n", [Command(b"a NOOP")]),
        (b"a NOOP\n", [Command(b"a NOOP")]),
        (b"\r\n\r\n", [Command(b""), Command(b"")]),
        (b"a\0b\xff \r x\r\n", [Command(b"a\0b\xff \r x")]),
        (b"a NOOP\r\nb NOOP", [Command(b"a NOOP")]),
        (
            b"a LOGIN {3}\r\nbob {2+}\r\npw\r\n",
            [
                LiteralAnnounced(3, True, b"a LOGIN "),
                LiteralAnnounced(2, False, b"a LOGIN {3}\r\nbob "),
                Command(b"a LOGIN {3}\r\nbob {2+}\r\npw"),
            ],
        ),
        (
            b"a X ~{2+}\r\n\0\n\r\n",
            [LiteralAnnounced(2, False, b"a X ", binary=True), Command(b"a X ~{2+}\r\n\0\n")],
        ),
        (b"a X {0}\r\n\r\n", [LiteralAnnounced(0, True, b"a X "), Command(b"a X {0}\r\n")]),
        (b"a X {5}\r\nab", [LiteralAnnounced(5, True, b"a X ")]),
        (b"a X {} {x} {5} \r\n", [Command(b"a X {} {x} {5} ")]),
        (b"a X {99999999999999999999}\r\n", [Command(b"a X {99999999999999999999}")]),
    ],
)
def test_commands_and_literals(octets: bytes, expected: list[Event]) -> None:
    assert events([octets]) == expected
    assert events([bytes([octet]) for octet in octets]) == expected


def test_what_looks_like_a_command_in_a_literal_is_none() -> None:
    inside = b"b DELETE x\r\nc {3}\r\n"
    octets = b"a LOGIN {%d+}\r\n%b {1}\r\nx\r\nd NOOP\r\n" % (len(inside), inside)
    expected = [b"a LOGIN {%d+}\r\n%b {1}\r\nx" % (len(inside), inside), b"d NOOP"]
    for at in range(len(octets)):
        assert commands(events([octets[:at], octets[at:]])) == expected


@pytest.mark.parametrize("size", [SMALL + 1, 10 * SMALL])
def test_a_refused_literal_that_is_under_way_is_read_over(size: int) -> None:
    inside = (b"b DELETE x\r\n" * size)[:size]
    octets = b"a LOGIN {%d+}\r\n%b {3+}\r\nabc\r\nc NOOP\r\n" % (size, inside)
    expected = [LiteralAnnounced(size, False, b"a"), Oversized(b"a"), Command(b"c NOOP")]
    assert events([octets]) == expected
    assert events([bytes([octet]) for octet in octets]) == expected


def test_after_a_refused_literal_that_waits_comes_a_command() -> None:
    assert events([b"a LOGIN {101}\r\nb NOOP\r\n"]) == [LiteralAnnounced(101, True, b"a"), Command(b"b NOOP")]


def test_an_oversized_command_ends_where_its_client_waits() -> None:
    """A literal that waits for leave is never sent, so what comes next is a command."""
    octets = b"a X {101+}\r\n" + b"x" * 101 + b" {5}\r\nb NOOP\r\n"
    assert events([octets])[1:] == [Oversized(b"a"), Command(b"b NOOP")]


@pytest.mark.parametrize("step", [1, 7, 1000, MAX_LINE, 10 * MAX_LINE])
@pytest.mark.parametrize(("length", "fits"), [(MAX_LINE, True), (MAX_LINE + 1, False), (3 * MAX_LINE, False)])
def test_the_longest_line(step: int, length: int, fits: bool) -> None:
    if step == 1 and length > MAX_LINE + 1:
        step = 3
    line = b"a X ".ljust(length - 2, b"y") + b"\r\n"
    octets = line + b"b NOOP\r\n"
    found = events([octets[at : at + step] for at in range(0, len(octets), step)])
    assert found == [Command(line[:-2]) if fits else Oversized(b"a"), Command(b"b NOOP")]


def test_a_literal_at_the_end_of_a_line_that_is_too_long() -> None:
    line = b"a X " + b"y" * MAX_LINE + b" {12+}\r\n"
    octets = line + b"b DELETE x\r\n" + b"\r\nc NOOP\r\n"
    for at in (1, 100, MAX_LINE, MAX_LINE + 5, len(line) - 4, len(line) - 1, len(line), len(line) + 3):
        assert events([octets[:at], octets[at:]]) == [Oversized(b"a"), Command(b"c NOOP")], at


def test_a_command_of_many_literals_is_bounded() -> None:
    piece = b"{65536+}\r\n" + b"x" * 65536 + b" "
    octets = b"a X " + piece * 8 + b"\r\nb NOOP\r\n"
    framer, held, found = Framer(), 0, list[bytes]()
    for at in range(0, len(octets), 4096):
        framer.feed(octets[at : at + 4096])
        while (event := framer.next_event()) is not None:
            if isinstance(event, LiteralAnnounced):
                framer.take()
                held = max(held, len(event.so_far))
            else:
                found.append(event.octets)
    assert held <= MAX_COMMAND
    assert found[0].startswith(b"a X ")
    assert found[1:] == [b"b NOOP"]


def test_a_line_of_a_hundred_megabytes_is_held_nowhere() -> None:
    framer, piece = Framer(), b"x" * 65536
    framer.feed(b"a X ")
    tracemalloc.start()
    try:
        for _ in range(1600):
            framer.feed(piece)
            assert framer.next_event() is None
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10 * MAX_LINE
    framer.feed(b"\r\nb NOOP\r\n")
    oversized = framer.next_event()
    assert isinstance(oversized, Oversized)
    assert oversized.octets.startswith(b"a X xx")
    assert framer.next_event() == Command(b"b NOOP")


def test_a_streamed_literal_is_given_in_pieces_and_the_command_goes_on() -> None:
    octets = b"a APPEND x {10}\r\n0123\r\n6789 {4+}\r\nabcd\r\nb NOOP\r\n"
    for step in range(1, len(octets)):
        framer, streamed, found = Framer(), list[bytes](), list[Event]()
        for at in range(0, len(octets), step):
            framer.feed(octets[at : at + step])
            while True:
                if framer.streaming:
                    chunk = framer.next_chunk()
                    if chunk is None:
                        break
                    streamed.append(chunk)
                    continue
                event = framer.next_event()
                if event is None:
                    break
                found.append(event)
                if isinstance(event, LiteralAnnounced):
                    framer.stream()
        assert b"".join(streamed) == b"0123\r\n6789abcd"
        assert found == [
            LiteralAnnounced(10, True, b"a APPEND x "),
            LiteralAnnounced(4, False, b" "),
            Command(b""),
            Command(b"b NOOP"),
        ]


def test_nothing_is_left_after_clear() -> None:
    framer = Framer()
    framer.feed(b"a STARTTLS\r\nb LOGIN {5+}\r\nab")
    assert framer.next_event() == Command(b"a STARTTLS")
    assert isinstance(framer.next_event(), LiteralAnnounced)
    framer.take()
    framer.clear()
    framer.feed(b"c NOOP\r\n")
    assert framer.next_event() == Command(b"c NOOP")


PIECES = st.sampled_from(
    [b"a NOOP", b"b X", b"\r\n", b"\n", b"\r", b"{3}", b"{3+}", b"~{2+}", b"{101}", b"{101+}", b"{", b"}", b"\0", b" "]
    + [b"x" * 50, b"y" * 101]
)


@given(st.lists(PIECES, max_size=30), st.data())
def test_cuts_do_not_matter(parts: list[bytes], data: st.DataObject) -> None:
    octets = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(octets)), max_size=8)))
    borders = [0, *cuts, len(octets)]
    pieces = [octets[a:b] for a, b in zip(borders, borders[1:], strict=False)]
    assert events(pieces) == events([octets])


@pytest.mark.parametrize("cut", [1, 7, 100_000])
def test_a_long_literal_that_came_without_leave_is_read_over(cut: int) -> None:
    framer, found = Framer(10), list[Event]()
    octets = (
        b"a X {11+}\r\nb NOOP\r\n111 {11+}\r\n" + b"x" * 11 + b"\r\nc X {10+}\r\n" + b"y" * 10 + b"\r\nd X {11}\r\n"
    )
    for start in range(0, len(octets), cut):
        framer.feed(octets[start : start + cut])
        while (event := framer.next_event()) is not None:
            found.append(event)
            if isinstance(event, LiteralAnnounced):
                framer.take()
    assert found == [
        Oversized(b"a X {11+}\r\n", True),
        LiteralAnnounced(10, False, b"c X "),
        Command(b"c X {10+}\r\nyyyyyyyyyy"),
        LiteralAnnounced(11, True, b"d X "),
    ]


def test_a_literal_without_leave_that_would_never_end_is_not_read() -> None:
    framer = Framer(10)
    framer.feed(b"a X {%d+}\r\n" % (MAX_UNASKED + 1))
    with pytest.raises(LiteralTooBig):
        framer.next_event()
