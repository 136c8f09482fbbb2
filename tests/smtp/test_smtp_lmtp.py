"""LMTP: what each recipient's reply says (RFC 2033)."""

from __future__ import annotations

import pytest
from test_smtp_session import World

from mailstack.errors import Problem, Refused
from mailstack.mail.address import Address
from mailstack.smtp.settings import Role


def lmtp(**changes: object) -> World:
    return World(role=Role.LMTP, **changes)


def send(world: World, *recipients: bytes) -> list[bytes]:
    """LHLO, and a message; the replies to its end."""
    to = b"".join(b"RCPT TO:<%s>\r\n" % recipient for recipient in recipients)
    world.say(b"LHLO relay.example\r\n")
    answer = world.say(b"MAIL FROM:<a@example.org>\r\n%sDATA\r\nSubject: x\r\n\r\nx\r\n.\r\n" % to)
    assert world.spool.leaks == 0
    return answer.split(b"\r\n")[2 + len(recipients) : -1]


def test_each_mailbox_answers_for_itself() -> None:
    world = lmtp()
    world.store.problems = {"joe@example.com": Problem.OVER_QUOTA, "ann@example.com": Problem.STORE_UNAVAILABLE}
    assert send(world, b"joe@example.com", b"bob@example.com", b"ann@example.com") == [
        b"452 4.2.2 Mailbox full",
        b"250 2.0.0 Ok c1.1",
        b"451 4.3.0 Temporarily unavailable; try again later",
    ]
    assert [delivery.account for delivery, _ in world.store.got] == ["bob@example.com"]
    assert not world.outbound.items, "who handed it over keeps what was refused"


def test_a_mailbox_that_is_named_twice_gets_one_copy() -> None:
    world = lmtp()
    assert len(send(world, b"joe@example.com", b"JOE@example.com", b"joe+x@example.com")) == 3
    assert len(world.store.got) == 1
    assert b"with LMTP id" in world.store.got[0][0].prefix


def test_what_some_of_an_alias_have_is_queued_for_the_others() -> None:
    world = lmtp()
    world.store.problems = {"joe@example.com": Problem.STORE_UNAVAILABLE}
    assert send(world, b"both@example.com") == [b"250 2.0.0 Ok c1.1"]
    [item] = world.outbound.items
    assert item.envelope.recipients == (Address("joe", "example.com"),)


def test_an_alias_that_nobody_of_can_take_is_refused() -> None:
    world = lmtp(full_for_good=True)
    world.store.problems = {"joe@example.com": Problem.OVER_QUOTA, "ann@example.com": Problem.OVER_QUOTA}
    assert send(world, b"both@example.com", b"bob@example.com")[0] == b"552 5.2.2 Mailbox full"


@pytest.mark.parametrize("error", [Refused(Problem.DISK_FULL, "x"), RuntimeError("x")])
def test_the_client_counts_replies_whatever_happens(error: Exception) -> None:
    world = lmtp()
    world.store.bug = error
    replies = send(world, b"joe@example.com", b"bob@example.com")
    assert len(replies) == 2 and replies[0] == replies[1] and replies[0].startswith(b"45")
    assert world.say(b"NOOP\r\n") == b"250 2.0.0 Ok\r\n"


def test_a_chunk_that_is_too_much_has_one_reply() -> None:
    world = lmtp(max_size=10)
    world.say(
        b"LHLO relay.example\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<joe@example.com>\r\nRCPT TO:<bob@example.com>\r\n"
    )
    assert world.say(b"BDAT 20\r\n" + b"x" * 20 + b"NOOP\r\n").split(b"\r\n")[:2] == [
        b"552 5.3.4 Message size exceeds the limit",
        b"250 2.0.0 Ok",
    ]
