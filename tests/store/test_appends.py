"""APPENDs to one mailbox: what one costs in calls of the system, and that those which wait together are written
together, each for itself all the same."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from transcripts import result
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from mailstack.errors import Problem, Refused
from mailstack.ports import AccountName, Flags, NewMessage
from mailstack.quota import QuotaLimit
from mailstack.store.api import Store
from mailstack.store.appends import TOGETHER
from mailstack.store.maildir.layout import folder
from mailstack.store.quota import NoLimits
from mailstack.store.workers import InlineWorkers, Job
from mailstack.testing.log import RecordingLog

T = TypeVar("T")
ALICE = AccountName("alice@example.org")
CALLS = ("open", "close", "write", "fsync", "rename", "link", "unlink", "stat", "lstat", "fstat", "listdir", "scandir")


def got(coroutine: Coroutine[Any, Any, T]) -> T:
    found: T = result(coroutine)
    return found


class HeldWorkers(InlineWorkers):
    """Jobs of a lane wait until `go`."""

    def __init__(self) -> None:
        self.held = False
        self.jobs: list[Job[Any]] = []

    def run_in_lane(self, lane: str, fn: Callable[[], T]) -> Deferred[T]:
        if not self.held:
            return super().run_in_lane(lane, fn)
        self.jobs.append(Job(fn))
        return self.jobs[-1].done

    def go(self, *, while_working: Callable[[], None] = lambda: None) -> None:
        jobs, self.jobs = self.jobs, []
        for job in jobs:
            job.work()
            while_working()
            job.finish()


class World:
    def __init__(self, data: Path) -> None:
        self.workers = HeldWorkers()
        self.store = Store(data, self.workers, RecordingLog())
        self.account = got(self.store.account(ALICE))
        self.path = folder(self.account.path, "INBOX").path
        got(self.account.append("INBOX", [self.message("first")]))
        self.workers.held = True

    def message(self, text: str, flags: Flags | None = None) -> NewMessage:
        sink = self.store.spool.sink()
        got(sink.write(f"Subject: {text}\r\n\r\n".encode()))
        return NewMessage(got(sink.finish()), flags or Flags(), None)

    def append(self, *messages: NewMessage) -> list[Any]:
        """Begin an APPEND; the result has its UIDs, or the failure, once there are any."""
        outcome: list[Any] = []
        done = Deferred.fromCoroutine(self.account.append("INBOX", messages))
        done.addCallbacks(lambda appended: outcome.extend(appended.uids), outcome.append)
        return outcome

    def seen(self) -> dict[int, str]:
        """UID → subject of all messages, as a new process sees them."""
        anew = Store(self.store.mail_path.parent, InlineWorkers(), RecordingLog())
        mailbox = got(got(anew.account(ALICE)).open("INBOX", Listener()))
        texts = {uid: got(mailbox.read(uid, 9, 99)) or b"" for uid in mailbox.uids}
        got(anew.close())
        return {uid: text.partition(b"\r\n")[0].decode() for uid, text in texts.items()}


class Listener:
    def changed(self, change: object) -> None:
        """Nothing to remember."""


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each of these was called."""
    count: Counter[str] = Counter()

    def counting(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            count[name] += 1
            return real(*arguments, **named)

        return call

    for name in CALLS:
        monkeypatch.setattr(os, name, counting(name, getattr(os, name)))
    return count


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.workers.held = False
    got(world.store.close())


def test_one_append_makes_no_more_calls_than_it_needs(world: World, count: Counter[str]) -> None:
    count.clear()  # pytest calls some, too
    uids = world.append(world.message("second"))
    world.workers.go()
    assert uids == [2]
    assert count.pop("fsync") == 3  # the file, the uidlist, the directory
    assert count.pop("link") == count.pop("unlink") == count.pop("rename") == 1
    assert count.pop("stat") + count.pop("lstat") + count.pop("fstat") <= 3, "the uidlist before and after, the lock"
    assert count.pop("open") == count.pop("close") == 3
    assert count == {"write": 2}


def test_those_that_wait_together_are_written_together(world: World, count: Counter[str]) -> None:
    count.clear()
    outcomes = [world.append(world.message(f"a{number}"), world.message(f"b{number}")) for number in range(10)]
    assert len(world.workers.jobs) == 1
    world.workers.go()
    assert outcomes == [[2 + 2 * number, 3 + 2 * number] for number in range(10)]
    assert count["fsync"] == 20 + 2 and count["link"] == 1
    subjects = [f"{letter}{number}" for number in range(10) for letter in "ab"]
    assert world.seen() == dict(enumerate(["first", *subjects], 1))


def test_who_comes_while_others_are_written_waits_for_the_next_turn(world: World) -> None:
    first, later = world.append(world.message("early")), []
    world.workers.go(while_working=lambda: later.append(world.append(world.message("late"))))
    assert (first, later) == ([2], [[]])
    world.workers.go()
    assert later == [[3]]
    assert world.seen() == {1: "first", 2: "early", 3: "late"}


def test_so_many_at_most(world: World) -> None:
    outcomes = [world.append(world.message(str(number))) for number in range(TOGETHER + 1)]
    assert len(world.workers.jobs) == 2
    world.workers.go()
    assert outcomes == [[2 + number] for number in range(TOGETHER + 1)]


def test_what_keeps_one_from_being_stored_keeps_no_other(world: World) -> None:
    keywords = Flags(keywords=frozenset(f"k{number:02}" for number in range(27)))
    before, one, after = (world.append(world.message(*each)) for each in (("x",), ("y", keywords), ("z",)))
    world.workers.go()
    assert before == [2] and after == [3]
    (failure,) = one
    assert isinstance(failure, Failure) and failure.check(Refused)
    assert failure.value.problem is Problem.TOO_MANY_KEYWORDS  # type: ignore[union-attr]
    assert world.seen() == {1: "first", 2: "x", 3: "z"}


class OneMore(NoLimits):
    """Everybody has room for two messages."""

    def limit(self, account: AccountName) -> QuotaLimit:
        return QuotaLimit(0, 2)


def test_each_has_room_or_not_by_itself(world: World) -> None:
    world.store.quotas.use(OneMore())
    two, one = world.append(world.message("x"), world.message("y")), world.append(world.message("z"))
    world.workers.go()
    assert isinstance(two[0], Failure) and two[0].value.problem is Problem.OVER_QUOTA  # type: ignore[union-attr]
    assert one == [2]
    assert world.seen() == {1: "first", 2: "z"}


def test_a_bug_is_told_to_all_of_them(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    outcomes = [world.append(world.message("x")) for _ in range(3)]
    monkeypatch.setattr("mailstack.store.maildir.counted.append", broken)
    world.workers.go()
    assert [type(failure.value) for (failure,) in outcomes] == [ZeroDivisionError] * 3
    monkeypatch.undo()
    later = world.append(world.message("y"))
    world.workers.go()
    assert later == [2]


def test_nobody_waits_for_a_turn_that_never_came(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*_: object) -> None:
        raise RuntimeError("closed")

    with monkeypatch.context() as patch:
        patch.setattr(world.workers, "run_in_lane", closed)
        (failure,) = world.append(world.message("x"))
    assert isinstance(failure, Failure) and failure.check(RuntimeError)
    later = world.append(world.message("y"))
    world.workers.go()
    assert later == [2]


def test_records_of_another_process_are_looked_at_first(world: World, tmp_path: Path) -> None:
    """Its messages have lower UIDs, and are told before ours."""
    other = Store(tmp_path, InlineWorkers(), RecordingLog())
    heard: list[object] = []
    mailbox = world.store.hub.find(ALICE, "INBOX")
    assert mailbox is not None
    mailbox.listen(type("Hears", (), {"changed": staticmethod(heard.append)})())
    got(got(other.account(ALICE)).append("INBOX", [world.message("theirs")]))
    uids = world.append(world.message("ours"))
    world.workers.go()
    assert uids == [3] and list(mailbox.uids) == [1, 2, 3]
    assert [tuple(each.uids) for each in heard] == [(2, 3)]  # type: ignore[attr-defined]
    assert world.seen() == {1: "first", 2: "theirs", 3: "ours"}
    got(other.close())


def test_a_mailbox_that_another_program_removed_is_not_there(world: World) -> None:
    world.workers.held = False
    got(world.account.create("There"))
    got(world.account.append("There", [world.message("x")]))
    place = folder(world.account.path, "There").path
    place.rename(world.account.path / ".Elsewhere")
    with pytest.raises(Refused) as info:
        got(world.account.append("There", [world.message("y")]))
    assert info.value.problem is Problem.NO_SUCH_MAILBOX
    (world.account.path / ".Elsewhere").rename(place)
    assert got(world.account.append("There", [world.message("z")])).uids == (2,)
