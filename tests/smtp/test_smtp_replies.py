"""Replies on the wire, the table of problems, and the tap that counts header fields."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_smtp_session import World

from mailstack.config.sections import Sender
from mailstack.errors import Problem
from mailstack.smtp import replies
from mailstack.smtp.header_tap import MAX_HEADER, HeaderTap
from mailstack.smtp.replies import Reply
from mailstack.smtp.settings import Role


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


DETAILS = {
    0: {0}, 1: {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, 2: {0, 1, 2, 3, 4}, 3: {0, 1, 2, 3, 4, 5, 6},
    4: {0, 1, 2, 3, 4, 5, 6, 7}, 5: {0, 1, 2, 3, 4, 5, 6}, 6: {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11}, 7: set(range(31)),
}  # fmt: skip
"""Details of each subject in the registry of RFC 5248; 5.6.11 is of a draft that Exchange made usual."""
MADE = [
    replies.bad_syntax("x"), replies.framing_lost("x"), replies.mailbox_full(for_good=True), replies.accepted("c1.1"),
    replies.priority_changed(0), replies.help_(["QUIT"]), replies.mailboxes(["a@b.example"]),
    replies.node_hastened("b.example", 0), replies.node_hastened("b.example", 2), replies.node_unavailable("b.example"),
    replies.node_not_allowed("b.example", "x"), *(replies.for_problem(problem) for problem in Problem),
]  # fmt: skip
NAMED = [value for value in vars(replies).values() if isinstance(value, Reply)]


def test_every_function_of_replies_is_among_those_that_were_tried() -> None:
    functions = {
        name for name, value in vars(replies).items()
        if callable(value) and getattr(value, "__module__", "") == replies.__name__ and not isinstance(value, type)
    } - {"_encode", "greeting"}  # fmt: skip
    assert functions == {
        "bad_syntax", "framing_lost", "mailbox_full", "accepted", "priority_changed", "help_", "mailboxes",
        "node_hastened", "node_unavailable", "node_not_allowed", "for_problem",
    }  # fmt: skip


@pytest.mark.parametrize("reply", [*NAMED, *MADE], ids=str)
def test_each_reply_has_a_code_of_the_registry_of_its_class(reply: Reply) -> None:
    if reply.code < 400 and reply.code >= 300:
        assert reply.enhanced == ""
        return
    kind, subject, detail = map(int, reply.enhanced.split("."))
    assert kind == reply.code // 100 and detail in DETAILS[subject]
    assert all(line[4:].startswith(reply.enhanced.encode() + b" ") for line in reply.octets.splitlines())


EVERYTHING = """EHLO c|HELO c|EHLO
MAIL FROM:<a@b.example>|MAIL FROM:<x|MAIL FROM:<a@b.example> X=1|RCPT TO:<joe@example.com>
RCPT TO:<no@example.com>|RCPT TO:<x@else.example>|DATA|DATA x|BDAT 0|BDAT 0 LAST|BDAT 1 LAST|RSET|RSET x|NOOP|HELP|VRFY
VRFY joe@example.com|EXPN joe@example.com|ETRN x|ETRN else.example|XCLIENT ADDR=1.2.3.4|XFORWARD|BURL imap:x LAST|TURN
STARTTLS|AUTH|AUTH NONE|AUTH PLAIN x|AUTH PLAIN AGEAYg==|WHAT|GET / HTTP/1.1|QUIT|QUIT x""".replace("\n", "|").split(
    "|"
)


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("before", ["", "EHLO", "MAIL", "RCPT", "BDAT"])
def test_each_line_of_each_reply_has_an_enhanced_code(role: Role, before: str) -> None:
    """RFC 2034 §3: but for the greeting, replies to EHLO, HELO and LHLO, and 3xx."""
    steps = [
        b"LHLO c" if role is Role.LMTP else b"EHLO c",
        b"MAIL FROM:<a@b.example>",
        b"RCPT TO:<ann@example.com>",
        b"BDAT 0",
    ]
    for line in EVERYTHING:
        world = World(role=role, tls=True, auth_required=False, sender=Sender.ANY)
        for step in steps[: ["", "EHLO", "MAIL", "RCPT", "BDAT"].index(before)]:
            world.say(step + b"\r\n")
        answer = world.say(line.encode() + b"\r\n")
        assert not world.log.failures
        if line in ("EHLO c", "HELO c") and answer.startswith(b"250"):
            continue
        for said in answer.splitlines():
            assert re.match(rb"3|([245])\d\d[ -]\1\.\d+\.\d+ ", said), (line, said)


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
