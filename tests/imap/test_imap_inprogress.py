"""INPROGRESS: told every ten seconds while a search goes on, by a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from imap_world import Client, World

from mailstack.imap.search import CONTENTS_AT_ONCE
from mailstack.testing.clock import ManualClock

BATCHES = 9


def slow(client: Client, world: World, seconds: float) -> None:
    """Each visit to a worker takes so long."""
    clock: Any = client.session.resources.clock
    assert isinstance(clock, ManualClock)
    examine = world.inbox.examine

    async def later(uids: Sequence[int], fn: Callable[..., object]) -> list[object]:
        clock.advance(seconds)
        return await examine(uids, fn)

    world.inbox.examine = later  # type: ignore[assignment, method-assign]


@pytest.mark.parametrize(("seconds", "told"), [(0.1, 0), (4.0, 2), (10.0, BATCHES - 1), (60.0, BATCHES - 1)])
def test_a_search_that_takes_long(seconds: float, told: int) -> None:
    world = World()
    for _ in range(BATCHES * CONTENTS_AT_ONCE):
        world.inbox.insert(b"Subject: x\r\n\r\nneedle\r\n")
    client = world.log_in()
    slow(client, world, seconds)
    lines = client.lines(b"SEARCH BODY needle")
    progress = [line for line in lines if b"INPROGRESS" in line]
    assert progress == [b'* OK [INPROGRESS ("t" NIL NIL)] still working on it'] * told
    assert lines[-2].startswith(b"* SEARCH 1 2 3")
    assert not any(b"INPROGRESS" in line for line in client.lines(b"NOOP"))


def test_a_tag_that_would_end_the_response_code_is_left_out() -> None:
    world = World()
    for _ in range(2 * CONTENTS_AT_ONCE):
        world.inbox.insert(b"x")
    client = world.log_in()
    slow(client, world, 20.0)
    assert b"* OK [INPROGRESS] still working" in client.say(b"a]b SEARCH BODY x\r\n")
