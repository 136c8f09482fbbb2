"""Somebody changes the queue beside the server: what waits, and what is on its way at that moment."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from queue_world import DONE, LATER, NEVER, UNREACHED, QueueWorld, result
from twisted.internet.defer import Deferred

from mailstack.handover import Outcome, Verdict
from mailstack.queue import by_hand
from mailstack.queue.by_hand import ByHand, selected
from mailstack.queue.carrying import Pace
from mailstack.queue.content import Files
from mailstack.queue.database import DATABASE, QueueDatabase
from mailstack.queue.items import BY_HAND, GIVEN_UP
from mailstack.queue.queue import Settled
from mailstack.queue.selection import Selection

BOB, EVE = "bob@example.net", "eve@example.net"


@dataclass
class Operator:
    """Another process on the same queue."""

    world: QueueWorld
    database: QueueDatabase
    files: Files

    @property
    def by_hand(self) -> ByHand:
        return ByHand(self.database, self.files, self.world.now, lambda seconds: None)

    def keys(self, **more: object) -> list[tuple[str, str]]:
        return [(row.item.id, row.destination) for row in selected(self.database, Selection(**more))]  # type: ignore[arg-type]

    def do(self, what: str, **more: object) -> int:
        done: int = getattr(self.by_hand, what)(self.keys(**more))
        return done

    def to_new_destinations(self) -> int:
        """Everything goes to a relay now."""
        return self.by_hand.place_anew(lambda envelope, number: f"relay.{envelope.recipients[number].domain}")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[QueueWorld]:
    made = QueueWorld(tmp_path)
    yield made
    made.close()


@pytest.fixture
def operator(world: QueueWorld) -> Iterator[Operator]:
    files = Files(world.directory / "queue")
    database = QueueDatabase(world.directory / "queue" / DATABASE)
    yield Operator(world, database, files)
    database.close()
    files.close()


def on_its_way(world: QueueWorld, *to: str) -> Deferred[Any]:
    """A message that is being sent; the next hop answers what this is called back with."""
    gate: Deferred[Any] = Deferred()
    world.carrier.answers["example.net"] = deque([gate])
    world.start()
    world.pass_time(2, 1)
    world.send(*(to or (BOB,)))
    return gate


def failures(world: QueueWorld) -> list[dict[int, Outcome]]:
    return [settled.failed for settled in world.reports.settlements if settled.failed]


# --- what waits


def test_held_by_hand_until_it_is_released(world: QueueWorld, operator: Operator) -> None:
    world.carrier.answers["example.net"] = deque([LATER])
    world.start()
    world.send(BOB)
    world.send("carol@held.example")
    assert operator.do("hold") == 1
    assert sorted(row.held for row in world.rows()) == [BY_HAND, "held"], "the other one has a reason already"
    world.pass_time(86400 * 3, 3600)
    assert world.carrier.recipients == [BOB]
    assert world.reports.settlements[1:] == [], "held: nobody hears of it, and it does not expire"
    assert operator.do("release", held=True, destination="example.net") == 1
    world.pass_time(2, 1)
    assert world.carrier.recipients == [BOB, BOB]
    assert operator.do("release") == 1
    world.pass_time(2, 1)
    assert world.carrier.recipients[2:] == ["carol@held.example"]


def test_released_after_its_time_it_is_tried_once(world: QueueWorld, operator: Operator) -> None:
    world.send("carol@held.example")
    world.carrier.answers["held.example"] = deque([LATER])
    world.start()
    world.pass_time(86400 * 3, 3600)
    assert failures(world) == [] and world.carrier.recipients == []
    assert operator.do("release") == 1
    world.pass_time(2, 1)
    assert world.carrier.recipients == ["carol@held.example", "me@example.org"]
    assert [each[0].status for each in failures(world)] == ["4.4.7"]


def test_retried_at_once_though_its_destination_is_left_alone(world: QueueWorld, operator: Operator) -> None:
    world.carrier.unreached["example.net"] = UNREACHED
    world.start()
    world.send(BOB)
    world.pass_time(5, 1)
    world.carrier.unreached.clear()
    assert operator.do("retry") == 1
    assert operator.database.destination_states() == []
    world.pass_time(2, 1)
    assert world.carrier.recipients == [BOB]
    assert world.rows() == []


def test_retry_leaves_what_is_held(world: QueueWorld, operator: Operator) -> None:
    world.start()
    world.send("carol@held.example")
    assert operator.do("retry") == 0
    assert [row.held for row in world.rows()] == ["held"]


def test_failed_by_hand_is_reported_once_with_what_was_said_last(world: QueueWorld, operator: Operator) -> None:
    world.carrier.answers["example.net"] = deque([LATER] * 9)
    world.start()
    world.send(BOB)
    assert operator.do("fail") == 1
    assert operator.do("fail") == 0
    assert [row.held for row in world.rows()] == [GIVEN_UP]
    world.pass_time(3, 1)
    assert world.carrier.recipients == [BOB, "me@example.org"]
    assert world.carrier.sent[1][2].startswith(b"Subject: failed")
    ((outcome,),) = (each.values() for each in failures(world))
    assert (outcome.verdict, outcome.status, outcome.text) == (Verdict.NEVER, "4.4.7", LATER.text)
    assert world.rows() == [] and world.on_disk() == []


def test_failed_while_no_server_runs_is_reported_by_the_next(world: QueueWorld, operator: Operator) -> None:
    world.send(BOB)
    assert operator.do("fail") == 1
    world.restart()
    world.start()
    world.pass_time(2, 1)
    assert world.carrier.recipients == ["me@example.org"]
    assert world.rows() == []
    assert [each[0].text for each in failures(world)] == ["given up before it was tried"]


def test_what_is_given_up_may_be_released_until_the_server_has_seen_it(world: QueueWorld, operator: Operator) -> None:
    world.send(BOB)
    assert operator.do("fail") == operator.do("release") == 1
    world.start()
    world.pass_time(2, 1)
    assert world.carrier.recipients == [BOB]
    assert failures(world) == []


def test_dropped_is_gone_without_a_word(world: QueueWorld, operator: Operator) -> None:
    world.carrier.answers["example.net"] = deque([LATER])
    world.start()
    world.send(BOB)
    world.send("carol@held.example")
    assert operator.do("drop", recipient="BOB@*") == 1
    assert [row.destination for row in world.rows()] == ["held.example"]
    assert len(world.on_disk()) == 1
    assert operator.do("drop") == 1
    assert world.rows() == [] and world.on_disk() == []
    world.pass_time(7200)
    assert world.carrier.recipients == [BOB]


def test_what_changed_meanwhile_is_left_out(world: QueueWorld, operator: Operator) -> None:
    world.start()
    world.send("carol@held.example")
    keys = operator.keys()
    assert result(world.queue.release(lambda row: True, held=True)) == 1
    assert world.rows() == []
    assert [getattr(operator.by_hand, what)(keys) for what in ("hold", "release", "retry", "fail", "drop")] == [0] * 5


def test_many_change_in_pieces(world: QueueWorld, operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_hand, "AT_ONCE", 10)
    for number in range(25):
        world.send(f"user{number}@example.net")
    rests: list[float] = []
    patient = ByHand(operator.database, operator.files, world.now, rests.append)
    assert patient.hold(operator.keys()) == 25
    assert len(rests) == 3 and min(rests) > 0


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"sender": "<>"}, ["c"]),
        ({"sender": "*@EXAMPLE.org"}, ["a", "b", "d"]),
        ({"account": "alice@example.org"}, ["b"]),
        ({"recipient": "b@*"}, ["b"]),
        ({"destination": "*.com"}, ["d"]),
        ({"held": True}, ["d"]),
        ({"recipient": "?@*"}, []),
        ({"recipient": "[a]@*"}, []),
        ({"arrived_before": 1_700_000_015.0}, ["a", "b"]),
        ({"sender": "*", "recipient": "*", "destination": "*", "account": "*"}, ["a", "b", "c", "d"]),
    ],
)
def test_what_is_selected(world: QueueWorld, operator: Operator, more: dict[str, object], expected: list[str]) -> None:
    world.send("a@example.net")
    world.time.advance(10)
    world.send("b@example.net", account="alice@example.org")
    world.time.advance(10)
    world.send("c@example.net", sender="")
    world.time.advance(10)
    world.send("d@example.com")
    operator.do("hold", recipient="d@example.com")
    rows = list(selected(operator.database, Selection(**more)))  # type: ignore[arg-type]
    assert [row.item.envelope.recipients[0].local_part for row in rows] == expected
    by_id = list(selected(operator.database, Selection(items=tuple(row.item.id for row in rows) or ("0",))))
    assert by_id == rows


# --- what is on its way


def test_dropped_on_its_way_is_not_put_back_nor_reported(world: QueueWorld, operator: Operator) -> None:
    for outcome in (LATER, NEVER, DONE):
        gate = on_its_way(world)
        assert operator.do("drop") == 1
        world.pass_time(2, 1)
        gate.callback(outcome)
        world.pass_time(7200)
        assert world.rows() == [] and world.on_disk() == [], outcome
        assert world.carrier.recipients == [BOB], outcome
        world.restart()


@pytest.mark.parametrize(("outcome", "reports"), [(LATER, 1), (NEVER, 1), (DONE, 0)])
def test_failed_on_its_way_is_reported_once_unless_it_arrives(
    world: QueueWorld, operator: Operator, outcome: Outcome, reports: int
) -> None:
    gate = on_its_way(world)
    assert operator.do("fail") == 1
    world.pass_time(3, 1)
    assert failures(world) == [], "nobody knows yet what becomes of it"
    gate.callback(outcome)
    world.pass_time(2, 1)
    assert len(failures(world)) == reports
    world.pass_time(7200)
    assert len(failures(world)) == reports
    assert world.carrier.recipients == [BOB] + ["me@example.org"] * reports
    assert world.rows() == []


def test_held_on_its_way_is_held_if_it_does_not_arrive(world: QueueWorld, operator: Operator) -> None:
    gate = on_its_way(world)
    assert operator.do("hold") == 1
    world.pass_time(2, 1)
    gate.callback(LATER)
    (row,) = world.rows()
    assert (row.held, row.attempts, row.last[0]) == (BY_HAND, 1, LATER)
    world.pass_time(86400, 3600)
    assert world.carrier.recipients == [BOB]


@pytest.mark.parametrize("outcome", [DONE, NEVER])
def test_rerouted_on_its_way_does_not_go_twice(world: QueueWorld, operator: Operator, outcome: Outcome) -> None:
    gate = on_its_way(world, BOB, EVE)
    assert operator.to_new_destinations() == 1
    world.pass_time(120, 1)
    assert world.carrier.recipients == [], "one of the two ways has it"
    gate.callback(outcome)
    world.pass_time(7200)
    assert [name for name in world.carrier.recipients if name in (BOB, EVE)] == [BOB, EVE]
    assert len(failures(world)) == (outcome is NEVER)
    assert world.rows() == [] and world.on_disk() == []


def test_rerouted_on_its_way_goes_the_new_way_when_it_did_not_arrive(world: QueueWorld, operator: Operator) -> None:
    gate = on_its_way(world, BOB, EVE)
    assert operator.to_new_destinations() == 1
    world.pass_time(2, 1)
    world.carrier.answers["relay.example.net"] = deque([LATER])
    gate.callback({BOB: DONE, EVE: LATER})
    (row,) = world.rows()
    assert (row.destination, row.recipients) == ("relay.example.net", (1,))
    tried = world.database.attempts_of(row.item.id)
    assert [name for name, _ in tried] == ["example.net", "relay.example.net"]
    assert [(to, names) for to, names, _ in world.carrier.sent] == [
        ("example.net", (BOB, EVE)), ("relay.example.net", (EVE,)),
    ]  # fmt: skip
    world.pass_time(400)
    assert world.rows() == [] and world.on_disk() == []
    assert world.database.attempts_of(row.item.id) == []


def test_what_is_given_up_takes_nobody_along(world: QueueWorld, operator: Operator) -> None:
    world.send(BOB, "carol@example.com")
    assert operator.do("fail", destination="example.net") == 1
    assert operator.by_hand.place_anew(lambda envelope, number: "example.net") == 0
    assert operator.by_hand.place_anew(lambda envelope, number: "example.com") == 0
    world.start()
    world.pass_time(2, 1)
    assert sorted(world.carrier.recipients) == ["carol@example.com", "me@example.org"]
    assert operator.by_hand.place_anew(lambda envelope, number: "example.net") == 0


def test_rerouted_to_where_the_rest_is_on_its_way(world: QueueWorld, operator: Operator) -> None:
    """A second destination's recipients join a row that is being sent: they are not taken for sent."""
    world.carrier.unreached["example.com"] = UNREACHED
    gate = on_its_way(world, BOB, "carol@example.com")
    assert operator.by_hand.place_anew(lambda envelope, number: "example.net") == 1
    assert [row.recipients for row in world.rows()] == [(0, 1)]
    world.pass_time(2, 1)
    gate.callback(DONE)
    world.pass_time(7200)
    assert sorted(world.carrier.recipients) == [BOB, "carol@example.com"]
    assert world.rows() == [] and failures(world) == []


