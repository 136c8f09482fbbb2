"""What an attempt comes to, when the next one is, and where recipients go whose routes have changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from queue_world import DONE, EPOCH, LATER, NEVER, QueueWorld, envelope, result

from mailstack.handover import Outcome, Verdict
from mailstack.mail.parameters import DeliverBy, MailParameters
from mailstack.ports import Envelope
from mailstack.queue.items import Item, Placed, Waiting
from mailstack.queue.rerouting import reroute
from mailstack.queue.schedule import FIRST_REST, LONGEST_REST, Schedule
from mailstack.queue.settlement import expired, lateness, settlement, unreported

SCHEDULE = Schedule((300.0, 600.0), 86400.0, 7200.0, lambda: 0.5)
FULL = Outcome(Verdict.LATER, "4.5.3", "452 4.5.3 too many recipients", "mx.example.net")


def row(*to: str, **more: float | None) -> Waiting:
    item = Item("0a", envelope(*to), EPOCH, EPOCH + 86400, 0, 9)
    return replace(Waiting(item, "example.net", tuple(range(len(to))), EPOCH), **more)  # type: ignore[arg-type]


def test_each_recipient_is_done_failed_or_waits() -> None:
    waiting = row("a@example.net", "b@example.net", "c@example.net", "d@example.net")
    found = settlement(waiting, {0: DONE, 1: NEVER, 2: LATER}, EPOCH + 5, SCHEDULE)
    assert (found.done, found.failed, found.late) == ({0: DONE}, {1: NEVER}, {})
    assert found.rest is not None
    assert (found.rest.recipients, found.rest.attempts, found.rest.due) == ((2, 3), 1, EPOCH + 305)
    assert found.rest.last[2] == LATER
    assert found.rest.last[3].verdict is Verdict.LATER, "of whom nothing was said, he waits"
    assert settlement(waiting, dict.fromkeys(range(4), DONE), EPOCH, SCHEDULE).rest is None


def test_intervals_grow_and_the_last_attempt_is_when_the_time_is_over() -> None:
    waiting, now = row("a@example.net"), EPOCH
    dues = []
    while True:
        found = settlement(waiting, {0: LATER}, now, SCHEDULE)
        if found.rest is None:
            break
        waiting, now = found.rest, found.rest.due
        dues.append(now - EPOCH)
    assert dues[:3] == [300.0, 900.0, 1500.0] and dues[-1] == 86400.0
    last = replace(LATER, verdict=Verdict.NEVER, status="4.4.7", cause=LATER.status)
    assert found.failed == {0: last} == {0: expired(LATER)}


def test_too_many_recipients_are_tried_at_once_but_only_if_some_were_taken() -> None:
    waiting = row("a@example.net", "b@example.net")
    took = settlement(waiting, {0: DONE, 1: FULL}, EPOCH, SCHEDULE).rest
    none = settlement(waiting, {0: FULL, 1: FULL}, EPOCH, SCHEDULE).rest
    assert took is not None and none is not None
    assert (took.due, none.due) == (EPOCH, EPOCH + 300)


def test_the_sender_is_warned_once() -> None:
    waiting = row("a@example.net", warn_at=EPOCH + 100)
    assert lateness(waiting, EPOCH + 99).late == {}
    found = lateness(waiting, EPOCH + 100)
    assert set(found.late) == {0} and found.rest is not None and found.rest.warn_at is None
    assert lateness(found.rest, EPOCH + 9999).late == {}


def test_what_cannot_be_reported_waits_but_who_has_it_is_done() -> None:
    waiting = row("a@example.net", "b@example.net", "c@example.net")
    found = unreported(waiting, settlement(waiting, {0: DONE, 1: NEVER, 2: LATER}, EPOCH, SCHEDULE), EPOCH, SCHEDULE)
    assert (found.done, found.failed) == ({0: DONE}, {})
    assert found.rest is not None and found.rest.recipients == (1, 2) and found.rest.due == EPOCH + 300
    only = settlement(waiting, dict.fromkeys(range(3), DONE), EPOCH, SCHEDULE)
    assert unreported(waiting, only, EPOCH, SCHEDULE) == only
    all_failed = settlement(waiting, dict.fromkeys(range(3), NEVER), EPOCH, SCHEDULE)
    again = unreported(waiting, all_failed, EPOCH, SCHEDULE).rest
    assert again is not None and (again.recipients, again.attempts) == ((0, 1, 2), 1)


def test_times_of_an_envelope() -> None:
    plain = Envelope(None, ())
    assert (SCHEDULE.due(plain, 5.0), SCHEDULE.expires(plain, 5.0), SCHEDULE.warns(plain, 5.0)) == (5, 86405, 7205)
    held = Envelope(None, (), parameters=MailParameters(hold_until=1000))
    assert (SCHEDULE.due(held, 5.0), SCHEDULE.expires(held, 5.0), SCHEDULE.warns(held, 5.0)) == (1000, 87400, 8200)
    assert SCHEDULE.due(held, 2000.0) == 2000.0
    returned = Envelope(None, (), parameters=MailParameters(deliver_by=DeliverBy(90, or_return=True)))
    assert (SCHEDULE.expires(returned, 5.0), SCHEDULE.warns(returned, 5.0)) == (90, 7205)
    told = Envelope(None, (), parameters=MailParameters(deliver_by=DeliverBy(90, or_return=False)))
    assert (SCHEDULE.expires(told, 5.0), SCHEDULE.warns(told, 5.0)) == (86405, 90)
    assert Schedule((1.0,), 1.0, 0.0, lambda: 0.5).warns(plain, 5.0) is None


@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
def test_chance_moves_times_a_little(chance: float) -> None:
    schedule = Schedule((300.0, 600.0), 86400.0, 0.0, lambda: chance)
    assert schedule.interval(1) == pytest.approx(300 * (0.9 + 0.2 * chance))
    assert schedule.interval(99) == pytest.approx(600 * (0.9 + 0.2 * chance))
    assert schedule.interval(99) <= schedule.longest
    rests = [schedule.rest(failures) for failures in range(1, 50)]
    assert rests == sorted(rests) and rests[0] == pytest.approx(FIRST_REST * (0.9 + 0.2 * chance))
    assert rests[-1] == pytest.approx(LONGEST_REST * (0.9 + 0.2 * chance)) and rests[-1] <= schedule.longest_rest


# --- rerouting


@pytest.fixture
def world(tmp_path: Path) -> Iterator[QueueWorld]:
    made = QueueWorld(tmp_path)
    yield made
    made.close()


def rows(world: QueueWorld) -> dict[tuple[str, ...], str]:
    """Recipients → destination."""
    return {
        tuple(str(row.item.envelope.recipients[number]) for number in row.recipients): row.destination
        for row in world.rows()
    }


def test_recipients_find_their_way_anew(world: QueueWorld) -> None:
    world.send("a@example.net", "b@example.net", "c@example.com")
    moved = result(
        world.queue.reroute(lambda found, number: "relay" if "a@" in str(found.recipients[number]) else "rest", "one")
    )
    assert moved == 2
    assert rows(world) == {("a@example.net",): "relay", ("b@example.net", "c@example.com"): "rest"}
    assert result(world.queue.reroute(lambda found, number: "elsewhere", "one")) == 0, "the same signature"
    assert result(world.queue.reroute(lambda found, number: "all", "two")) == 2
    assert rows(world) == {("a@example.net", "b@example.net", "c@example.com"): "all"}
    assert result(world.queue.reroute(lambda found, number: "all", "three")) == 0
    assert len(world.on_disk()) == 1


def test_a_route_that_fails_leaves_all_where_it_was(world: QueueWorld) -> None:
    world.send("a@example.net")
    world.send("b@example.net")

    def broken(found: Envelope, number: int) -> str:
        if "b@" in str(found.recipients[number]):
            raise ZeroDivisionError
        return "relay"

    with pytest.raises(ZeroDivisionError):
        result(world.queue.reroute(broken, "one"))
    assert set(rows(world).values()) == {"example.net"}
    assert result(world.queue.reroute(lambda found, number: "relay", "one")) == 2, "the signature was not noted"


def test_pages_of_rows_end(world: QueueWorld) -> None:
    def add(item: Item) -> None:
        world.database.add(item, [Placed("example.net", (0,), EPOCH)], None)

    items = [Item(f"{number:04}", envelope("a@example.net"), EPOCH, EPOCH + 9, 0, 9) for number in range(1201)]
    world.database.transaction(lambda: [add(item) for item in items] and None)
    found: list[tuple[tuple[str, str] | None, int]] = [(("", ""), 0)]

    def page() -> None:
        after, _ = found[-1]
        assert after is not None
        found.append(reroute(world.database, lambda found, number: "relay", after))

    while found[-1][0] is not None and len(found) < 9:
        world.database.transaction(page)
    assert sum(moved for _, moved in found) == 1201
    assert found[-1] == (None, 0)


def test_a_page_of_rows_that_cannot_be_read_is_not_the_end(world: QueueWorld) -> None:
    names = sorted(world.send("a@example.net") for _ in range(9))
    for name in names[:7]:
        world.database._db.execute("UPDATE item SET document = '' WHERE id = ?", (name,))
    assert [row.item.id for row in world.database.all(most=3)] == names[7:]
    assert {item for item, _ in world.database.unreadable} == set(names[:7])
    assert world.database.all((names[-1], "example.net"), 3) == []


# --- what the database says of times


def test_rows_of_one_moment_are_all_found(world: QueueWorld) -> None:
    def add(number: int) -> None:
        item = Item(f"{number:04}", envelope("a@example.net"), EPOCH, EPOCH + 9, 0, 9)
        world.database.add(item, [Placed("example.net", (0,), EPOCH)], None)

    world.database.transaction(lambda: [add(number) for number in range(125)] and None)
    after, found = (float("-inf"), "", ""), []
    while some := world.database.expired(EPOCH + 10, 50, after):
        found += [each.item.id for each in some]
        after = some[-1].item.expires, some[-1].item.id, some[-1].destination
    assert found == [f"{number:04}" for number in range(125)]
    assert world.database.expired(EPOCH + 8, 50, (float("-inf"), "", "")) == []


def test_the_turn_of_a_destination(world: QueueWorld) -> None:
    def add(name: str, due: float, priority: int = 0, held: str = "") -> None:
        found = envelope("a@example.net", parameters=MailParameters(priority=priority))
        world.database.add(Item(name, found, EPOCH, EPOCH + 9, 0, 9), [Placed("x", (0,), due, held)], None)

    def all_of_them() -> None:
        add("late", EPOCH - 5), add("early", EPOCH - 9), add("high", EPOCH, 3)
        add("low", EPOCH - 99, -3), add("held", EPOCH - 99, 9, "held"), add("future", EPOCH + 50, 9)

    world.database.transaction(all_of_them)
    turn = [each.item.id for each in world.database.next_of("x", EPOCH, 50, frozenset())]
    assert turn == ["high", "early", "late", "low"]
    assert [each.item.id for each in world.database.next_of("x", EPOCH, 2, frozenset({"high"}))] == ["early", "late"]
    assert world.database.next_due("x", EPOCH) == EPOCH + 50
    assert world.database.next_due("x", EPOCH + 50) is None
    assert world.database.destinations(EPOCH + 1) == [("x", EPOCH - 99)]
