"""The journal: what is found, what goes when there is too much, and what happens when it cannot be written."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from mailstack.journeys import Event, Step
from mailstack.observe.journal import FLUSH, MAX_WAITING, JournalDatabase, RunningJournal
from mailstack.testing.log import RecordingLog


def event(number: int, step: Step = Step.DELIVERED, **more: Any) -> Event:
    fields: dict[str, Any] = {
        "at": 1000.0 + number, "journey": f"j{number}", "step": step, "recipient": "bob@example.net",
        "sender": "alice@example.org", "message_id": f"<{number}@example.org>",
    }  # fmt: skip
    return Event(**{**fields, **more})


@pytest.fixture
def database(tmp_path: Path) -> Iterator[JournalDatabase]:
    made = JournalDatabase(tmp_path / "journal.sqlite3")
    yield made
    made.close()


def add(database: JournalDatabase, *events: Event, most: int = 1000, since: float = 0.0) -> None:
    database.add(events, most, since)


def test_all_of_a_journey_is_found_by_each_of_its_names(database: JournalDatabase) -> None:
    whole = [
        event(1, Step.QUEUED, where="q1"),
        event(1, Step.DEFERRED, message_id="", where="mx.example.net", status="4.2.0", reason="450 greylisted"),
        event(1, Step.SENT, message_id="", where="mx.example.net", status="2.0.0"),
    ]
    add(database, event(0), *whole, event(2, recipient="eve@example.com"))
    assert database.of_message("<1@example.org>") == whole
    assert database.of_journey("j1") == whole
    assert database.of_journey("q1") == whole
    assert database.of_recipient("eve@example.com") == [event(2, recipient="eve@example.com")]
    assert database.of_message("<9@example.org>") == database.of_journey("j9") == []


def test_of_a_recipient_the_latest_messages_are_shown(database: JournalDatabase) -> None:
    add(database, *map(event, range(100)))
    assert database.of_recipient("bob@example.net", 3) == [event(97), event(98), event(99)]


def test_the_oldest_go_when_there_are_too_many(database: JournalDatabase) -> None:
    for number in range(300):
        add(database, event(number), most=100)
    left = database.of_recipient("bob@example.net", 1000)
    assert 100 <= len(left) <= 102
    assert left[-1] == event(299)


def test_the_old_go(database: JournalDatabase) -> None:
    add(database, *map(event, range(10)))
    add(database, event(10), since=1005.0)
    assert database.of_recipient("bob@example.net") == list(map(event, range(5, 11)))


def test_it_is_there_after_a_restart(tmp_path: Path) -> None:
    for number in range(3):
        database = JournalDatabase(tmp_path / "journal.sqlite3")
        add(database, event(number), most=2)
        database.close()
    database = JournalDatabase(tmp_path / "journal.sqlite3")
    assert database.of_recipient("bob@example.net") == [event(1), event(2)]
    database.close()


async def _inline(fn: Callable[[], Any]) -> Any:
    return fn()


def running(database: JournalDatabase, time: Clock, log: RecordingLog, run: Any = _inline) -> RunningJournal:
    return RunningJournal(database, run, time, log, lambda: 2000.0, 1000, 30)


def test_events_are_written_together_after_a_moment(database: JournalDatabase) -> None:
    time, log = Clock(), RecordingLog()
    journal = running(database, time, log)
    for number in range(5):
        journal.note(event(number))
    assert database.of_recipient("bob@example.net") == []
    time.advance(FLUSH)
    assert len(database.of_recipient("bob@example.net")) == 5
    assert time.getDelayedCalls() == [], "nothing waits when there is nothing to write"


def test_a_stop_writes_what_waits(database: JournalDatabase) -> None:
    time = Clock()
    journal = running(database, time, RecordingLog())
    journal.note(event(1))
    Deferred.fromCoroutine(journal.stop())
    assert database.of_journey("j1") == [event(1)]
    assert time.getDelayedCalls() == []


def test_a_disk_that_fails_is_a_line_in_the_log(database: JournalDatabase) -> None:
    async def fail(fn: Callable[[], Any]) -> Any:
        raise sqlite3.OperationalError("disk I/O error")

    time, log = Clock(), RecordingLog()
    journal = running(database, time, log, fail)
    journal.note(event(1))
    time.advance(FLUSH)
    assert log.whats("warning") == ["journal not written"]


def test_what_waits_is_bounded(database: JournalDatabase) -> None:
    stuck: Deferred[None] = Deferred()

    async def slow(fn: Callable[[], Any]) -> Any:
        await stuck
        return fn()

    time, log = Clock(), RecordingLog()
    journal = running(database, time, log, slow)
    journal.note(event(0))
    time.advance(FLUSH)
    for number in range(MAX_WAITING + 10):
        journal.note(event(number))
    stuck.callback(None)
    time.advance(FLUSH)
    assert "journal does not keep up" in log.whats("warning")


@pytest.mark.parametrize(
    ("find", "index"),
    [
        (lambda database: database.of_message("<1@example.org>"), "event_message_id"),
        (lambda database: database.of_recipient("bob@example.net"), "event_recipient"),
        (lambda database: database.of_journey("q1"), "event_queue_id"),
    ],
)
def test_no_question_reads_all_of_it(
    database: JournalDatabase, find: Callable[[JournalDatabase], object], index: str
) -> None:
    asked: list[tuple[str, Any]] = []

    class Asked:
        def execute(self, statement: str, values: Any) -> list[Any]:
            asked.append((statement, values))
            return []

    connection, database._connection = database._connection, Asked()  # type: ignore[assignment]
    find(database)
    database._connection = connection
    plans = [row[3] for each in asked for row in connection.execute(f"EXPLAIN QUERY PLAN {each[0]}", each[1])]
    assert any(index in plan for plan in plans), plans
    assert not any(plan.startswith("SCAN event") for plan in plans), plans
