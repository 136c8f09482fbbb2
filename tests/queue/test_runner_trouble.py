"""The runner when something is wrong here: clocks, disks, damaged messages, bugs, and the end of the process."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from queue_world import DONE, EPOCH, LATER, MESSAGE, NEVER, UNREACHED, QueueWorld, World
from twisted.internet.defer import Deferred

from mailstack.mail.address import Address
from mailstack.mail.parameters import MailParameters, Return
from mailstack.ports import Envelope
from mailstack.queue.carrying import Pace
from mailstack.queue.content import Slice
from mailstack.queue.database import DATABASE, QueueDatabase
from mailstack.queue.items import Waiting
from mailstack.queue.queue import NewReport


@pytest.fixture
def make(tmp_path: Path) -> Iterator[World]:
    made: list[QueueWorld] = []

    def world(**more: object) -> QueueWorld:
        made.append(QueueWorld(tmp_path, **more))
        return made[-1]

    yield world
    for each in made:
        each.close()


# --- clocks


def test_a_clock_that_jumps_ahead_returns_nothing_untried(make: World) -> None:
    world = make(expire=7000.0)
    world.carrier.unreached["example.net"] = UNREACHED
    world.start()
    world.send("bob@example.net")
    world.carrier.unreached.clear()
    world.shift += 10 * 86400
    world.pass_time(200)
    assert world.carrier.recipients == ["bob@example.net"]


def test_a_clock_that_is_set_back_delays_nothing_for_long(make: World) -> None:
    world = make()
    world.carrier.answers["example.net"] = deque([LATER])
    world.start()
    world.send("bob@example.net")
    world.shift -= 10 * 86400
    world.pass_time(120)
    assert world.carrier.recipients == ["bob@example.net"] * 2
    assert "the clock was set back" in world.log.whats("warning")


def test_a_destination_that_rests_does_not_rest_for_days_when_the_clock_is_set_back(make: World) -> None:
    world = make()
    world.carrier.unreached["example.net"] = UNREACHED
    world.start()
    world.send("bob@example.net")
    world.send("eve@example.net")  # and is never tried
    world.carrier.unreached.clear()
    world.shift -= 10 * 86400
    world.pass_time(2400)
    assert sorted(world.carrier.recipients) == ["bob@example.net", "eve@example.net"]


def test_a_clock_that_was_set_back_while_nobody_looked_delays_nothing_for_long(make: World) -> None:
    world = make()
    world.carrier.answers["example.net"] = deque([LATER])
    world.carrier.unreached["example.com"] = UNREACHED
    world.start()
    world.send("bob@example.net")
    world.send("bob@example.com")
    world.send("eve@example.com")
    held = int(EPOCH) + 86400
    world.send("bob@example.net", parameters=MailParameters(hold_until=held))
    world.shift -= 10 * 86400
    world.restart()
    world.start()
    world.pass_time(2400)
    assert sorted(world.carrier.recipients) == ["bob@example.com", "bob@example.net", "eve@example.com"]
    (row,) = world.rows()
    assert row.due == held, "what its sender wants to be held is held"


def test_a_rate_does_not_wait_for_days_when_the_clock_is_set_back(make: World) -> None:
    world = make()
    world.carrier.paces["example.net"] = Pace(per_minute=30)
    world.start()
    world.send("bob@example.net")
    world.shift -= 86400
    world.pass_time(90)
    world.send("eve@example.net")
    world.pass_time(90)
    assert world.carrier.recipients == ["bob@example.net", "eve@example.net"]


# --- what goes wrong here


def test_a_bug_defers_the_message_and_the_lane_goes_on(make: World) -> None:
    world = make()
    world.carrier.answers["example.net"] = deque([ZeroDivisionError()])
    world.carrier.paces["example.net"] = Pace(connections=1)
    world.send("a@example.net")
    world.time.advance(1)
    world.send("b@example.net")
    world.start()
    assert world.carrier.recipients == ["b@example.net"]
    (row,) = world.rows()
    assert row.last[0].status == "4.3.0"


def test_a_file_that_was_cut_short_is_returned_not_sent(make: World) -> None:
    world = make()
    name = world.send("bob@example.net")
    world.restart()  # it is not in memory any more
    path = world.files.path(name)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 3)
    world.start()
    assert [destination for destination, _, _ in world.carrier.sent] == ["example.org"]
    (failed,) = [settled.failed for settled in world.reports.settlements if settled.failed]
    assert failed[0].status == "5.3.0"
    assert "queued message cannot be read" in world.log.whats("warning")


def test_what_was_delivered_is_not_forgotten_when_the_disk_is_full(
    make: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make()
    world.start()
    settle = world.queue.settle
    failures = [OSError(28, "No space left on device")] * 3

    async def full(*args: object, **more: object) -> None:
        if failures:
            raise failures.pop()
        await settle(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(world.queue, "settle", full)
    world.send("bob@example.net")
    assert len(world.rows()) == 1
    world.pass_time(20, 5)
    assert world.rows() == []
    assert world.carrier.recipients == ["bob@example.net"], "once"


def test_reports_are_made_once_however_long_the_disk_is_full(make: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make()
    world.carrier.answers["example.net"] = deque([NEVER])
    world.start()
    failures, made = [OSError(28, "No space left on device")] * 5, []
    write, reports = world.files.write, world.reports.reports

    def full(name: str, found: Envelope, *rest: Any) -> int:
        if failures and found.sender is None:
            raise failures.pop()
        return write(name, found, *rest)

    async def counted(*about: Any) -> Any:
        made.append(about)
        return await reports(*about)

    monkeypatch.setattr(world.files, "write", full)
    monkeypatch.setattr(world.reports, "reports", counted)
    world.send("bob@example.net")
    world.pass_time(40, 5)
    assert not failures and len(made) == 1, "a limit of reports an hour is not used up"
    assert world.carrier.recipients == ["bob@example.net", "me@example.org"]


def test_a_report_whose_message_is_damaged_goes_with_what_there_is(make: World) -> None:
    """A report that wants the whole message of a file that was cut short; the beginning can be read."""
    world = make()
    asked: list[Return | None] = []

    async def reports(waiting: Waiting, *rest: Any) -> Any:
        item = waiting.item
        asked.append(item.envelope.parameters.ret)
        whole = () if asked[-1] is Return.HEADERS else (Slice(item.id, item.offset, item.size),)
        return (NewReport(Envelope(None, (Address("me", "example.org"),)), (b"failed\r\n", *whole)),)

    world.reports.reports = reports  # type: ignore[method-assign]
    name = world.send("bob@example.net", message=MESSAGE + b"x" * 200_000)
    with world.files.path(name).open("r+b") as file:
        file.truncate(200_000)
    world.start()
    assert asked == [None, Return.HEADERS]
    assert [(to, octets) for _, to, octets in world.carrier.sent] == [(("me@example.org",), b"failed\r\n")]
    assert world.rows() == [] and world.on_disk() == []


def test_a_bug_in_reports_sends_nothing_twice_and_loses_no_report(make: World) -> None:
    world = make()
    world.carrier.answers["example.net"] = deque([{"a@example.net": DONE, "b@example.net": NEVER}, NEVER])
    reports = world.reports.reports

    async def broken(*about: Any) -> Any:
        raise ZeroDivisionError

    world.reports.reports = broken  # type: ignore[method-assign]
    world.start()
    world.send("a@example.net", "b@example.net")
    assert [row.recipients for row in world.rows()] == [(1,)]
    world.reports.reports = reports  # type: ignore[method-assign]
    world.pass_time(400)
    assert world.carrier.recipients == ["a@example.net", "b@example.net", "b@example.net", "me@example.org"]
    assert world.rows() == []
    assert "report not made" in world.log.whats("failure")


def test_a_screen_that_fails_defers_the_message(make: World) -> None:
    world = make()

    async def broken(*about: Any) -> Any:
        raise ZeroDivisionError

    world.reports.suppressed = broken  # type: ignore[method-assign]
    world.start()
    world.send("a@example.net")
    (row,) = world.rows()
    assert (row.attempts, world.carrier.sent) == (1, [])


def test_whoever_cannot_be_told_of_a_message_it_is_ours(make: World) -> None:
    """An enqueue that fails after the commit would be a message that comes twice."""
    world = make()
    world.start()

    def broken(destination: str, due: float) -> None:
        raise ZeroDivisionError

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(world.runner, "arrived", broken)
        world.send("a@example.net")
    assert len(world.rows()) == 1
    world.pass_time(90)
    assert world.carrier.recipients == ["a@example.net"]


def test_a_stop_does_not_wait_for_a_rate(make: World) -> None:
    world = make()
    world.carrier.paces["example.net"] = Pace(per_minute=1)
    world.send("a@example.net")
    world.send("b@example.net")
    world.start()
    stopped: list[object] = []
    Deferred.fromCoroutine(world.runner.stop(30.0)).addBoth(stopped.append)
    assert stopped == [None]
    assert len(world.carrier.sent) == 1 and len(world.rows()) == 1
    assert world.time.getDelayedCalls() == []


def test_what_comes_to_a_destination_that_rests_takes_no_memory(make: World) -> None:
    world = make()
    world.carrier.unreached["example.net"] = UNREACHED
    world.start()
    for _ in range(60):
        world.send("bob@example.net")
    assert len(world.runner._agenda) <= 3
    world.carrier.unreached.clear()
    world.pass_time(90)
    assert len(world.carrier.sent) == 59, "all but the one that was tried"


def test_a_stop_lets_what_is_on_its_way_arrive(make: World) -> None:
    world = make()
    gate: Deferred[None] = Deferred()
    world.carrier.answers["example.net"] = deque([gate])
    world.start()
    world.send("bob@example.net")
    world.send("late@example.net")
    stopped: list[object] = []
    Deferred.fromCoroutine(world.runner.stop(30.0)).addBoth(stopped.append)
    assert stopped == []
    gate.callback(None)
    assert stopped == [None]
    assert "bob@example.net" in world.carrier.recipients
    assert world.time.getDelayedCalls() == []


def test_a_stop_cuts_what_does_not_end(make: World) -> None:
    world = make()
    gate: Deferred[None] = Deferred()
    world.carrier.answers["example.net"] = deque([gate])
    world.start()
    world.send("bob@example.net")
    stopped: list[object] = []
    Deferred.fromCoroutine(world.runner.stop(30.0)).addBoth(stopped.append)
    world.time.advance(30)
    assert world.carrier.hops[0].aborted
    gate.errback(UNREACHED)
    assert stopped == [None]
    assert len(world.rows()) == 1


def test_a_stop_does_not_wait_for_who_cannot_be_reached(make: World) -> None:
    world = make()
    world.carrier.opening = Deferred()
    world.start()
    world.send("bob@example.net")
    stopped: list[object] = []
    Deferred.fromCoroutine(world.runner.stop(30.0)).addBoth(stopped.append)
    assert stopped == []
    world.time.advance(30)
    assert stopped == [None]
    world.carrier.opening.callback(None)
    assert world.carrier.sent == [] and world.carrier.hops[0].aborted, "it would be sent twice"


def test_another_process_changes_the_queue(make: World, tmp_path: Path) -> None:
    world = make()
    world.start()
    world.send("bob@held.example")
    world.pass_time(3, 1)
    other = QueueDatabase(tmp_path / "queue" / DATABASE)
    try:
        (row,) = other.all()
        other.transaction(lambda: other.replace(replace(row, held="", due=world.now())))
        world.pass_time(2, 1)
        assert world.carrier.recipients == ["bob@held.example"]
    finally:
        other.close()
