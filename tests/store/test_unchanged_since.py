"""UNCHANGEDSINCE (RFC 7162 §3.1.3) is tested together with the change, whatever was done since the client asked."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from transcripts import result
from twisted.internet.defer import Deferred

from mailstack.ports import AccountName, Change, Flag, FlagAction, Flags, NewMessage
from mailstack.store.api import Store
from mailstack.store.maildir.lately import Lately
from mailstack.store.maildir.modseq import SLACK
from mailstack.store.workers import InlineWorkers, Job
from mailstack.testing.log import RecordingLog

T = TypeVar("T")
ALICE = AccountName("alice@example.org")
SEEN, FLAGGED = Flags(Flag.SEEN), Flags(Flag.FLAGGED)


class PatientWorkers(InlineWorkers):
    """With `held`, jobs of the lane wait there until they are let go."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[Job[Any]] | None = None

    def run_in_lane(self, lane: str, fn: Callable[[], T]) -> Deferred[T]:
        if self.held is None:
            return super().run_in_lane(lane, fn)
        job = Job(fn)
        self.held.append(job)
        return job.done

    def go(self) -> None:
        """One job after the other: each has begun before what the last one found has been taken in."""
        jobs, self.held = self.held or [], None
        for job, following in zip(jobs, [*jobs[1:], None], strict=True):
            if job.fn is not None:
                job.work()
            if following is not None:
                following.work()
            job.finish()


class Quiet:
    def changed(self, change: Change) -> None:
        """It only has the mailbox open."""


class World:
    def __init__(self, data: Path) -> None:
        self.workers = PatientWorkers()
        self.store = Store(data, self.workers, RecordingLog())
        account = result(self.store.account(ALICE))
        sink = self.store.spool.sink()
        result(sink.write(b"Subject: x\r\n\r\n"))
        result(account.append("INBOX", [NewMessage(result(sink.finish()))] * 3))
        self.mailbox: Any = result(account.open("INBOX", Quiet()))

    def store_later(self, uids: list[int], flags: Flags, unchanged_since: int | None = None) -> list[Any]:
        """What STORE returns, in a list that is filled when it has ended."""
        found: list[Any] = []
        if self.workers.held is not None:
            self.mailbox.refresh = _nothing  # as when a watch has seen nothing: it does not wait for the lane
        storing = self.mailbox.store_flags(uids, FlagAction.ADD, flags, None, unchanged_since=unchanged_since)
        Deferred.fromCoroutine(storing).addBoth(found.append)
        return found

    def modseq(self, uid: int) -> int:
        return int(self.mailbox.columns([uid]).modseqs[0])


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    result(world.store.close())


def test_a_change_that_waits_before_it_counts(world: World) -> None:
    known = world.mailbox.highest_modseq
    world.workers.held = []
    first = world.store_later([1], SEEN)
    second = world.store_later([1, 2], FLAGGED, known)
    world.workers.go()
    assert (first, second) == ([[]], [[1]])
    assert [world.mailbox.flags(uid) for uid in (1, 2)] == [Flag.SEEN, Flag.FLAGGED]
    assert world.store_later([1, 2], FLAGGED, world.mailbox.highest_modseq) == [[]]


def test_a_change_that_waits_before_others_counts(world: World) -> None:
    known = world.mailbox.highest_modseq
    world.workers.held = []
    world.store_later([1], SEEN)
    world.store_later([3], SEEN)
    world.store_later([3], FLAGGED)
    last = world.store_later([1, 2], FLAGGED, known)
    world.workers.go()
    assert last == [[1]]


def test_a_change_that_came_to_nothing_counts(world: World) -> None:
    known = world.mailbox.highest_modseq
    world.workers.held = []
    world.store_later([1], SEEN)
    Deferred.fromCoroutine(world.mailbox.store_flags([1], FlagAction.REMOVE, SEEN, None))
    last = world.store_later([1], FLAGGED, known)
    world.workers.go()
    assert last == [[1]]
    assert world.mailbox.flags(1) == 0


def test_what_another_program_did_counts(world: World) -> None:
    known = world.mailbox.highest_modseq
    path = Path(world.mailbox.files.locate(1))
    path.rename(f"{path}S")
    assert world.store_later([1, 2], SEEN, known) == [[1]], "it is noticed before"
    assert world.store_later([1, 2], FLAGGED, known) == [[]], "which was another flag"
    known = world.mailbox.highest_modseq
    path = Path(world.mailbox.files.locate(2))
    world.mailbox.refresh = _nothing
    path.rename(f"{path}R")
    assert world.store_later([2, 3], Flags(Flag.DRAFT), known) == [[2]], "it is noticed as the file is renamed"
    assert world.mailbox.flags(2) == Flag.FLAGGED | Flag.ANSWERED | Flag.SEEN
    assert sorted(os.listdir(path.parent))[1].endswith(":2,FSR")


async def _nothing() -> None:
    """In the place of a look."""


@pytest.mark.parametrize(("action", "failed"), [(FlagAction.ADD, [1]), (FlagAction.REMOVE, [1, 2]),
                                                (FlagAction.REPLACE, [1, 2])])  # fmt: skip
def test_nothing_but_a_keyword_that_is_not_set_is_unchanged_since_0(
    world: World, action: FlagAction, failed: list[int]
) -> None:
    sent = Flags(keywords=frozenset({"$MDNSent"}))
    world.store_later([1], sent)
    storing = world.mailbox.store_flags([1, 2], action, sent, None, unchanged_since=0)
    assert result(storing) == failed
    both = Flags(Flag.SEEN, frozenset({"$New"}))
    storing = world.mailbox.store_flags([3], FlagAction.ADD, both, None, unchanged_since=0)
    assert result(storing) == [3]


def test_a_number_of_ours_is_exact_and_another_is_not(world: World) -> None:
    world.store_later([1], SEEN)
    first = world.modseq(1)
    result(world.mailbox.expunge([3], None))
    gone = world.mailbox.highest_modseq
    world.store_later([2], SEEN)
    assert [world.mailbox.since(number) for number in (first, gone, world.modseq(2))] == [first, gone, world.modseq(2)]
    assert world.mailbox.since(first + 1) == first + 1 - SLACK
    assert world.mailbox.since(5) == 0
    # What another process gave between two of ours may not know the first of them.
    assert world.store_later([1], FLAGGED, world.modseq(2) - 1) == [[1]]
    assert world.store_later([1], FLAGGED, first) == [[]]


def test_what_the_columns_have_is_not_kept_unless_somebody_asks() -> None:
    lately = Lately()
    lately.note([1, 2], 10)
    lately.applied(10)
    lately.note([3], 11)
    assert [lately.modseq(uid) for uid in (1, 2, 3)] == [0, 0, 11]
    with lately.asking():
        lately.applied(11)
        lately.note([4], 12)
        assert [lately.modseq(uid) for uid in (3, 4)] == [11, 12]
    lately.applied(12)
    lately.note([], 13)
    assert lately.modseq(4) == 0
