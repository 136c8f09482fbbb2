"""Many changes in one commit: what each gets of it, and when one of them, or the disk, fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from mailstack.app.surroundings import LazyQueue
from mailstack.ports import Envelope
from mailstack.queue.commits import MAX_TOGETHER, Commits
from mailstack.queue.database import DATABASE, QueueDatabase
from mailstack.store.workers import InlineWorkers, Job
from mailstack.testing.log import RecordingLog
from mailstack.testing.spool import MemoryBlob


class SlowWorkers(InlineWorkers):
    """A lane whose jobs are done when the test says so."""

    def __init__(self) -> None:
        self.jobs: list[Job[Any]] = []

    def run_in_lane(self, lane: str, fn: Callable[[], Any]) -> Deferred[Any]:
        self.jobs.append(Job(fn))
        return self.jobs[-1].done

    def work(self) -> None:
        while self.jobs:
            job = self.jobs.pop(0)
            job.work()
            job.finish()


class World:
    def __init__(self, directory: Path) -> None:
        self.database = QueueDatabase(directory / DATABASE)
        self.workers = SlowWorkers()
        self.synced = 0
        self.sync_fails: BaseException | None = None
        self.commits = Commits(self.database, self.workers, self.sync)
        self.transactions = 0
        transaction = self.database.transaction

        def counted(work: Callable[[], None]) -> None:
            self.transactions += 1
            transaction(work)

        self.database.transaction = counted  # type: ignore[method-assign]

    def sync(self) -> None:
        self.synced += 1
        if self.sync_fails is not None:
            raise self.sync_fails

    def note(self, name: str, *, named: bool = False) -> list[Any]:
        """Asks for a change; what came of it will be in the list."""

        def change() -> str:
            self.database.set_note(name, "there")
            return name

        return self.ask(change, named=named)

    def ask(self, change: Callable[[], Any], *, named: bool = False) -> list[Any]:
        found: list[Any] = []
        commits = self.commits
        Deferred.fromCoroutine(commits.change_with_files(change) if named else commits.change(change)).addBoth(
            lambda outcome: found.append(outcome.value if isinstance(outcome, Failure) else outcome)
        )
        return found


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.database.close()


def broken() -> None:
    raise ZeroDivisionError


def test_what_comes_while_a_commit_is_made_is_in_the_next_one_together(world: World) -> None:
    found = [world.note(str(number), named=True) for number in range(50)]
    assert not any(found)
    world.workers.work()
    assert found == [[str(number)] for number in range(50)]
    assert (world.transactions, world.synced) == (2, 2)


def test_a_commit_has_a_limit(world: World) -> None:
    found = [world.note(str(number)) for number in range(1 + 2 * MAX_TOGETHER)]
    world.workers.work()
    assert all(found) and world.transactions == 3


def test_files_are_synced_only_where_there_are_new_ones(world: World) -> None:
    world.note("a")
    world.workers.work()
    assert world.synced == 0
    world.note("b"), world.note("c", named=True), world.note("d")
    world.workers.work()
    assert world.synced == 1


def test_one_that_fails_takes_no_other_with_it(world: World) -> None:
    first = world.note("first")  # is on its way; the others wait together
    before, failed, after = world.note("before"), world.ask(broken), world.note("after")
    world.workers.work()
    assert (first, before, after) == (["first"], ["before"], ["after"])
    assert [type(each) for each in failed] == [ZeroDivisionError]
    assert all(world.database.note(name) for name in ("first", "before", "after"))


def test_a_name_that_could_not_be_synced_is_not_tried_again(world: World) -> None:
    """A second fsync(2) may say that all is well when the first has not."""
    world.sync_fails = OSError(5, "broken")
    first, second, third = (world.note(name, named=True) for name in "abc")
    world.workers.work()
    assert [type(each) for each in first + second + third] == [OSError] * 3
    assert world.synced == 2 and not world.database.note("b")
    world.sync_fails = None
    again = world.note("a", named=True)
    world.workers.work()
    assert again == ["a"]


def test_a_commit_that_fails_fails_for_all_and_the_queue_goes_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(work: Callable[[], None]) -> None:
        work()
        raise apsw.FullError("full")

    with monkeypatch.context() as patched:
        patched.setattr(world.database, "transaction", full)
        found = [world.note(name) for name in "abc"]
        world.workers.work()
    assert [type(each) for outcome in found for each in outcome] == [apsw.FullError] * 3
    again = world.note("a")
    world.workers.work()
    assert again == ["a"]


def test_who_cannot_begin_does_not_try_for_each(world: World, tmp_path: Path) -> None:
    other = apsw.Connection(str(tmp_path / DATABASE))
    other.execute("BEGIN IMMEDIATE")
    world.database._db.set_busy_timeout(0)
    found = [world.note(name) for name in "abc"]
    world.workers.work()
    assert [type(each) for outcome in found for each in outcome] == [apsw.BusyError] * 3
    assert world.transactions == 2
    other.execute("ROLLBACK")
    other.close()


def test_whatever_happens_in_the_worker_the_queue_goes_on(world: World) -> None:
    def ends() -> None:
        raise SystemExit

    first, second = world.ask(ends), world.note("second")
    world.workers.work()
    assert [type(each) for each in first] == [SystemExit] and second == ["second"]


def test_two_that_come_at_once_open_one_queue() -> None:
    """In the development mode, where none is open before."""
    workers, opened = SlowWorkers(), []

    class Opened:
        async def enqueue(self, *arguments: Any) -> str:
            return f"{len(opened)}"

    queue = LazyQueue(Any, workers, RecordingLog())  # type: ignore[arg-type]

    def open_it() -> Any:
        opened.append(Opened())
        return opened[-1]

    queue._make = open_it  # type: ignore[assignment]
    found: list[Any] = []
    for _ in range(2):
        Deferred.fromCoroutine(queue.enqueue(Envelope(None, ()), b"", MemoryBlob(b""))).addBoth(found.append)
    for job in workers.jobs:
        job.work()
    for job in workers.jobs:
        job.finish()
    assert found == ["1", "1"]
