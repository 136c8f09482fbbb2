"""Replies on the wire, the table of problems, and the tap that counts header fields."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstack.errors import Problem
from mailstack.smtp import replies
from mailstack.smtp.header_tap import MAX_HEADER, HeaderTap
from mailstack.smtp.replies import Reply


def test_on_the_wire() -> None:
    assert Reply(250, "2.0.0", "a", "b").octets == b"250-2.0.0 a\r\n250 2.0.0 b\r\n"
    assert Reply(220, "", "a").octets == b"220 a\r\n"
    assert str(Reply(550, "5.1.1", "No")) == "550 5.1.1 No"


@pytest.mark.parametrize("problem", Problem)
def test_every_problem_has_a_reply(problem: Problem) -> None:
    reply = replies.for_problem(problem)
    assert 400 <= reply.code < 600 and reply.enhanced[0] == str(reply.code)[0]


@pytest.mark.parametrize("reply", [value for value in vars(replies).values() if isinstance(value, Reply)], ids=str)
def test_enhanced_codes_agree_with_the_reply_codes(reply: Reply) -> None:
    assert reply.enhanced == "" if reply.code == 354 else reply.enhanced[0] == str(reply.code)[0]
    assert all(len(line) <= 512 for line in reply.octets.splitlines(keepends=True))


@given(st.lists(st.integers(0, 60), max_size=8))
def test_the_tap_counts_however_the_header_is_cut(cuts: list[int]) -> None:
    octets = b"Received: a\r\nX-Received: b\r\nRECEIVED: c\r\n\r\nReceived: body\r\n"
    tap = HeaderTap()
    borders = [0, *sorted(cuts), len(octets)]
    for a, b in zip(borders, borders[1:], strict=False):
        tap.feed(octets[a:b])
    tap.finish()
    assert tap.count(b"received") == 2


@pytest.mark.parametrize(
    ("octets", "count"), [(b"", 0), (b"\r\nReceived: x\r\n", 0), (b"Received: x", 1), (b"Received: x\r\n", 1)]
)
def test_odd_headers(octets: bytes, count: int) -> None:
    tap = HeaderTap()
    tap.feed(octets)
    tap.finish()
    assert tap.count(b"received") == count


def test_the_tap_keeps_no_more_than_its_limit() -> None:
    tap = HeaderTap()
    for _ in range(10):
        tap.feed(b"Received: x\r\n" * 5000)
    tap.finish()
    assert 0 < tap.count(b"received") <= MAX_HEADER // 13 + 1
