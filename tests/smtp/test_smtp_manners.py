"""Checks of [policy]: what is counted and how long, who is made to wait, and what is not concerned."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_smtp_session import World
from twisted.internet.defer import Deferred

from mailstack.config.policy import NO_POLICY, Judgement, Policy
from mailstack.ports import Peer
from mailstack.rates import RateCounter
from mailstack.smtp.settings import SmtpResources, SmtpSettings
from mailstack.testing.connection import MemoryConnection

MESSAGE = b"MAIL FROM:<a@example.org>\r\nRCPT TO:<joe@example.com>\r\nDATA\r\nSubject: x\r\n\r\nx\r\n.\r\n"


class Stranger(World):
    """A session of a client of this address, under a policy that is off but for `policy`."""

    def __init__(self, host: str = "192.0.2.1", *, local: str = "198.51.100.1", **policy: object) -> None:
        super().__init__()
        self.connection = MemoryConnection(peer=Peer(host, 40000))
        self.connection.local = local
        resources: SmtpResources = self.session.resources
        chosen = SmtpSettings(hostname="mx.example", policy=dataclasses.replace(NO_POLICY, **policy))  # type: ignore[arg-type]
        self.session = type(self.session)(self.connection, resources, chosen)
        self.over = []
        Deferred.fromCoroutine(self.session.run()).addBoth(self.over.append)


def test_a_counter_of_one_window() -> None:
    counter = RateCounter(60.0)
    assert [counter.take("a", 3, 0.0) for _ in range(5)] == [True, True, True, False, False]
    assert counter.take("b", 3, 0.0, 3) and not counter.take("c", 3, 0.0, 4)
    assert not counter.take("a", 3, 59.0), "the window is not over"
    assert not counter.take("a", 3, 61.0), "most of the window before counts"
    assert counter.take("a", 3, 85.0), "a third of it is past"
    assert counter.take("a", 3, 1000.0, 3), "long past"


def test_a_counter_forgets_whoever_was_longest_away() -> None:
    counter = RateCounter(60.0, max_tracked=3)
    for key in ("a", "b", "c"):
        assert counter.take(key, 1, 0.0)
    assert not counter.take("a", 1, 1.0)
    assert counter.take("d", 1, 2.0) and len(counter) == 3
    assert not counter.take("a", 1, 3.0), "seen of late"
    assert counter.take("b", 1, 4.0), "forgotten"


@settings(max_examples=100)
@given(st.lists(st.floats(0.0, 40.0), max_size=60), st.integers(1, 8))
def test_no_span_of_time_has_more_than_twice_the_limit(gaps: list[float], limit: int) -> None:
    """And in each span of the counter's own, never more than the limit."""
    counter, now, taken = RateCounter(60.0), 1000.0, []
    for gap in gaps:
        now += gap
        if counter.take("a", limit, now):
            taken.append(now)
    for start in taken:
        assert sum(start <= time < start + 60.0 for time in taken) <= 2 * limit
    for number in {time // 60 for time in taken}:
        assert sum(time // 60 == number for time in taken) <= limit


@pytest.mark.parametrize(
    ("helo", "mark"),
    [
        (b"mx.example", b"helo-ours (mx.example)"),
        (b"MX.EXAMPLE.", b"helo-ours (MX.EXAMPLE)"),
        (b"localhost", b"helo-ours (localhost)"),
        (b"[198.51.100.1]", b"helo-ours ([198.51.100.1])"),
        (b"[192.0.2.1]", b""),
        (b"[10.0.0.1]", b"helo-malformed ([10.0.0.1])"),
        (b"client", b"helo-malformed (client)"),
        (b"192.0.2.1", b"helo-malformed (192.0.2.1)"),
        (b"a_b.example", b""),
        (b"client.example", b""),
    ],
)
def test_what_a_stranger_calls_itself_is_marked(helo: bytes, mark: bytes) -> None:
    world = Stranger(helo_ours=Judgement.MARK, helo_malformed=Judgement.MARK)
    world.connection.take()
    world.say(b"EHLO " + helo + b"\r\n")
    world.say(MESSAGE)
    [(delivery, _)] = world.store.got
    assert (mark in delivery.prefix) if mark else (b"Mailstack-Marks" not in delivery.prefix)


def test_an_address_of_ipv6_is_compared_as_such() -> None:
    world = Stranger("2001:db8::7", local="2001:db8::25", helo_ours=Judgement.REJECT, helo_malformed=Judgement.REJECT)
    world.connection.take()
    assert world.say(b"EHLO [IPv6:2001:DB8::25]\r\n").startswith(b"550 5.7.1 EHLO with our own name")
    assert world.say(b"EHLO [IPv6:2001:db8::8]\r\n").startswith(b"550 5.7.1 EHLO needs")
    assert world.say(b"EHLO [IPv6:2001:db8:0:0:0:0:0:7]\r\n").startswith(b"250")


def test_only_who_talks_first_is_marked() -> None:
    for first in (True, False):
        world = Stranger(greeting_delay=2.0, early_talker=Judgement.MARK)
        assert world.connection.output == b""
        if first:
            world.say(b"EHLO client.example\r\n")
        world.clock.advance(1.9)
        assert world.connection.output == b"", "the greeting comes too early"
        world.clock.advance(0.2)
        assert world.connection.output.startswith(b"220 ")
        world.say(MESSAGE if first else b"EHLO client.example\r\n" + MESSAGE)
        assert (b"Mailstack-Marks: early-talker\r\n" in world.store.got[0][0].prefix) is first


def test_nobody_waits_for_a_greeting_that_tells_nothing() -> None:
    assert Stranger(greeting_delay=2.0, early_talker=Judgement.OFF).connection.output.startswith(b"220 ")
    policy = dataclasses.asdict(Policy())
    for host in ("127.0.0.1", "::1", ""):
        assert Stranger(host, **policy).connection.output.startswith(b"220 ")


def test_who_leaves_in_the_tarpit_is_not_waited_for() -> None:
    world = Stranger(tarpit_after=0, tarpit_delay=4.0, tarpit_limit=6.0)
    world.connection.take()
    assert world.say(b"NOOP\r\nWHAT\r\n" + b"WHAT\r\n" * 9) == b"250 2.0.0 Ok\r\n", "said before it has to wait"
    world.clock.advance(4.0)
    assert world.connection.take().count(b"500 ") == 1
    world.clock.advance(6.0)
    assert world.connection.take().count(b"500 ") == 1, "twice as long, and no longer than the limit"
    world.connection.close()
    world.clock.advance(6.0)
    assert world.over and world.clock.sleeping == 0


def test_the_usual_policy_takes_ordinary_mail() -> None:
    world = Stranger(**{field.name: getattr(Policy(), field.name) for field in dataclasses.fields(Policy)})
    world.clock.advance(1.0)
    world.connection.take()
    assert world.say(b"EHLO client.example\r\n" + MESSAGE * 20).endswith(b"250 2.0.0 Ok c1.20\r\n")
    assert all(b"Mailstack-Marks" not in delivery.prefix for delivery, _ in world.store.got)


def test_a_command_that_comes_by_octets_has_one_timeout_in_all() -> None:
    world = Stranger()
    world.connection.take()
    for octet in b"NOOP":
        assert world.say(bytes([octet])) == b""
        world.clock.advance(70.0)
    assert world.connection.timeout == pytest.approx(90.0)
    assert world.say(b"\r\n") == b"250 2.0.0 Ok\r\n"
    assert world.connection.timeout == 300.0, "the next command has its own"
    for _ in range(5):
        assert world.say(b"X") == b""
        world.clock.advance(60.0)
    assert world.say(b"X") == b"421 4.4.2 Timeout; closing connection\r\n"
    assert world.over


@pytest.mark.parametrize("before", [b"", b"EHLO c\r\n", b"EHLO c\r\nMAIL FROM:<a@b.c>\r\n"])
def test_silence_between_commands_has_five_minutes_and_within_data_three(before: bytes) -> None:
    world = Stranger()
    world.say(before)
    assert world.connection.timeout == 300.0
    if b"MAIL" in before:
        world.say(b"RCPT TO:<joe@example.com>\r\nDATA\r\nSubject")
        assert world.connection.timeout == 180.0
        world.connection.take()
    world.connection.time_out()
    assert world.connection.take().endswith(b"421 4.4.2 Timeout; closing connection\r\n")
    assert world.over and world.spool.leaks == 0
