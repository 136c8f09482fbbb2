"""INPROGRESS: told every ten seconds while a search goes on, by a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from imap_world import Client, World
from twisted.internet.defer import Deferred

from mailstack.imap.ext.rfc9585_inprogress import FEW, INTERVAL
from mailstack.imap.search import CONTENTS_AT_ONCE
from mailstack.ports import Flag
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


def held_up(client: Client, world: World) -> Deferred[None]:
    """What the store does waits until the Deferred is called back."""
    released: Deferred[None] = Deferred()
    for place, names in (
        (world.inbox, ("copy", "move", "store_flags", "expunge", "measure", "derive")),
        (client.session.store, ("open",)),
    ):
        for name in names:
            setattr(place, name, after(released, getattr(place, name)))
    return released


def after(released: Deferred[None], act: Callable[..., Any]) -> Callable[..., Any]:
    """The same, done once the Deferred is called back."""

    async def later(*args: Any, **named: Any) -> Any:
        if not released.called:
            await released
        return await act(*args, **named)

    return later


COMMANDS = (
    b"COPY 1:* Trash",
    b"UID MOVE 1:* Trash",
    b"STORE 1:* +FLAGS.SILENT (\\Flagged)",
    b"EXPUNGE",
    b"UID EXPUNGE 1:*",
    b"CLOSE",
    b"FETCH 1:* RFC822.SIZE",
    b"SELECT INBOX",
    b"SORT (SUBJECT) UTF-8 ALL",
    b"THREAD REFERENCES UTF-8 ALL",
    b"SEARCH LARGER 1",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_what_the_store_takes_long_for(command: bytes) -> None:
    world = World()
    for _ in range(FEW + 1):
        world.inbox.insert(b"Subject: x\r\n\r\n", int(Flag.DELETED))
    client = world.log_in()
    released = held_up(client, world)
    client.connection.feed(b"t " + command + b"\r\n")
    client.connection.take()
    clock: Any = client.session.resources.clock
    for _ in range(2):
        clock.advance(INTERVAL)
        client.connection.pass_time()
    assert client.connection.take() == b'* OK [INPROGRESS ("t" NIL NIL)] still working on it\r\n' * 2
    client.connection.pass_time()
    assert client.connection.take() == b""  # it was told just now
    released.callback(None)
    assert b"\r\nt OK" in b"\r\n" + client.connection.take()
    clock.advance(INTERVAL)
    client.connection.pass_time()
    assert client.connection.take() == b""


def test_of_few_messages_nothing_is_said() -> None:
    world = World()
    world.inbox.insert(b"x")
    client = world.log_in()
    released = held_up(client, world)
    client.connection.feed(b"t COPY 1 Trash\r\n")
    clock: Any = client.session.resources.clock
    clock.advance(INTERVAL)
    client.connection.pass_time()
    assert client.connection.take() == b""
    released.callback(None)
    assert b"t OK" in client.connection.take()
