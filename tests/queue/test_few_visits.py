"""What a message costs the database and the disk on its way through the queue."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from queue_world import EPOCH, QueueWorld, envelope, result
from twisted.internet.defer import Deferred

from mailstack.queue import contents
from mailstack.queue.carrying import Pace
from mailstack.queue.content import Damaged, Files
from mailstack.queue.contents import ROOM, SMALL, Contents
from mailstack.queue.destinations import AT_ONCE
from mailstack.queue.items import Attempt, Item
from mailstack.queue.queue import Settled
from mailstack.store.workers import InlineWorkers
from mailstack.testing.log import RecordingLog

T = TypeVar("T")
ATTEMPT = Attempt(EPOCH, 0.5, "mx.example.net", "C: MAIL")


class CountedWorkers(InlineWorkers):
    """`held`: what is to be run waits until `go`."""

    def __init__(self) -> None:
        super().__init__()
        self.visits = 0
        self.held: list[Callable[[], object]] | None = None

    def run(self, fn: Callable[[], T]) -> Deferred[T]:
        self.visits += 1
        if self.held is None:
            return super().run(fn)
        done: Deferred[Any] = Deferred()
        self.held.append(lambda: super(CountedWorkers, self).run(fn).chainDeferred(done))
        return done


class Shelf:
    """Files of some items, and what reads them."""

    def __init__(self, directory: Path) -> None:
        self.files = Files(directory)
        self.workers = CountedWorkers()
        self.log = RecordingLog()
        self.contents = Contents(self.files, self.workers, self.log)

    def put(self, name: str, octets: bytes = b"hello\r\n") -> Item:
        asked = envelope("bob@example.net")
        offset = self.files.write(name, asked, EPOCH, (octets,))
        return Item(name, asked, EPOCH, EPOCH + 9, offset, len(octets))

    def read(self, item: Item) -> bytes:
        octets: bytes = result(self.contents.read(item, 0, item.size))
        return octets


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    made = Shelf(tmp_path / "queue")
    yield made
    made.files.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[QueueWorld]:
    made = QueueWorld(tmp_path)
    yield made
    made.close()


def statements(world: QueueWorld) -> list[str]:
    """The first words of what the database is asked from now on."""
    seen: list[str] = []

    def note(_: object, statement: str, __: object) -> bool:
        seen.append(" ".join(statement.split()[:3]))
        return True

    world.database._db.exec_trace = note
    return seen


def test_a_message_that_is_delivered_is_taken_out_without_being_read_again(world: QueueWorld) -> None:
    world.send("bob@example.net")
    (row,) = world.rows()
    seen = statements(world)
    result(world.queue.settle(Settled(row, None, ATTEMPT)))
    assert seen == [
        "BEGIN IMMEDIATE", "DELETE FROM waiting", "DELETE FROM item", "DELETE FROM attempt", "COMMIT",
    ]  # fmt: skip
    assert (world.rows(), world.on_disk()) == ([], [])


def test_an_item_stays_while_somebody_waits_elsewhere(world: QueueWorld) -> None:
    name = world.send("bob@example.net", "eve@example.com")
    for row, left in zip(world.rows(), (1, 0), strict=True):
        result(world.queue.settle(Settled(row, None, ATTEMPT)))
        assert (len(world.rows()), world.on_disk()) == (left, [name][:left])


def test_what_has_just_come_is_sent_without_being_read(world: QueueWorld) -> None:
    world.start()
    seen = statements(world)
    for number in range(3):
        world.send(f"user{number}@example.net")
    assert world.carrier.recipients == [f"user{number}@example.net" for number in range(3)]
    assert len(seen) == 3 * (4 + 5) and not [each for each in seen if each.startswith("SELECT")]
    assert (world.rows(), world.on_disk()) == ([], [])


def test_what_waits_goes_before_what_has_just_come(world: QueueWorld) -> None:
    world.carrier.paces["example.net"] = Pace(connections=1)
    busy: list[Deferred[None]] = [Deferred(), Deferred()]
    world.carrier.answers["example.net"] = deque(busy)
    world.start()
    names = [f"user{number}@example.net" for number in range(AT_ONCE + 10)]
    for name in names:
        world.send(name)
        world.time.advance(1)
    assert len(world.runner._known["example.net"].ready) == AT_ONCE, "the others are in the database alone"
    busy[0].callback(None)
    world.send("last@example.net")
    busy[1].callback(None)
    assert world.carrier.recipients == [*names, "last@example.net"]


def test_what_is_read_ahead_costs_one_visit_and_is_given_once(shelf: Shelf) -> None:
    items = [shelf.put(f"a{number}", b"%d" % number) for number in range(20)]
    result(shelf.contents.read_ahead(items))
    assert [shelf.read(item) for item in items] == [b"%d" % number for number in range(20)]
    assert shelf.workers.visits == 1
    assert shelf.read(items[0]) == b"0" and shelf.workers.visits == 2


def test_what_is_kept_is_small_and_not_much(shelf: Shelf) -> None:
    big, count = shelf.put("big", bytes(SMALL + 1)), ROOM // SMALL + 5
    shelf.contents.keep("big", (bytes(SMALL + 1),))
    for number in range(count):
        shelf.contents.keep(f"a{number}", (bytes(SMALL - 1), b"x"))
        shelf.contents.keep(f"a{number}", (b"another",))
    assert shelf.contents._octets == sum(map(len, shelf.contents._kept.values())) == ROOM
    assert list(shelf.contents._kept)[0] == "a5"
    assert shelf.read(big) == bytes(SMALL + 1) and shelf.workers.visits == 1


def test_what_cannot_be_read_ahead_is_an_error_of_its_own_message(shelf: Shelf) -> None:
    items = [shelf.put("a"), shelf.put("b"), shelf.put("c")]
    shelf.files.remove("b")
    result(shelf.contents.read_ahead(items))
    assert shelf.read(items[2]) == b"hello\r\n" and shelf.workers.visits == 1
    with pytest.raises(Damaged):
        shelf.read(items[1])


def test_a_slow_disk_is_not_waited_for(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "AHEAD_TIME", -1.0)
    items = [shelf.put("a"), shelf.put("b")]
    result(shelf.contents.read_ahead(items))
    assert list(shelf.contents._kept) == ["a"]


def test_files_that_are_done_go_together(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [shelf.put(f"a{number}").id for number in range(5)]
    shelf.contents.keep("a3", (b"hello\r\n",))
    real = shelf.files.remove

    def remove(name: str) -> None:
        if name == "a2":
            raise PermissionError(1, "not allowed")
        real(name)

    monkeypatch.setattr(shelf.files, "remove", remove)
    shelf.workers.held = []
    for name in names:
        shelf.contents.remove(name)
    assert shelf.workers.visits == 1 and not shelf.contents._kept
    held, shelf.workers.held = shelf.workers.held, None
    held[0]()
    assert list(shelf.files.names()) == ["a2"]
    assert shelf.log.whats("warning") == ["queue file not removed"]
    shelf.contents.remove(shelf.put("b").id)
    assert list(shelf.files.names()) == ["a2"], "and so do those that come later"
