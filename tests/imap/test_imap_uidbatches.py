"""UIDBATCHES: every message is in one batch, and each but the last has as many as was asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from imap_world import World

from mailstack.imap.ext.rfc10022_uidbatches import batches


@given(st.sets(st.integers(1, 300)), st.integers(1, 40))
def test_together_they_are_the_mailbox(found: set[int], size: int) -> None:
    uids = sorted(found)
    made = batches(uids, size, None)
    counts = [sum(low <= uid <= high for uid in uids) for high, low in made]
    assert sum(counts) == len(uids)
    assert all(count == size for count in counts[:-1])
    assert all(high == low_before - 1 for (_, low_before), (high, _) in zip(made, made[1:], strict=False))
    assert not made or made[-1][1] == 1
    for first in range(1, len(made) + 2):
        assert batches(uids, size, (first, first + 1)) == made[first - 1 : first + 1]


def full() -> World:
    world = World()
    for uid in range(1, 2202):
        world.inbox.insert(b"x")
        if uid % 2:
            del world.inbox.messages[uid]
    world.inbox._uids = None
    return world


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (b"500", b'* UIDBATCHES (TAG "t") 2200:1201,1200:201,200:1'),
        (b"5000", b'* UIDBATCHES (TAG "t") 2200:1'),
        (b"500 2:3", b'* UIDBATCHES (TAG "t") 1200:201,200:1'),
        (b"500 3:2", b'* UIDBATCHES (TAG "t") 1200:201,200:1'),
        (b"500 4:4294967295", b'* UIDBATCHES (TAG "t")'),
    ],
)
def test_answers(arguments: bytes, answer: bytes) -> None:
    client = full().log_in()
    assert client.lines(b"UIDBATCHES " + arguments) == [answer, b"t OK UIDBATCHES completed"]


def test_an_empty_mailbox_has_no_batch() -> None:
    assert World().log_in().lines(b"UIDBATCHES 1000")[0] == b'* UIDBATCHES (TAG "t")'


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (b"499", b"t NO [TOOFEW] a batch has at least 500 messages"),
        (b"0", b"t BAD expected a number from 1 to 4294967295 at column 14"),
        (b"500 1", b"t BAD expected ':' at column 19"),
        (b"500 1:0", b"t BAD expected a number from 1 to 4294967295 at column 20"),
    ],
)
def test_refused(arguments: bytes, answer: bytes) -> None:
    assert World().log_in().lines(b"UIDBATCHES " + arguments) == [answer]
