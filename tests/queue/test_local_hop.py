"""From the queue to mailboxes of ours: what was held, what had no room, aliases of many of which some have it, and what
is forwarded. Nobody gets a message twice, however often it is tried."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from queue_world import EPOCH, envelope, result

from mailstack.errors import Problem, Refused
from mailstack.handover import HopFailed, Outcome, Transcript, Verdict
from mailstack.mail.address import Address
from mailstack.mail.parameters import MailParameters
from mailstack.ports import MEMORY_LIMIT, Delivery
from mailstack.queue.items import LOCAL, Item, Waiting
from mailstack.queue.schedule import Schedule
from mailstack.queue.settlement import settlement
from mailstack.quota import QuotaLimit
from mailstack.relay.carrier import SmtpHop
from mailstack.relay.local import MAX_LEFT, LocalHop
from mailstack.testing.accounts import MemoryDirectory
from mailstack.testing.log import RecordingLog
from mailstack.testing.outbound import MemoryOutbound
from mailstack.testing.spool import MemorySpool
from mailstack.testing.store import MemoryStore

MESSAGE = b"Subject: x\r\n\r\n" + b"0123456789abcde\n" * (MEMORY_LIMIT // 16 + 10)
SCHEDULE = Schedule((300.0,), 86400.0, 0.0, lambda: 0.5)
HELD = MailParameters(hold_until=int(EPOCH))
TEAM = "team@example.org"


class Content:
    size = len(MESSAGE)

    async def read(self, start: int, end: int) -> bytes:
        return MESSAGE[start:end]


class World:
    def __init__(self, *users: str, **aliases: tuple[str, ...]) -> None:
        self.store = MemoryStore()
        self.outbound = MemoryOutbound()
        self.spool = MemorySpool()
        self.log = RecordingLog()
        names = {f"{name}@example.org": tuple(f"{to}@example.org" for to in tos) for name, tos in aliases.items()}
        self.directory = MemoryDirectory([f"{user}@example.org" for user in users], names)
        self.waiting: Waiting | None = None

    def queue(self, *to: str, **more: Any) -> None:
        item = Item("0a", envelope(*to, **more), EPOCH, EPOCH + 86400, 0, Content.size)
        self.waiting = Waiting(item, LOCAL, tuple(range(len(to))), EPOCH)

    def attempt(self) -> Mapping[int, Outcome]:
        """One, and what it leaves waits for the next."""
        assert self.waiting is not None, "nobody waits any more"
        hop = LocalHop(self.store, self.spool, self.directory, self.outbound, "mail.example.org", self.log)
        outcomes: Mapping[int, Outcome] = result(hop.send(self.waiting, Content(), Transcript()))
        self.waiting = settlement(self.waiting, outcomes, EPOCH, SCHEDULE).rest
        assert self.spool.leaks == 0
        return outcomes

    def has(self, user: str) -> int:
        """How many copies."""
        return sum(delivery.account == f"{user}@example.org" for delivery in self.store.deliveries)

    def forwarded(self) -> list[str]:
        return [str(to) for item in self.outbound.items for to in item.envelope.recipients]


def test_what_was_held_is_delivered_whole() -> None:
    world = World("bob")
    world.queue("bob@example.org", parameters=HELD)
    (outcome,) = world.attempt().values()
    assert (outcome.verdict, outcome.status, outcome.remote) == (Verdict.DONE, "2.0.0", False)
    (message,) = world.store.box("bob@example.org").messages.values()
    assert message.octets == b"Return-Path: <me@example.org>\r\nDelivered-To: bob@example.org\r\n" + MESSAGE


def test_a_mailbox_that_is_full_is_tried_again_and_gets_it_once() -> None:
    world = World("bob")
    world.store.problems["bob@example.org"] = Problem.OVER_QUOTA
    world.queue("bob@example.org")
    (outcome,) = world.attempt().values()
    assert (outcome.verdict, outcome.status, outcome.text) == (Verdict.LATER, "4.2.2", "the mailbox is full")
    world.attempt()
    world.store.problems.clear()
    world.attempt()
    assert world.has("bob") == 1 and world.waiting is None


@pytest.mark.parametrize(
    ("problem", "verdict", "status"),
    [
        (Problem.NO_SUCH_RECIPIENT, Verdict.NEVER, "5.1.1"),
        (Problem.STORE_UNAVAILABLE, Verdict.LATER, "4.3.0"),
    ],
)
def test_what_the_directory_says(problem: Problem, verdict: Verdict, status: str) -> None:
    world = World("bob")
    world.directory.problem = problem
    world.queue("bob@example.org")
    (outcome,) = world.attempt().values()
    assert (outcome.verdict, outcome.status) == (verdict, status)


def test_a_domain_that_is_not_ours_any_more_waits_for_its_route() -> None:
    world = World("bob")
    world.queue("bob@example.net")
    (outcome,) = world.attempt().values()
    assert (outcome.verdict, outcome.status) == (Verdict.LATER, "4.3.5")


def test_a_disk_that_is_full_is_no_bug() -> None:
    world = World("bob")
    world.spool.problem = Problem.DISK_FULL
    world.queue("bob@example.org", "bob+x@example.org")
    outcomes = world.attempt()
    assert [(each.verdict, each.status) for each in outcomes.values()] == [(Verdict.LATER, "4.3.1")] * 2
    assert world.log.whats("failure") == []


def test_of_an_alias_that_some_have_the_others_get_it_however_full_they_are() -> None:
    world = World("a", "b", team=("a", "b"))
    world.store.of("b@example.org").limit = QuotaLimit(octets=1)
    world.queue(TEAM)
    (outcome,) = world.attempt().values()
    assert outcome.verdict is Verdict.DONE
    assert (world.has("a"), world.has("b")) == (1, 1)
    assert [each.over_quota for each in world.store.deliveries if each.account == "b@example.org"] == [True]


def test_of_an_alias_that_some_have_only_the_others_are_tried_again() -> None:
    world = World("a", "b", "c", team=("a", "b", "c"))
    world.store.problems |= {"b@example.org": Problem.DISK_FULL, "c@example.org": Problem.DISK_FULL}
    world.queue(TEAM)
    (outcome,) = world.attempt().values()
    assert outcome.verdict is Verdict.LATER and outcome.text.startswith("our disk is full [left: ")
    assert "b@" not in outcome.text, "who is behind an alias is not the sender's business"
    del world.store.problems["b@example.org"]
    world.attempt()
    world.store.problems.clear()
    (outcome,) = world.attempt().values()
    assert outcome.verdict is Verdict.DONE
    assert [world.has(name) for name in "abc"] == [1, 1, 1]


def test_an_alias_that_nobody_has_is_tried_again_for_all() -> None:
    world = World("a", "b", team=("a", "b"))
    world.store.problems |= {"a@example.org": Problem.OVER_QUOTA, "b@example.org": Problem.OVER_QUOTA}
    world.queue(TEAM)
    (outcome,) = world.attempt().values()
    assert outcome.text == "the mailbox is full"
    world.store.problems.clear()
    world.attempt()
    assert (world.has("a"), world.has("b")) == (1, 1)


def test_one_that_may_have_it_later_is_waited_for_whatever_is_final_for_others() -> None:
    world = World("a", "b", "c", team=("a", "b", "c"))
    world.store.problems |= {"a@example.org": Problem.NO_SUCH_ACCOUNT, "b@example.org": Problem.DISK_FULL}
    world.queue(TEAM)
    world.attempt()
    del world.store.problems["b@example.org"]
    (outcome,) = world.attempt().values()
    assert (world.has("b"), world.has("c")) == (1, 1)
    assert outcome.verdict is Verdict.NEVER, "of the one that is gone its sender hears"


def test_an_alias_of_very_many_says_so() -> None:
    users = tuple(f"u{number}" for number in range(MAX_LEFT + 2))
    world = World(*users, team=users)
    world.store.problems |= {f"{user}@example.org": Problem.DISK_FULL for user in users[1:]}
    world.queue(TEAM)
    (outcome,) = world.attempt().values()
    assert outcome.text == "our disk is full [left: all]"
    world.store.problems.clear()
    (outcome,) = world.attempt().values()
    assert outcome.verdict is Verdict.DONE and world.has("u5") == 1


def test_what_was_held_is_forwarded_once_however_long_the_mailbox_is_full() -> None:
    world = World("bob")
    world.directory.forwards["bob@example.org"] = (Address("bob", "example.net"),)
    world.store.problems["bob@example.org"] = Problem.OVER_QUOTA
    world.queue("bob@example.org", parameters=HELD)
    for _ in range(3):
        (outcome,) = world.attempt().values()
        assert outcome.verdict is Verdict.LATER
    world.store.problems.clear()
    world.attempt()
    assert world.forwarded() == ["bob@example.net"] and world.has("bob") == 1 and world.waiting is None
    (item,) = world.outbound.items
    assert item.envelope.parameters.hold_until is None
    assert item.message == b"Delivered-To: bob@example.org\r\n" + MESSAGE


def test_a_queue_that_takes_no_forwarded_mail_keeps_all() -> None:
    world = World("bob")
    world.directory.forwards["bob@example.org"] = (Address("bob", "example.net"),)
    world.outbound.problem = Problem.DISK_FULL
    world.queue("bob@example.org", parameters=HELD)
    (outcome,) = world.attempt().values()
    assert (outcome.verdict, outcome.status, world.has("bob")) == (Verdict.LATER, "4.3.1", 0)
    world.outbound.problem = None
    world.attempt()
    assert (world.forwarded(), world.has("bob")) == (["bob@example.net"], 1)


def test_what_was_forwarded_when_it_came_is_not_forwarded_again() -> None:
    world = World("bob")
    world.directory.forwards["bob@example.org"] = (Address("bob", "example.net"),)
    world.queue("bob@example.org")
    world.attempt()
    assert (world.forwarded(), world.has("bob")) == ([], 1)


def test_who_keeps_no_copy_has_only_the_forwarded_one() -> None:
    world = World("bob")
    world.directory.forwards["bob@example.org"] = (Address("bob", "example.net"),)
    world.directory.forwarded_only.add("bob@example.org")
    world.queue("bob@example.org", parameters=HELD)
    (outcome,) = world.attempt().values()
    assert outcome.verdict is Verdict.DONE
    assert (world.forwarded(), world.has("bob")) == (["bob@example.net"], 0)


@pytest.mark.parametrize("error", [ZeroDivisionError(), OSError(5, "broken"), Refused(Problem.DISK_FULL)])
def test_a_recipient_that_fails_takes_no_other_with_it(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World("a", "b", "c")
    deliver = world.store.deliver

    async def broken(blob: Any, deliveries: list[Delivery]) -> Any:
        if deliveries[0].account == "b@example.org":
            raise error
        return await deliver(blob, deliveries)

    world.queue("a@example.org", "b@example.org", "c@example.org")
    with monkeypatch.context() as patched:
        patched.setattr(world.store, "deliver", broken)
        world.attempt()
    assert world.waiting is not None and world.waiting.recipients == (1,)
    world.attempt()
    assert [world.has(name) for name in "abc"] == [1, 1, 1]


# --- and to others


class Session:
    """Stands for ClientSession: takes one recipient at a time."""

    def __init__(self, *answers: Exception | None) -> None:
        self.answers = list(answers)
        self.transcript = Transcript()
        self.mta = "mx.example.net"
        self.usable = True

    async def send(self, found: Any, numbers: list[int], content: Any) -> Mapping[int, Outcome]:
        answer = self.answers.pop(0)
        if answer is not None:
            raise answer
        return {numbers[0]: Outcome(Verdict.DONE, "2.0.0", "ok", self.mta)}

    def abort(self) -> None:
        self.usable = False


FAILED = HopFailed(Outcome(Verdict.LATER, "4.4.2", "it has hung up", "mx.example.net"))


@pytest.mark.parametrize("error", [OSError(5, "broken"), FAILED, ZeroDivisionError()])
def test_who_has_it_has_it_though_the_next_transaction_fails(error: Exception) -> None:
    world = World()
    world.queue("a@example.net", "b@example.net", "c@example.net")
    assert world.waiting is not None
    hop: Any = SmtpHop(Session(None, error), None)  # type: ignore[arg-type]
    outcomes = result(hop.send(world.waiting, Content(), Transcript()))
    assert [outcomes[number].verdict for number in range(3)] == [Verdict.DONE, Verdict.LATER, Verdict.LATER]
    with pytest.raises(type(error)):
        result(SmtpHop(Session(error), None).send(world.waiting, Content(), Transcript()))  # type: ignore[arg-type]
