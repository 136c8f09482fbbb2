"""Indexes are filled while nobody waits: all of a mailbox, with what would have been made anyway."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from maildir_world import ALICE, got
from twisted.internet.defer import Deferred

from mailstack.imap.foreseen import foreseen
from mailstack.ports import Change, Octets
from mailstack.store.api import Store
from mailstack.store.background import FIRST, PATIENCE, PAUSE, Background
from mailstack.store.derived import Derived
from mailstack.store.mailbox import WORTH_KEEPING, OpenMailbox
from mailstack.store.workers import InlineWorkers, Workers
from mailstack.testing.clock import ManualClock
from mailstack.testing.counters import MemoryCounters
from mailstack.testing.log import RecordingLog

COUNT = WORTH_KEEPING + 5
ITEMS = foreseen(utf8=False)


class Nobody:
    def changed(self, change: Change) -> None:
        """Nothing to do."""


class BusyWorkers(InlineWorkers):
    """Others have work for them, until told otherwise."""

    busy = False

    @property
    def idle(self) -> bool:
        return not self.busy


class World:
    def __init__(self, data: Path, count: int = COUNT) -> None:
        self.data, self.log, self.clock, self.counters = data, RecordingLog(), ManualClock(), MemoryCounters()
        self.workers = BusyWorkers()
        self.written = 0
        self.begin()
        self.write(count)

    def begin(self) -> None:
        """Another process, on the same data."""
        self.store = Store(self.data, self.workers, self.log)
        self.background = Background(self.workers, self.clock, self.counters, self.log)
        self.store.background = self.background
        self.account = got(self.store.account(ALICE))

    def write(self, count: int) -> None:
        for _ in range(count):
            self.written += 1
            octets = b"Subject: %d\r\nFrom: a@b\r\nDate: 1 Jan 2020 00:00:00 +0000\r\n\r\nbody\r\n" % self.written
            path = self.account.path / "new" / f"{1600000000 + self.written}.M{self.written}P1.h"
            path.write_bytes(octets)
            os.utime(path, (self.written, self.written))

    def open(self, items: Any = ITEMS) -> OpenMailbox:
        mailbox: OpenMailbox = got(self.account.open("INBOX", Nobody()))
        mailbox.foresee(items)
        return mailbox

    def wait(self) -> None:
        """Until there is nothing left to do."""
        for _ in range(1000):
            if not self.clock.sleeping:
                return
            self.clock.advance(FIRST)
        raise AssertionError("it never ends")

    def lacking(self, mailbox: OpenMailbox, item: str) -> list[int]:
        where = mailbox.mailbox_id, mailbox.uid_validity, item, list(mailbox.uids)
        return self.account.index.lacking(*where)

    @property
    def counted(self) -> int:
        return self.counters.total("messages_indexed")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    got(world.background.stop())
    got(world.store.close())


def test_everything_that_is_foreseen_is_made_after_a_while(world: World) -> None:
    mailbox = world.open()
    world.clock.advance(FIRST - 0.01)
    assert world.counted == 0
    world.wait()
    assert world.counted == COUNT
    for name, fn in ITEMS.items():
        assert world.lacking(mailbox, name) == []
        kept = got(mailbox.kept(mailbox.uids, name))
        assert kept == got(mailbox.examine(mailbox.uids, fn))


def test_what_comes_later_is_made_too_and_nothing_twice(world: World) -> None:
    asked: list[int] = []

    def length(octets: Octets) -> bytes:
        asked.append(len(octets))
        return b"%d" % len(octets)

    mailbox = world.open({"length": length})
    world.wait()
    assert len(asked) == COUNT
    world.write(3)
    got(mailbox.refresh())
    world.wait()
    assert len(asked) == world.counted == COUNT + 3
    got(world.background.stop())
    got(world.store.close())
    world.begin()
    world.open({"length": length})
    world.wait()
    assert len(asked) == world.counted == COUNT + 3
    world.open({"length": length, "another": length})
    world.wait()
    assert len(asked) == 2 * (COUNT + 3)


def test_it_gives_way_but_not_for_ever(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailstack.store.background.PIECE", 0.0)
    world.workers.busy = True
    world.open()
    world.clock.advance(FIRST)
    for _ in range(round(PATIENCE / PAUSE) - 2):
        world.clock.advance(PAUSE)
    assert world.counted == 0
    for _ in range(3):
        world.clock.advance(PAUSE)
    assert world.counted == 1
    world.workers.busy = False
    for _ in range(10):
        world.clock.advance(PAUSE)
    assert 8 <= world.counted <= 11


def test_a_piece_ends_in_time(world: World) -> None:
    mailbox = world.open()
    derived: Derived = got(mailbox._derived(""))
    uids = list(mailbox.uids)
    first = derived.fill(uids, ITEMS, 0.0)
    assert (first.last, first.messages, first.kept) == (uids[0], 1, True)
    rest = derived.fill(uids, ITEMS, 60.0)
    assert (rest.last, rest.messages) == (uids[-1], COUNT - 1)
    assert derived.fill(uids, ITEMS, 0.0).messages == 0


def test_the_stop_ends_it(world: World) -> None:
    world.open()
    got(world.background.stop())
    world.wait()
    world.open({"more": len})  # type: ignore[dict-item]  # it is never called
    world.wait()
    assert world.counted == 0


def test_who_does_not_want_it_does_not_get_it(world: World) -> None:
    world.background.wanted = False
    world.open()
    assert not world.clock.sleeping
    world.background.wanted = True
    world.open()
    world.wait()
    assert world.counted == COUNT


def test_few_messages_are_not_worth_it(tmp_path: Path) -> None:
    world = World(tmp_path, WORTH_KEEPING - 1)
    world.open()
    world.wait()
    assert world.counted == 0
    got(world.store.close())


def test_a_mailbox_that_goes_meanwhile_is_left(world: World) -> None:
    got(world.account.create("Work"))
    got(got(world.account.open("INBOX", Nobody())).move(list(world.open({}).uids), "Work", None))
    got(world.account.open("Work", Nobody())).foresee(ITEMS)
    got(world.account.delete("Work"))
    world.wait()
    assert world.counted == 0
    assert not world.log.failures


def test_what_cannot_be_made_keeps_no_other_mailbox(world: World) -> None:
    def broken(octets: Octets) -> bytes:
        raise ZeroDivisionError

    got(world.account.create("Work"))
    inbox = world.open({})
    got(inbox.copy(list(inbox.uids), "Work"))
    inbox.foresee({"broken": broken})
    got(world.account.open("Work", Nobody())).foresee(ITEMS)
    world.wait()
    assert world.counted == COUNT
    assert len(world.log.failures) == 1


def test_workers_know_when_they_have_nothing_to_do() -> None:
    calls: list[Any] = []

    class Reactor:
        def callFromThread(self, callable: Any, *args: object) -> None:
            calls.append(callable)

    workers = Workers(Reactor(), 1)
    assert workers.idle
    done: list[Deferred[int]] = [workers.run(lambda: 1), workers.run_in_lane("a", lambda: 2)]
    assert not workers.idle
    workers.close()
    while not all(each.called for each in done):
        calls.pop(0)()
    assert workers.idle


def test_each_message_is_read_once_for_all_that_is_asked_of_it(world: World) -> None:
    mailbox = world.open({})
    read: list[int] = []
    contents: Any = mailbox._contents
    octets = contents.octets
    contents.octets = lambda uid: read.append(uid) or octets(uid)
    uids = list(mailbox.uids)
    items = [*ITEMS.items(), next(iter(ITEMS.items()))]
    expected = [got(mailbox.examine(uids, fn)) for _, fn in items]
    read.clear()
    mailbox._kept.clear()  # whoever had the function before
    even, odd = uids[::2], uids[1::2]
    got(mailbox.derive(even, *items[1]))
    assert got(mailbox.derive([uids[1], uids[5]], *items[1])) == [expected[1][1], expected[1][5]]  # as many between
    assert got(mailbox.derive(odd, *items[1])) == expected[1][1::2]
    for _ in range(2):
        assert got(mailbox.derive_each(uids, items)) == expected
        assert read == [*even, uids[1], uids[5], *(uid for uid in odd if uid not in (uids[1], uids[5])), *uids]