def test_what_is_about_to_be_sent_is_looked_at_again(world: QueueWorld, operator: Operator) -> None:
    world.carrier.paces["example.net"] = Pace(connections=1, per_minute=1)
    world.start()
    world.pass_time(2, 1)
    names = [f"user{number}@example.net" for number in range(6)]
    for name in names:
        world.send(name)
        world.time.advance(0.01)
    assert world.carrier.recipients == names[:1]
    assert operator.do("hold", recipient=names[1]) == operator.do("drop", recipient=names[2]) == 1
    assert operator.do("fail", recipient=names[3]) == 1
    world.pass_time(600, 1)
    assert [name for name in world.carrier.recipients if name in names] == [names[0], *names[4:]]
    assert len(failures(world)) == 1
    assert [row.held for row in world.rows()] == [BY_HAND]


def test_what_a_lane_has_read_ahead_is_read_again(world: QueueWorld, operator: Operator) -> None:
    world.carrier.paces["example.net"] = Pace(connections=1)
    for number in range(4):
        world.send(f"user{number}@example.net")
        world.time.advance(0.01)
    gate: Deferred[Any] = Deferred()
    world.carrier.answers["example.net"] = deque([gate])
    world.start()
    world.pass_time(2, 1)
    assert operator.do("hold", recipient="user1@*") == operator.do("fail", recipient="user2@*") == 1
    world.pass_time(2, 1)
    gate.callback(DONE)
    world.pass_time(2, 1)
    assert sorted(world.carrier.recipients) == ["me@example.org", "user0@example.net", "user3@example.net"]
    assert [row.held for row in world.rows()] == [BY_HAND]


def test_what_was_decided_of_an_older_row_is_not_done(world: QueueWorld) -> None:
    world.carrier.answers["example.net"] = deque([LATER])
    world.send(BOB)
    (before,) = world.rows()
    world.start()
    result(world.queue.settle(Settled(before, None)))
    (row,) = world.rows()
    assert row.attempts == 1
    result(world.queue.settle(Settled(row, None)))
    assert world.rows() == []


def test_reports_that_are_late_are_not_made_of_what_was_tried_meanwhile(tmp_path: Path) -> None:
    world = QueueWorld(tmp_path, warn=60.0, retry=(50.0, 3600.0))
    gate = on_its_way(world)
    world.pass_time(180, 30)
    assert [settled.late for settled in world.reports.settlements] == [], "it is on its way"
    gate.callback(LATER)
    assert [bool(settled.late) for settled in world.reports.settlements if settled.late] == [True]
    world.pass_time(180, 30)
    assert len([settled for settled in world.reports.settlements if settled.late]) == 1
    world.close()
