"""Commands made to hurt: each is answered at once, with the limit that it passes, and the next one is served."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from imap_world import ALICE, World

from mailstack.imap.ext.rfc5258_list import Pattern
from mailstack.imap.session import COMMANDS_A_TURN
from mailstack.testing.connection import MemoryConnection

DEEP = 10_000


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (b"SEARCH " + b"(" * DEEP + b"ALL" + b")" * DEEP, b"expected at most 50 levels of parentheses, NOT and OR"),
        (b"SEARCH " + b"NOT " * DEEP + b"ALL", b"expected at most 50 levels of parentheses, NOT and OR"),
        (b"SEARCH " + b"OR " * DEEP + b"ALL", b"expected at most 50 levels of parentheses, NOT and OR"),
        (b"SEARCH " + b"ALL " * DEEP, b"expected at most 2000 search keys"),
        (b"SEARCH SUBJECT " + b"x" * 100_000, b"[LIMIT] the command is too long: a line has at most 65536 octets"),
        (b"FETCH 1 " + b"(" * DEEP, b"expected a data item name at column 12"),
        (b"FETCH 1 BODY[" + b"1." * DEEP + b"1]", b"expected a part number of at most 100 levels"),
        (b"FETCH 1 (%b)" % b" ".join(b"BODY[%d]" % n for n in range(1, 400)), b"expected at most 250 different data"),
        (b"FETCH " + b"1," * 30_000 + b"1 UID", b"expected a sequence set of at most 20000 ranges"),
        (b"FETCH " + b"1," * 1_000_000 + b"1 UID", b"[LIMIT] the command is too long: a line has at most 65536 octets"),
        (b"STORE 1 FLAGS " + b"(" * DEEP, b"expected a flag at column 18"),
        (b"APPEND INBOX " + b"(" * DEEP, b"expected a flag at column 17"),
        (b"APPEND INBOX CATENATE " + b"(" * DEEP, b"expected TEXT, URL or UTF8 at column 26"),
        (b"UID REPLACE 1 INBOX " + b"(" * DEEP, b"expected a flag at column 24"),
        (b"LIST " + b"(" * DEEP, b"expected a LIST option at column 9"),
        (b"STATUS INBOX " + b"(" * DEEP, b"expected an atom at column 17"),
        (b"ID " + b"(" * DEEP, b"expected a string at column 7"),
    ],
    ids=lambda value: value[:16].decode(),
)
def test_a_limit_is_named(command: bytes, answer: bytes) -> None:
    world = World()
    world.inbox.insert(b"x")
    client = world.log_in()
    (said,) = client.lines(command)
    assert said.startswith(b"t BAD " + answer), said[:200]
    assert client.lines(b"NOOP") == [b"t OK NOOP completed"]
    assert not world.log.failures


@pytest.mark.parametrize("numbers", [b"*:1", b"5:1", b"1:*,*:1", b"5,4,3,2,1", b"1:5," * 5000 + b"1"])
def test_ranges_in_any_order(numbers: bytes) -> None:
    world = World()
    for _ in range(5):
        world.inbox.insert(b"x")
    client = world.log_in()
    assert client.lines(b"FETCH " + numbers + b" UID") == [b"* %d FETCH (UID %d)" % (n, n) for n in range(1, 6)] + [
        b"t OK FETCH completed"
    ]


class Turns(MemoryConnection):
    """Counts how often others had their turn."""

    turns = 0

    async def drain(self) -> None:
        self.turns += 1
        await super().drain()


def test_a_pipeline_of_many_commands_gives_others_their_turn() -> None:
    client = World().log_in()
    client.connection.__class__ = Turns
    client.say(b"a NOOP\r\n" * 10 * COMMANDS_A_TURN)
    assert isinstance(client.connection, Turns)
    assert client.connection.turns in (9, 10)


def test_a_peer_that_does_not_read_small_answers_is_waited_for() -> None:
    """One command after the other, each with a small answer, must not pile up either."""
    client = World().log_in()
    client.connection.__class__ = Turns
    for _ in range(90):
        client.say(b"a " + b"X" * 2000 + b"\r\nb CAPABILITY\r\n")
    assert isinstance(client.connection, Turns)
    assert client.connection.turns >= 1


def reference(pattern: str, name: str) -> bool:
    """What a pattern means, said another way."""
    parts = {"*": ".*", "%": "[^/]*"}
    return re.fullmatch("".join(parts.get(char, re.escape(char)) for char in pattern), name, re.DOTALL) is not None


@given(st.text("ab/*%", max_size=9), st.text("ab/", max_size=9))
def test_patterns_of_list(pattern: str, name: str) -> None:
    assert Pattern("", pattern).matches(name) == reference(pattern, name)


@pytest.mark.parametrize("pattern", ["*a" * 5000 + "b", "%a" * 100 + "b", "*a" * 100 + "b", "*%" * 30_000])
def test_a_pattern_of_wildcards_takes_few_steps(pattern: str) -> None:
    """A name of 200 characters; `Steps` counts what is looked up for each."""
    made = Pattern("", pattern)
    looked: list[str] = []

    class Steps(dict[str, int]):
        def get(self, key: str, default: int = 0) -> int:  # type: ignore[override]
            looked.append(key)
            return super().get(key, default)

    made._at = Steps(made._at)
    assert made.matches("a" * 200) == pattern.endswith("%")
    assert len(looked) <= 200


def test_list_gives_others_their_turn() -> None:
    world = World()
    for number in range(1200):
        world.store.of(ALICE)._make(f"m{number}")
    client = world.log_in()
    client.connection.__class__ = Turns
    assert len(client.lines(b'LIST "" x')) == 1
    assert isinstance(client.connection, Turns)
    assert client.connection.turns == 2
