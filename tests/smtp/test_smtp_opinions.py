"""What a session makes of the opinions of checks: refusals, delays and marks, at every stage."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from test_smtp_session import World

from mailstack.smtp.checks.frame import MAX_DELAY, Check, Delay, Mark, Opinion, Stage
from mailstack.smtp.facts import Facts
from mailstack.smtp.replies import Reply
from mailstack.smtp.settings import SmtpResources

NO = Reply(550, "5.7.1", "Not like this")
MESSAGE = b"MAIL FROM:<a@example.org>\r\nRCPT TO:<joe@example.com>\r\nDATA\r\nSubject: x\r\n\r\nx\r\n.\r\n"


def with_check(world: World, stage: Stage, *opinions: Opinion) -> None:
    """One more check at `stage`, which says these in turn, and then nothing."""
    said: Iterator[Opinion] = iter(opinions)

    async def ask(facts: Facts, resources: SmtpResources) -> Opinion:
        return next(said, None)

    checks = world.session._checks
    world.session._checks = {**checks, stage: (*checks[stage], Check("test", stage, ask))}


@pytest.mark.parametrize(
    ("stage", "codes"),
    [
        (Stage.HELO, b"550 503 503 503 500"),
        (Stage.MAIL, b"250 550 503 503 500"),
        (Stage.RCPT, b"250 250 550 554 500"),
        (Stage.DATA, b"250 250 250 550 500"),
        (Stage.END_OF_DATA, b"250 250 250 354 550"),
    ],
)
def test_a_refusal_ends_what_it_is_about(stage: Stage, codes: bytes) -> None:
    world = World()
    with_check(world, stage, NO)
    answer = world.say(b"EHLO client.example\r\n" + MESSAGE)
    lines = [line[:3] for line in answer.split(b"\r\n") if line[3:4] == b" "]
    assert lines[:5] == codes.split()
    assert not world.store.got and world.spool.leaks == 0
    assert world.counters.totals["smtp_refusals", "test"] == 1
    assert world.say(b"EHLO client.example\r\n" + MESSAGE).endswith(
        b"250 2.0.0 Ok c1.%d\r\n" % world.session._transactions
    )


def test_a_refused_chunk_is_read_to_its_end() -> None:
    world = World()
    with_check(world, Stage.DATA, NO)
    world.say(b"EHLO client.example\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<joe@example.com>\r\n")
    assert world.say(b"BDAT 6\r\nQUIT\r\nBDAT 2 LAST\r\n\r\nNOOP\r\n").split(b"\r\n")[:3] == [
        b"550 5.7.1 Not like this",
        b"503 5.5.1 Need MAIL first",
        b"250 2.0.0 Ok",
    ]
    assert world.spool.leaks == 0


def test_the_client_waits_for_its_reply() -> None:
    world = World()
    world.say(b"EHLO client.example\r\n")
    with_check(world, Stage.MAIL, Delay(5.0, "slow"), Delay(1000.0, "slower"))
    assert world.say(b"MAIL FROM:<a@example.org>\r\n") == b""
    world.clock.advance(4.9)
    assert world.connection.take() == b""
    world.clock.advance(0.2)
    assert world.connection.take().startswith(b"250 2.1.0")
    assert world.say(b"RSET\r\nMAIL FROM:<a@example.org>\r\n") == b"250 2.0.0 Reset\r\n"
    world.clock.advance(MAX_DELAY)
    assert world.connection.take().startswith(b"250 2.1.0")


def test_marks_stand_above_the_message_that_they_are_about() -> None:
    world = World()
    with_check(world, Stage.HELO, Mark("helo-mismatch", "said (one) \\ is another"), Mark("helo-mismatch", "again"))
    with_check(world, Stage.MAIL, Mark("odd-sender"))
    world.say(b"EHLO client.example\r\n" + MESSAGE)
    world.say(MESSAGE)
    first, second = (delivery.prefix for delivery, _ in world.store.got)
    assert first.endswith(b"\r\nMailstack-Marks: helo-mismatch (said \\(one\\) \\\\ is another);\r\n\todd-sender\r\n")
    assert second.endswith(b"\r\nMailstack-Marks: helo-mismatch (said \\(one\\) \\\\ is another)\r\n")


def test_a_message_without_marks_has_no_field_of_them() -> None:
    world = World()
    world.send(b"joe@example.com")
    assert b"Mailstack-Marks" not in world.store.got[0][0].prefix


def marks_of(octets: bytes) -> bytes:
    """What the field of marks says, "" without one."""
    _, _, rest = octets.partition(b"Mailstack-Marks: ")
    return rest.partition(b"\r\n")[0]


def test_how_the_client_behaved_is_known_after_starttls_and_what_it_said_is_not() -> None:
    world = World(tls_available=True)
    with_check(world, Stage.HELO, Mark("plain"), Mark("secured"))
    world.session.facts.connection_marks.append(Mark("early-talker"))
    world.say(b"EHLO client.example\r\n")
    world.say(b"STARTTLS\r\n")
    assert world.send(b"joe@example.com").startswith(b"250")
    assert marks_of(world.store.got[0][0].prefix + b"\r\n") == b"early-talker;"
    assert b"\r\n\tsecured\r\n" in world.store.got[0][0].prefix


def test_of_the_greetings_of_a_client_the_last_one_counts() -> None:
    world = World()
    with_check(world, Stage.HELO, Mark("odd"), None)
    world.say(b"EHLO odd\r\n")
    assert world.send(b"joe@example.com").startswith(b"250")
    assert b"Mailstack-Marks" not in world.store.got[0][0].prefix


def test_a_greeting_that_is_refused_is_as_if_it_had_not_been_said() -> None:
    world = World()
    with_check(world, Stage.HELO, Mark("odd"), NO)
    world.say(b"EHLO first.example\r\nHELO second.example\r\n")
    world.say(MESSAGE)
    (delivery, _) = world.store.got[0]
    assert b"Received: from first.example (" in delivery.prefix and b" with ESMTP id " in delivery.prefix
    assert b"Mailstack-Marks: odd\r\n" in delivery.prefix
