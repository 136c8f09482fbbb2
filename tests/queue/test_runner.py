"""The runner over a real queue: what is tried when, over how many connections, and what becomes of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from queue_world import DONE, EPOCH, LATER, MESSAGE, NEVER, UNREACHED, QueueWorld, World, result
from twisted.internet.defer import Deferred

from mailstack.handover import HopFailed, Outcome, Verdict
from mailstack.mail.parameters import DeliverBy, MailParameters
from mailstack.queue.carrying import Pace
from mailstack.queue.database import DATABASE, QueueDatabase
from mailstack.queue.items import Census


@pytest.fixture
def make(tmp_path: Path) -> Iterator[World]:
    made: list[QueueWorld] = []

    def world(**more: object) -> QueueWorld:
        made.append(QueueWorld(tmp_path, **more))
        return made[-1]

    yield world
    for each in made:
        each.close()


def test_what_comes_is_sent_at_once_and_forgotten(make: World) -> None:
    world = make()
    world.start()
    world.send("bob@example.net")
    assert world.carrier.sent == [("example.net", ("bob@example.net",), b"Received: x\r\n" + MESSAGE)]
    assert world.rows() == []
    assert world.on_disk() == []


def test_what_waited_is_sent_after_a_start(make: World) -> None:
    world = make()
    world.send("bob@example.net")
    world.restart()
    assert len(world.rows()) == 1
    world.start()
    assert world.carrier.recipients == ["bob@example.net"]
    assert world.rows() == []


def test_recipients_of_two_destinations_are_apart(make: World) -> None:
    world = make()
    world.carrier.unreached["example.com"] = UNREACHED
    world.start()
    world.send("bob@example.net", "eve@example.com")
    assert world.carrier.recipients == ["bob@example.net"]
    (row,) = world.rows()
    assert (row.destination, row.recipients, row.attempts) == ("example.com", (1,), 1)
    assert row.last[1].text == "connection refused"
    assert len(world.on_disk()) == 1, "the file stays while somebody waits"


def test_each_recipient_has_an_answer_of_his_own(make: World) -> None:
    world = make()
    world.carrier.answers["example.net"] = deque(
        [{"a@example.net": DONE, "b@example.net": LATER, "c@example.net": NEVER}]
    )
    world.start()
    world.send("a@example.net", "b@example.net", "c@example.net")
    (row,) = [row for row in world.rows() if row.destination == "example.net"]
    assert row.recipients == (1,)
    world.pass_time(400)
    assert world.carrier.recipients == [
        "a@example.net", "b@example.net", "c@example.net", "me@example.org", "b@example.net",
    ]  # fmt: skip
    assert world.rows() == []
    assert [settled.failed for settled in world.reports.settlements if settled.failed] == [{2: NEVER}]


def test_it_is_tried_again_when_it_is_due(make: World) -> None:
    world = make(retry=(300.0, 600.0))
    world.carrier.answers["example.net"] = deque([LATER] * 3)
    world.start()
    world.send("bob@example.net")
    times = [0.0]
    for _ in range(120):
        before = len(world.carrier.sent)
        world.pass_time(30)
        if len(world.carrier.sent) > before:
            times.append(world.time.seconds())
    assert times == [0.0, 300.0, 900.0, 1500.0]
    assert world.rows() == []


def test_a_failure_is_reported_once_and_to_the_sender(make: World) -> None:
    world = make()
    world.carrier.answers["example.net"] = deque([NEVER])
    world.start()
    world.send("bob@example.net")
    destination, to, octets = world.carrier.sent[1]
    assert (destination, to) == ("example.org", ("me@example.org",))
    assert octets.startswith(b"Subject: failed\r\n\r\nReceived: x\r\nSubject: x")
    world.pass_time(7200)
    assert len(world.carrier.sent) == 2


def test_a_report_that_fails_makes_no_report(make: World) -> None:
    world = make()
    world.carrier.answers["example.net"] = deque([NEVER])
    world.carrier.answers["example.org"] = deque([NEVER])
    world.start()
    world.send("bob@example.net")
    assert len(world.carrier.sent) == 2
    assert world.rows() == []


def test_it_is_given_up_when_its_time_is_over(make: World) -> None:
    world = make(retry=(3600.0,), expire=7000.0)
    world.carrier.answers["example.net"] = deque([LATER] * 10)
    world.start()
    world.send("bob@example.net")
    world.pass_time(7000)
    assert [name for name, _, _ in world.carrier.sent] == ["example.net"] * 3 + ["example.org"]
    failed = [settled.failed for settled in world.reports.settlements if settled.failed]
    assert [(each[0].verdict, each[0].status, each[0].text) for each in failed] == [
        (Verdict.NEVER, "4.4.7", "450 4.2.0 greylisted")
    ]
    assert world.rows() == []


def test_what_was_never_tried_is_given_up_with_its_destination(make: World) -> None:
    world = make(expire=7000.0)
    world.carrier.unreached["example.net"] = UNREACHED
    world.start()
    for _ in range(8):
        world.send("bob@example.net")
    world.pass_time(12000)
    failed = [settled.failed[0] for settled in world.reports.settlements if settled.failed]
    assert [(each.status, each.text) for each in failed] == [("4.4.7", "connection refused")] * 8
    assert world.rows() == []


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


def test_the_sender_hears_once_that_it_is_late(make: World) -> None:
    world = make(warn=3000.0)
    world.carrier.answers["example.net"] = deque([LATER] * 20)
    world.start()
    world.send("bob@example.net")
    world.pass_time(20000)
    assert [to for name, to, _ in world.carrier.sent if name == "example.org"] == [("me@example.org",)]
    assert world.carrier.sent[-1][0] == "example.net"


def test_the_sender_hears_of_a_destination_that_cannot_be_reached(make: World) -> None:
    world = make(warn=3000.0, retry=(100_000.0,))
    world.carrier.unreached["example.net"] = UNREACHED
    world.start()
    world.send("bob@example.net")
    world.pass_time(3100)
    assert [octets[:13] for name, _, octets in world.carrier.sent if name == "example.org"] == [b"Subject: late"]


def test_deliver_by_returns_in_time(make: World) -> None:
    world = make()
    world.carrier.answers["example.net"] = deque([LATER] * 9)
    world.start()
    by = DeliverBy(int(EPOCH) + 500, or_return=True)
    world.send("bob@example.net", parameters=MailParameters(deliver_by=by))
    world.pass_time(540)
    assert [name for name, _, _ in world.carrier.sent] == ["example.net"] * 3 + ["example.org"]


def test_what_is_held_for_a_time_is_sent_then(make: World) -> None:
    world = make()
    world.start()
    world.send("bob@example.net", parameters=MailParameters(hold_until=int(EPOCH) + 5000))
    world.pass_time(4980)
    assert world.carrier.sent == []
    world.pass_time(60)
    assert world.carrier.recipients == ["bob@example.net"]


def test_what_is_held_is_not_sent_until_it_is_released(make: World) -> None:
    world = make()
    world.start()
    world.send("bob@held.example")
    world.pass_time(86400 * 3, 3600)
    assert world.carrier.sent == []
    assert result(world.queue.release(lambda row: True, held=True)) == 1
    assert world.carrier.recipients == ["bob@held.example"]


# --- destinations


def test_a_destination_that_cannot_be_reached_is_left_alone(make: World) -> None:
    world = make()
    world.carrier.unreached["example.net"] = UNREACHED
    world.start()
    for number in range(20):
        world.send(f"user{number}@example.net")
    assert world.carrier.tried == ["example.net"], "one attempt says it for all of them"
    world.send("bob@example.com")
    assert world.carrier.recipients == ["bob@example.com"], "and the others go on"
    world.pass_time(3600)
    assert 4 <= len(world.carrier.tried) <= 9
    world.carrier.unreached.clear()
    world.pass_time(1800 * 1.2)
    assert len(world.carrier.recipients) == 21


def test_that_it_cannot_be_reached_outlives_a_restart(make: World) -> None:
    world = make()
    world.carrier.unreached["example.net"] = UNREACHED
    world.start()
    world.send("a@example.net")
    world.send("b@example.net")
    (state,) = world.database.destination_states()
    assert (state.name, state.failures, state.text) == ("example.net", 1, "connection refused")
    world.restart()
    world.start()
    assert world.carrier.tried == []
    world.pass_time(90)
    assert world.carrier.recipients == ["b@example.net"]
    assert world.database.destination_states() == []


def test_a_destination_that_nothing_waits_for_is_forgotten(make: World) -> None:
    world = make()
    world.carrier.unreached["example.net"] = UNREACHED
    world.start()
    world.send("bob@example.net")
    assert len(world.database.destination_states()) == 1
    world.database.transaction(lambda: [world.database.remove(row.item.id, row.destination) for row in world.rows()])  # type: ignore[arg-type,return-value]
    world.pass_time(120)
    assert world.database.destination_states() == []
    assert world.runner.failing("example.net") is None


def test_how_much_waits_is_counted_now_and_then(make: World) -> None:
    world = make()
    world.carrier.unreached["example.net"] = UNREACHED
    world.start()
    world.send("bob@example.net", "carol@held.example")
    world.send("carol@held.example")
    world.pass_time(15, 5)
    assert world.runner.census == Census(
        messages=2, waiting=1, due=0, held=2, given_up=0, failing=1, oldest=EPOCH
    )  # fmt: skip


def test_what_finds_another_way_goes_it_at_once(make: World) -> None:
    world = make()
    world.carrier.unreached["example.net"] = UNREACHED
    world.start()
    world.send("bob@example.net")
    world.send("eve@example.net")
    assert result(world.queue.reroute(lambda envelope, number: "relay.example", "new")) == 2
    result(world.runner.look_again())
    world.pass_time(310)
    assert sorted(world.carrier.recipients) == ["bob@example.net", "eve@example.net"]
    assert result(world.queue.reroute(lambda envelope, number: "example.net", "new")) == 0, "the same ways"


def test_one_connection_carries_what_comes_soon(make: World) -> None:
    world = make()
    world.start()
    for _ in range(5):
        world.send("bob@example.net")
        world.time.advance(1)
    assert [hop.sent for hop in world.carrier.hops] == [5]
    world.time.advance(1.5)
    assert world.carrier.hops[0].closed
    assert world.runner.active == 0


def test_a_connection_carries_so_many_messages(make: World) -> None:
    world = make()
    world.carrier.paces["example.net"] = Pace(connections=1, messages=4)
    for _ in range(10):
        world.send("bob@example.net")
    world.start()
    assert [hop.sent for hop in world.carrier.hops] == [4, 4, 2]


def test_a_message_that_may_not_go_over_a_connection_has_its_own(make: World) -> None:
    world = make()
    world.start()
    world.send("bob@example.net")
    world.send("bob@example.net", parameters=MailParameters(require_tls=True))
    assert [hop.sent for hop in world.carrier.hops] == [1, 1]
    assert world.carrier.hops[0].closed


def test_many_messages_have_several_connections_but_not_too_many(make: World) -> None:
    world = make()
    world.carrier.paces["example.net"] = Pace(connections=3)
    gates: list[Deferred[None]] = [Deferred() for _ in range(3)]
    world.carrier.answers["example.net"] = deque(gates)
    for _ in range(20):
        world.send("bob@example.net")
    world.start()
    assert len(world.carrier.hops) == 3
    for gate in gates:
        gate.callback(None)
    assert len(world.carrier.sent) == 20
    assert len(world.carrier.hops) == 3


def test_all_connections_together_have_a_limit_and_each_destination_its_turn(make: World) -> None:
    world = make(connections=2)
    gates: list[Deferred[None]] = [Deferred(), Deferred()]
    world.carrier.answers = {"a.example": deque([gates[0]]), "b.example": deque([gates[1]])}
    for name in "abcdef":
        world.send(f"bob@{name}.example")
        world.send(f"eve@{name}.example")
    world.start()
    assert world.runner.active == 2
    assert len(world.carrier.hops) == 2
    for gate in gates:
        gate.callback(None)
    world.pass_time(10, 1)
    assert len(world.carrier.sent) == 12
    assert world.rows() == []


def test_a_rate_is_kept(make: World) -> None:
    world = make()
    world.carrier.paces["example.net"] = Pace(per_minute=30)
    for _ in range(4):
        world.send("bob@example.net")
    world.start()
    assert len(world.carrier.sent) == 1
    world.time.advance(2)
    assert len(world.carrier.sent) == 2
    world.pass_time(4, 1)
    assert len(world.carrier.sent) == 4


def test_higher_priorities_go_first(make: World) -> None:
    world = make()
    world.carrier.paces["example.net"] = Pace(connections=1)
    for number, priority in enumerate((0, -3, 5, 0, 9)):
        world.send(f"user{number}@example.net", parameters=MailParameters(priority=priority))
        world.time.advance(1)
    world.start()
    assert world.carrier.recipients == [f"user{number}@example.net" for number in (4, 2, 0, 3, 1)]


def test_too_many_recipients_go_in_the_next_transaction(make: World) -> None:
    world = make()
    full = Outcome(Verdict.LATER, "4.5.3", "452 4.5.3 too many recipients", "mx.example.net")
    world.carrier.answers["example.net"] = deque([{"a@example.net": DONE, "b@example.net": full}])
    world.start()
    world.send("a@example.net", "b@example.net")
    world.pass_time(5, 1)
    assert [names for _, names, _ in world.carrier.sent] == [("a@example.net", "b@example.net"), ("b@example.net",)]


def test_a_hop_that_fails_amid_a_message_defers_it(make: World) -> None:
    world = make()
    world.carrier.answers["example.net"] = deque([DONE, UNREACHED])
    world.start()
    world.send("a@example.net")
    world.send("b@example.net")
    (row,) = world.rows()
    assert (row.attempts, row.last[0].text) == (1, "connection refused")
    assert all(hop.closed for hop in world.carrier.hops)
    (attempt,) = world.database.attempts(row.item.id, "example.net")
    assert attempt.transcript == "C: RCPT TO:<b@example.net>"


def test_a_connection_that_ended_meanwhile_is_made_anew(make: World) -> None:
    world = make()
    stale = HopFailed(Outcome(Verdict.LATER, "4.4.2", "closed", remote=False), stale=True)
    world.carrier.answers["example.net"] = deque([DONE, stale])
    world.start()
    world.send("a@example.net")
    world.send("b@example.net")
    assert world.carrier.recipients == ["a@example.net", "b@example.net"]
    assert [hop.closed for hop in world.carrier.hops] == [True, False]
    assert world.rows() == []


def test_a_domain_that_does_not_exist_fails_at_once_for_all(make: World) -> None:
    world = make()
    never = HopFailed(Outcome(Verdict.NEVER, "5.1.2", "no such domain", remote=False))
    world.carrier.unreached["example.net"] = never
    world.start()
    world.send("a@example.net", sender="")
    world.send("b@example.net", sender="")
    assert world.rows() == []
    assert [settled.failed[0].status for settled in world.reports.settlements] == ["5.1.2", "5.1.2"]


def test_who_is_suppressed_is_not_tried(make: World) -> None:
    world = make()
    world.start()
    world.send("suppressed@example.net", "bob@example.net")
    assert world.carrier.recipients == ["bob@example.net", "me@example.org"]
    world.send("suppressed@example.com", sender="")
    assert "example.com" not in world.carrier.tried
    assert world.rows() == []


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
