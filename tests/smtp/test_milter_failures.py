"""Milters that fail: those that are dead, hang, or say what nobody understands, and messages that are too much."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from milter_world import ACCEPT, DISCARD, MESSAGE, OK, PROGRESS, REJECT, SKIP, TEMPFAIL, World, field

from mailstack.smtp.milter.message import MAX_FIELDS
from mailstack.smtp.milter.milters import RETRY_AFTER
from mailstack.smtp.milter.passage import MAX_WANTED
from mailstack.smtp.milter.stream import Broken, Closed
from mailstack.smtp.settings import Role
from mailstack.smtp.wire import milter as wire
from mailstack.smtp.wire.milter import Action
from mailstack.testing.milter import MemoryMilter, Reaction, options

GARBAGE = b"HTTP/1.1 400 Bad Request\r\n\r\n"
FOUR_GIGABYTES = b"\xff\xff\xff\xff"
REPLIES = {"accept": b"250 ", "tempfail": b"451 4.7.1 ", "reject": b"550 5.7.1 "}


@pytest.mark.parametrize("on_error", ["accept", "tempfail", "reject"])
@pytest.mark.parametrize("letter", ["M", "R", "T", "L", "N", "B", "E"])
@pytest.mark.parametrize(
    "answer",
    [GARBAGE, FOUR_GIGABYTES, Broken("no answer"), Broken("it closed the connection"), wire.packet(b"f"), options()],
    ids=["garbage", "4 GB", "hangs", "dies", "gives up", "out of place"],
)
def test_failures(answer: Reaction, letter: str, on_error: str) -> None:
    milter, second = MemoryMilter(**{letter: [answer]}), MemoryMilter()
    world = World(milter, second, on_error=on_error)
    said = world.begin()
    if said.endswith(b"250 2.1.5 Recipient ok\r\n"):
        said += world.say(b"DATA\r\n")
        said += world.say(MESSAGE + b".\r\n") if said.endswith(b"body\r\n") or b"354 " in said else b""
    assert (b"\r\n" + REPLIES[on_error]) in b"\r\n" + said and (b"Ok c1.1" in said) is (on_error == "accept")
    assert len(world.failures()) == 1 and world.counters.totals["milter_failures", "m1:1"] == 1
    assert milter.open == 0 and (b"E" in second.letters()) is (on_error == "accept")
    assert world.session.state.name == ("READY" if letter == "M" or b"354 " in said or letter == "T" else "MAIL")


@pytest.mark.parametrize(
    ("on_error", "greeting"), [("accept", b"220 "), ("tempfail", b"421 4.7.1"), ("reject", b"554 5.7.1")]
)
@pytest.mark.parametrize(
    "broken",
    [
        {"O": GARBAGE},
        {"O": FOUR_GIGABYTES},
        {"O": OK},
        {"O": options(version=7)},
        {"O": options(more=b"\0")},
        {"O": Broken("no answer")},
        {"C": DISCARD},
        {"C": field(b"h", b"X", b"y")},
        {},
    ],
    ids=["garbage", "4 GB", "no options", "version", "macros", "hangs", "discards", "changes", "dead"],
)
def test_failures_at_the_beginning(broken: dict[str, bytes], on_error: str, greeting: bytes) -> None:
    milter = MemoryMilter(**broken)
    milter.unreachable = None if broken else "cannot connect to 1:1: refused"
    world = World(milter, on_error=on_error)
    assert world.greeting.startswith(greeting) and len(world.failures()) == 1 and milter.open == 0
    if on_error == "accept":
        assert world.send().startswith(b"250") and len(milter.dialled) == 1


def test_one_that_failed_is_tried_once_more() -> None:
    milter = MemoryMilter(M=[OK, Broken("no answer")])
    world = World(milter)
    world.send()
    assert world.begin().startswith(b"451 4.7.1") and world.begin().startswith(b"451 4.7.1")
    assert len(milter.dialled) == 1
    world.clock.advance(RETRY_AFTER)
    assert world.send().startswith(b"250") and len(milter.dialled) == 2
    assert milter.letters() == b"OCHMRTLLNBE" + b"HM" + b"OCHMRTLLNBE"


def test_one_that_closed_its_connection_is_asked_by_another() -> None:
    milter = MemoryMilter(M=[OK, Closed("it closed the connection"), OK])
    world = World(milter)
    world.send()
    assert world.send().startswith(b"250") and not world.failures() and len(milter.dialled) == 2
    assert milter.open == 1


def test_one_that_goes_on_for_ever() -> None:
    milter = MemoryMilter(E=PROGRESS)
    world = World(milter)

    def minute() -> bytes:
        world.clock.advance(60)
        return PROGRESS

    milter.idle = minute
    assert world.send().startswith(b"451 4.7.1")
    assert world.failures() == ["no answer within 540 seconds"] and milter.waits[-9:] == [300.0] * 5 + [
        240,
        180,
        120,
        60,
    ]


def test_progress_is_no_answer() -> None:
    milter = MemoryMilter(E=PROGRESS * 3 + OK, M=PROGRESS + OK)
    assert World(milter).send().startswith(b"250")
    assert milter.waits == [30.0] * 6 + [300.0] * 5


def unwanted(flood: bytes) -> MemoryMilter:
    return MemoryMilter(E=flood + OK)


@pytest.mark.parametrize(
    "flood",
    [
        field(b"h", b"X", b"y" * 60000) * 3,
        wire.packet(b"q", b"\0") * (MAX_WANTED // 64 + 1),
        wire.packet(b"b", b"x" * 65535) * 3,
    ],
    ids=["fields", "many", "body"],
)
def test_what_a_milter_may_want_has_a_limit(flood: bytes) -> None:
    world = World(unwanted(flood), max_size=100_000)
    assert world.send().startswith(b"451 4.7.1") and len(world.failures()) == 1
    assert not world.store.deliveries and world.spool.leaks == 0


def test_what_was_not_agreed_on_is_not_done() -> None:
    milter = MemoryMilter(O=options(Action.ADD_FIELDS), E=wire.packet(b"e", b"<x@example.org>\0") + OK)
    world = World(milter)
    assert world.send().startswith(b"451 4.7.1")
    assert world.failures() == ["ChangeSender was not agreed on"]


def test_a_milter_that_insists_on_what_lmtp_has_not() -> None:
    world = World(MemoryMilter(O=options(Action.ADD_RECIPIENTS)), role=Role.LMTP)
    assert world.greeting.startswith(b"421 4.7.1")


@pytest.mark.parametrize(
    "header", [b"X: y\r\n" * (MAX_FIELDS + 1), b"X: " + b"y" * 200_000 + b"\r\n"], ids=["fields", "octets"]
)
def test_headers_that_cannot_be_shown(header: bytes) -> None:
    milter = MemoryMilter()
    world = World(milter)
    assert world.send(header + b"\r\nbody\r\n").startswith(b"552 5.3.4")
    assert milter.letters() == b"OCHMRTA" and world.spool.leaks == 0


def test_one_that_answers_what_nobody_asked() -> None:
    milter = MemoryMilter(M=OK + OK)
    world = World(milter)
    assert world.begin().endswith(b"451 4.7.1 Service unavailable; try again later\r\n")
    assert world.failures() == ["it says more than it was asked"]


ROLES = (Role.RECEIVE, Role.LMTP)
ODD = st.sampled_from([
    OK, ACCEPT, REJECT, TEMPFAIL, DISCARD, SKIP, PROGRESS, GARBAGE, FOUR_GIGABYTES, options(), wire.packet(b"4"),
    wire.packet(b"f"), wire.packet(b"y", b"421 x\0"), wire.packet(b"y", b"550-5.1.1 a\r\n550 b\0"),
    field(b"h", b"X", b"y\n\nz"), field(b"i", b"X", b"y", 2**32 - 1), field(b"m", b"Subject", b"", 1),
    field(b"m", b"Subject", b"\n", 2**31), wire.packet(b"b", b"\r"), wire.packet(b"b"), wire.packet(b"+", b"<>\0"),
    wire.packet(b"-", b"joe@example.com\0"), wire.packet(b"e", b"<\xff@x>\0"), wire.packet(b"q", b"\0"),
    wire.packet(b"2", b"ann@example.com\0NOTIFY=\0"), Broken("no answer"), Closed("it closed the connection"),
])  # fmt: skip


@settings(max_examples=100)
@given(
    st.dictionaries(st.sampled_from("OCHMRTLNBE"), st.lists(ODD, max_size=3)),
    st.sampled_from([Role.RECEIVE, Role.LMTP]),
)
def test_whatever_they_say_nothing_breaks(answers: dict[str, list[bytes | Exception]], role: Role) -> None:
    first, second = MemoryMilter(), MemoryMilter()
    for letter, said in answers.items():
        octets = [each for each in said if isinstance(each, bytes)]
        first.answers[letter.encode()] = [b"".join(octets), *(each for each in said if isinstance(each, Exception))]
        second.answers[letter.encode()] = list(said)
    world = World(first, second, role=role)
    for _ in range(2):
        world.begin(b"joe@example.com", b"ann@example.com")
        world.say(b"BDAT %d LAST\r\n%s" % (len(MESSAGE), MESSAGE))
    world.connection.close()
    assert not world.log.failures and world.spool.leaks == 0 and first.open == second.open == 0
