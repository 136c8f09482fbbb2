"""The client's session against scripted servers: what is said, and what each recipient's outcome is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scripted_client import (
    DATA,
    DEMAND,
    DONE,
    HELLO,
    LATER,
    NEVER,
    ONE,
    PIPE,
    SETTINGS,
    SLOW,
    TLS_OFFER,
    Message,
    opened,
    refused,
    send,
    shown,
)
from transcripts import result

from mailstack.auth.client import LoginAs
from mailstack.auth.sasl import Secret
from mailstack.handover import HopFailed, Verdict
from mailstack.smtp.client import settings as times
from mailstack.smtp.client.session import ClientSession
from mailstack.smtp.client.settings import ClientSettings
from mailstack.testing.clock import ManualClock
from mailstack.testing.hop import ScriptedHop

# --- opening


def test_a_message_takes_two_writes_and_the_connection_another_message() -> None:
    script = PIPE + (ONE + DATA + "S: 250 2.6.0 taken\n") * 2 + "C: QUIT\nS: 221 bye\nC: *end*\n"
    session, connection = opened(script)
    for _ in range(2):
        assert shown(send(session)) == {0: (DONE, "2.6.0")}
    assert connection.written[1].startswith(b"MAIL") and connection.written[1].endswith(b"DATA\r\n")
    assert connection.written[2] == b"Subject: x\r\n\r\n..dot\r\n.\r\n" and len(connection.written) == 5
    result(session.quit())
    connection.finish()
    assert session.transcript.text.count("C: MAIL FROM:<me@example.org>") == 2
    assert "-- 20 octets of data" in session.transcript.text and "dot" not in session.transcript.text


def test_each_step_has_its_time() -> None:
    session, connection = opened(SLOW + ONE.replace("C: RCPT", "S: 250 ok\nC: RCPT", 1).replace(
        "C: DATA\nS: 250 ok\nS: 250 ok\n", "S: 250 ok\nC: DATA\n") + DATA + "S: 250 ok\n")  # fmt: skip
    assert shown(send(session)) == {0: (DONE, "2.0.0")}
    assert connection.timeouts == [
        times.GREETING_TIME, times.HELLO_TIME, times.MAIL_TIME, times.RCPT_TIME, times.DATA_TIME, times.END_OF_DATA_TIME
    ]  # fmt: skip


class Trickling(ScriptedHop):
    """Says a line of a reply without end now and then."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__("")
        self.clock = clock

    async def receive(self) -> bytes:
        self.timeouts.append(self.timeout)
        self.clock.advance(100.0)
        return b"220-x\r\n"


def test_a_reply_has_to_be_complete_in_time() -> None:
    clock = ManualClock()
    connection = Trickling(clock)
    with pytest.raises(HopFailed, match="no answer in time before the greeting"):
        result(ClientSession(connection, SETTINGS, clock).open(None))
    assert connection.timeouts == [300.0, 200.0, 100.0]


def test_who_does_not_know_ehlo_knows_helo() -> None:
    session, _ = opened("S: 220 hi\nC: EHLO me.example\nS: 502 what\nC: HELO me.example\nS: 250 hi\n")
    assert session.usable and "PIPELINING" not in session.offers


@pytest.mark.parametrize(
    ("script", "verdict", "status"),
    [
        ("S: 554 5.3.2 go away\nC: QUIT\n", LATER, "4.3.2"),
        ("S: 421 busy\n", LATER, "4.3.2"),
        ("S: 521 no mail here\nC: QUIT\n", NEVER, "5.3.2"),
        ("S: 556 no mail here\nC: QUIT\n", NEVER, "5.1.10"),
        ("S: *close*\n", LATER, "4.4.2"),
        ("S: *timeout*\n", LATER, "4.4.2"),
        ("S: SSH-2.0-OpenSSH_9.2\n", LATER, "4.5.0"),
        ("S: 250 hi\nC: QUIT\n", LATER, "4.0.0"),
        ("S: 220 hi\nS: 250 too early\n", LATER, "4.5.0"),
        ("S: 220 hi\nC: EHLO me.example\nS: 421 later\n", LATER, "4.3.2"),
        ("S: 220 hi\nC: EHLO me.example\nS: 451 later\nC: QUIT\n", LATER, "4.3.0"),
        ("S: 220 hi\nC: EHLO me.example\nS: *close*\n", LATER, "4.4.2"),
        ("S: 220 hi\nC: EHLO me.example\nS: 500 no\nC: HELO me.example\nS: 550 5.7.1 no\nC: QUIT\n", LATER, "4.7.1"),
    ],
)
def test_a_server_that_does_not_open(script: str, verdict: Verdict, status: str) -> None:
    failed = refused(script)
    assert (failed.outcome.verdict, failed.outcome.status, failed.tls) == (verdict, status, "")
    assert failed.outcome.mta == "mx.example"


# --- TLS


def test_tls_begins_and_what_was_said_before_is_forgotten() -> None:
    script = TLS_OFFER + "C: STARTTLS\nS: 220 go\nC: *tls*\nC: EHLO me.example\nS: 250-mx\nS: 250 SIZE 100\n"
    session, connection = opened(script, DEMAND)
    connection.finish()
    assert connection.demand == DEMAND and "PIPELINING" not in session.offers and "SIZE" in session.offers
    assert "-- TLSv1.3 TLS_AES_256_GCM_SHA384, verified" in session.transcript.text


def test_tls_before_the_greeting() -> None:
    session, connection = opened("C: *tls*\n" + SLOW, DEMAND, replace(SETTINGS, implicit_tls=True))
    connection.finish()
    assert session.usable


def test_no_tls_is_begun_that_is_not_wanted() -> None:
    session, connection = opened(TLS_OFFER)
    connection.finish()
    assert session.usable and connection.tls is None


@pytest.mark.parametrize(
    ("script", "tls", "text"),
    [
        (SLOW + "C: QUIT\n", "starttls-not-supported", "does not offer"),
        (TLS_OFFER + "C: STARTTLS\nS: 454 4.7.0 not now\nC: QUIT\n", "starttls-not-supported", "454 4.7.0 not now"),
        (TLS_OFFER + "C: STARTTLS\nS: 220 go\nS: 250 injected\n", "validation-failure", "plain text"),
        (TLS_OFFER + "C: STARTTLS\nS: 220 go\nC: *tls expired*\n", "validation-failure", "expired"),
        (TLS_OFFER + "C: STARTTLS\nS: *close*\n", "", "lost after STARTTLS"),
    ],
)
def test_tls_that_fails(script: str, tls: str, text: str) -> None:
    failed = refused(script, DEMAND)
    assert failed.tls == tls and text in failed.outcome.text and failed.outcome.verdict is LATER


# --- AUTH

PASSWORD = replace(SETTINGS, login=LoginAs("joe", Secret("secret")))
TOKEN = replace(SETTINGS, login=LoginAs("joe", Secret("t0ken"), token=True), plaintext_login=True)


def offer(mechanisms: str) -> str:
    return HELLO + f"S: 250 AUTH {mechanisms}\n"


@pytest.mark.parametrize(
    ("settings", "script"),
    [
        (replace(PASSWORD, plaintext_login=True), offer("LOGIN PLAIN") + "C: AUTH PLAIN AGpvZQBzZWNyZXQ=\nS: 235 ok\n"),
        (
            replace(PASSWORD, plaintext_login=True),
            offer("LOGIN")
            + "C: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: am9l\nS: 334 UGFzc3dvcmQ6\nC: c2VjcmV0\nS: 235 ok\n",
        ),
        (TOKEN, offer("PLAIN XOAUTH2") + "C: AUTH XOAUTH2 dXNlcj1qb2UBYXV0aD1CZWFyZXIgdDBrZW4BAQ==\nS: 235 ok\n"),
        (
            TOKEN,
            offer("XOAUTH2 OAUTHBEARER") + "C: AUTH OAUTHBEARER bixhPWpvZSwBYXV0aD1CZWFyZXIgdDBrZW4BAQ==\nS: 235 ok\n",
        ),
    ],
)
def test_logging_in(settings: ClientSettings, script: str) -> None:
    session, connection = opened(script, settings=settings)
    connection.finish()
    for secret in ("AGpvZQBzZWNyZXQ", "c2VjcmV0", "dDBrZW4", "am9l"):
        assert secret not in session.transcript.text
    assert "S: 235 ok" in session.transcript.text


@pytest.mark.parametrize(
    ("settings", "script", "text"),
    [
        (PASSWORD, offer("PLAIN LOGIN") + "C: QUIT\n", "LOGIN PLAIN, without TLS"),
        (replace(TOKEN, plaintext_login=False), offer("XOAUTH2") + "C: QUIT\n", "without TLS"),
        (PASSWORD, SLOW + "C: QUIT\n", "offers nothing"),
        (
            replace(PASSWORD, plaintext_login=True),
            offer("PLAIN") + "C: AUTH PLAIN AGpvZQBzZWNyZXQ=\nS: 535 5.7.8 wrong\nC: QUIT\n",
            "535 5.7.8 wrong",
        ),
        (TOKEN, offer("OAUTHBEARER") + "C: AUTH OAUTHBEARER ...\nS: 334 e30=\nC: AQ==\nS: 535 no\nC: QUIT\n", "535 no"),
        (
            PASSWORD,
            offer("SCRAM-SHA-256") + "C: AUTH SCRAM-SHA-256 ...\nS: 235 come in\nC: QUIT\n",
            "without the proof",
        ),
        (
            PASSWORD,
            offer("SCRAM-SHA-1") + "C: AUTH SCRAM-SHA-1 ...\nS: 334 !!\nC: *\nS: 501 no\nC: QUIT\n",
            "expected base64",
        ),
        (
            PASSWORD,
            offer("SCRAM-SHA-1") + "C: AUTH SCRAM-SHA-1 ...\nS: 334 cj14LHM9eCxpPTE=\nC: *\nS: 501 no\nC: QUIT\n",
            "expected SCRAM",
        ),
    ],
)
def test_a_login_that_fails(settings: ClientSettings, script: str, text: str) -> None:
    failed = refused(script, settings=settings)
    assert failed.outcome.verdict is LATER and text in failed.outcome.text and not failed.tls


# --- recipients


def test_recipients_have_outcomes_of_their_own() -> None:
    session, connection = opened(
        PIPE + "C: MAIL FROM:<me@example.org>\nC: RCPT TO:<joe@example.com>\nC: RCPT TO:<ann@example.com>\n"
        "C: RCPT TO:<bob@example.com>\nC: DATA\nS: 250 ok\nS: 450 4.2.0 full\nS: 250 ok\n"
        "S: 550-5.1.1 no\nS: 550 5.1.1 Bob\nS: 354 go\n" + DATA + "S: 250 ok\n"
    )
    outcomes = send(session, numbers=(0, 1, 2))
    assert shown(outcomes) == {0: (LATER, "4.2.0"), 1: (DONE, "2.0.0"), 2: (NEVER, "5.1.1")}
    assert outcomes[2].text == "550 5.1.1 no Bob" and outcomes[2].remote and not outcomes[1].reports
    connection.finish()


@pytest.mark.parametrize("data", ["S: 554 no recipients\n", "S: 354 go\nC: .\nS: 554 no recipients\n"])
def test_nobody_is_left_and_nothing_is_sent(data: str) -> None:
    session, connection = opened(
        PIPE + ONE.replace("S: 250 ok\nS: 250 ok\nS: 354 go\n", "S: 250 ok\nS: 550 no\n" + data)
        + "C: RSET\n" + ONE.replace("S: 250", "S: 250 reset\nS: 250", 1) + DATA + "S: 250 ok\n"
    )  # fmt: skip
    assert shown(send(session)) == {0: (NEVER, "5.0.0")}
    assert shown(send(session)) == {0: (DONE, "2.0.0")}
    connection.finish()


def test_step_by_step_nothing_follows_a_refusal() -> None:
    session, connection = opened(
        SLOW + "C: MAIL FROM:<me@example.org>\nS: 451 later\n"
        "C: RSET\nS: 250 ok\nC: MAIL FROM:<me@example.org>\nS: 250 ok\nC: RCPT TO:<joe@example.com>\nS: 553 no\n"
        "C: QUIT\nS: 221 bye\nC: *end*\n"
    )
    assert shown(send(session)) == {0: (LATER, "4.3.0")}
    assert shown(send(session)) == {0: (NEVER, "5.1.3")}
    result(session.quit())
    connection.finish()


@pytest.mark.parametrize("refusal", ["452 too many", "452 4.5.3 too many", "552 too many"])
def test_too_many_recipients_are_for_the_next_transaction(refusal: str) -> None:
    session, connection = opened(
        PIPE + "C: MAIL FROM:<me@example.org>\nC: RCPT TO:<joe@example.com>\nC: RCPT TO:<ann@example.com>\nC: DATA\n"
        f"S: 250 ok\nS: 250 ok\nS: {refusal}\nS: 354 go\n" + DATA + "S: 250 ok\n"
        "C: MAIL FROM:<me@example.org>\nC: RCPT TO:<ann@example.com>\nC: DATA\n"
        f"S: 250 ok\nS: {refusal}\nS: 503 nobody\n"
    )  # fmt: skip
    assert shown(send(session, numbers=(0, 1))) == {0: (DONE, "2.0.0")}
    assert session.usable
    verdict = LATER if refusal.startswith("4") else NEVER
    assert send(session, numbers=(1,))[1].verdict is verdict
    connection.finish()


def test_a_full_mailbox_is_not_too_many_recipients() -> None:
    session, _ = opened(
        PIPE + "C: MAIL FROM:<me@example.org>\nC: RCPT TO:<joe@example.com>\nC: RCPT TO:<ann@example.com>\nC: DATA\n"
        "S: 250 ok\nS: 250 ok\nS: 452 4.2.2 full\nS: 354 go\n" + DATA + "S: 250 ok\n"
    )
    assert shown(send(session, numbers=(0, 1))) == {0: (DONE, "2.0.0"), 1: (LATER, "4.2.2")}


def test_limits_are_honoured() -> None:
    session, connection = opened(
        HELLO + "S: 250-PIPELINING\nS: 250 LIMITS RCPTMAX=1 MAILMAX=1\n" + ONE + DATA + "S: 250 ok\n"
        "C: QUIT\nS: 221 bye\nC: *end*\n"
    )
    assert shown(send(session, numbers=(0, 1))) == {0: (DONE, "2.0.0")}
    assert not session.usable
    result(session.quit())
    connection.finish()


def test_lmtp_answers_for_each_recipient() -> None:
    session, connection = opened(
        "S: 220 hi\nC: LHLO me.example\nS: 250-mx\nS: 250-CHUNKING\nS: 250 PIPELINING\n"
        "C: MAIL FROM:<me@example.org>\nC: RCPT TO:<joe@example.com>\nC: RCPT TO:<ann@example.com>\n"
        "C: RCPT TO:<bob@example.com>\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 550 no\nS: 250 ok\nS: 354 go\n"
        + DATA + "S: 250 ok\nS: 452 4.2.2 full\n",
        settings=replace(SETTINGS, lmtp=True, chunking_from=0),
    )  # fmt: skip
    outcomes = send(session, numbers=(0, 1, 2))
    assert shown(outcomes) == {0: (DONE, "2.0.0"), 1: (NEVER, "5.0.0"), 2: (LATER, "4.2.2")}
    connection.finish()


def test_lmtp_that_ends_for_one_may_have_taken_it_for_the_other() -> None:
    session, connection = opened(
        "S: 220 hi\nC: LHLO me.example\nS: 250-mx\nS: 250 PIPELINING\n"
        "C: MAIL FROM:<me@example.org>\nC: RCPT TO:<joe@example.com>\nC: RCPT TO:<ann@example.com>\nC: DATA\n"
        "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\n" + DATA + "S: 421 4.3.2 not this one\nS: 250 ok\nC: *end*\n",
        settings=replace(SETTINGS, lmtp=True),
    )
    assert shown(send(session, numbers=(0, 1))) == {0: (LATER, "4.3.2"), 1: (DONE, "2.0.0")}
    assert not session.usable
    connection.finish()


# --- mail data


def test_large_messages_go_in_pieces() -> None:
    line = "." + "x" * 998
    octets = b"Subject: x\r\n\r\n" + f"{line}\r\n".encode() * 300 + b"end"
    session, connection = opened(
        PIPE + ONE + "C: Subject: x\nC:\n" + f"C: .{line}\n" * 300 + "C: end\nC: .\nS: 250 ok\n"
    )
    assert shown(send(session, content=Message(octets))) == {0: (DONE, "2.0.0")}
    connection.finish()
    assert 100 * 1024 < max(map(len, connection.written)) < 140 * 1024


def test_chunking() -> None:
    octets = b".x" * 100_000
    session, connection = opened(
        HELLO + "S: 250-PIPELINING\nS: 250 CHUNKING\nC: MAIL FROM:<me@example.org>\nC: RCPT TO:<joe@example.com>\n"
        "S: 250 ok\nS: 250 ok\nC: BDAT 200002 LAST\n" + f"C: {octets.decode()}\nS: 250 2.0.0 ok\n"
    )  # fmt: skip
    assert shown(send(session, content=Message(octets))) == {0: (DONE, "2.0.0")}
    connection.finish()


def test_without_recipients_no_chunk_is_sent() -> None:
    session, connection = opened(
        HELLO + "S: 250-PIPELINING\nS: 250 CHUNKING\nC: MAIL FROM:<me@example.org>\nC: RCPT TO:<joe@example.com>\n"
        "S: 250 ok\nS: 550 no\n", settings=replace(SETTINGS, chunking_from=1),
    )  # fmt: skip
    assert shown(send(session)) == {0: (NEVER, "5.0.0")}
    connection.finish()


def test_a_refusal_in_the_middle_of_the_data_is_heard() -> None:
    session, connection = opened(PIPE + ONE + f"C: {'x' * 131070}\nS: 552 5.3.4 too big\nC: *end*\n")
    octets = b"x" * 131070 + b"\r\n" + b"y" * 200_000
    assert shown(send(session, content=Message(octets))) == {0: (NEVER, "5.3.4")}
    assert not session.usable
    connection.finish()


@pytest.mark.parametrize("broken", [0, 140_000])
def test_a_message_that_cannot_be_read_is_not_ended(broken: int) -> None:
    session, connection = opened(PIPE + ONE + "C: never\n")
    octets = b"x" * 400_000
    outcomes = send(session, content=Message(octets, broken))
    assert shown(outcomes) == {0: (LATER, "4.3.0")} and "Input/output" in outcomes[0].text
    assert connection.closed and not any(b".\r\n" in piece for piece in connection.written)


def test_a_message_that_is_refused_and_the_next() -> None:
    session, connection = opened(
        PIPE + ONE + DATA + "S: 554 5.7.1 spam\nC: RSET\n" + ONE.replace("S: 250", "S: 250 reset\nS: 250", 1) + DATA
        + "S: 250 ok\n"
    )  # fmt: skip
    assert shown(send(session)) == {0: (NEVER, "5.7.1")}
    assert shown(send(session)) == {0: (DONE, "2.0.0")}
    connection.finish()


# --- when the server goes away

STEPS = {
    "MAIL": PIPE + "C: MAIL FROM:<me@example.org>\nC: RCPT TO:<joe@example.com>\nC: DATA\n",
    "RCPT": PIPE + "C: MAIL FROM:<me@example.org>\nC: RCPT TO:<joe@example.com>\nC: DATA\nS: 250 ok\n",
    "DATA": PIPE + "C: MAIL FROM:<me@example.org>\nC: RCPT TO:<joe@example.com>\nC: DATA\nS: 250 ok\nS: 250 ok\n",
    "the end of data": PIPE + ONE + DATA,
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    ("event", "status", "text"),
    [
        ("*close*", "4.4.2", "connection lost after "),
        ("*timeout*", "4.4.2", "no answer in time after "),
        ("421 4.3.2 going down", "4.3.2", "421 4.3.2 going down"),
        ("nonsense", "4.5.0", "cannot be understood after "),
        ("250 " + "x" * 20_000, "4.5.0", "more than 16384"),
    ],
)
def test_the_server_fails_after_each_step(step: str, event: str, status: str, text: str) -> None:
    session, connection = opened(STEPS[step] + f"S: {event}\nC: *end*\n")
    outcomes = send(session)
    assert shown(outcomes) == {0: (LATER, status)} and text in outcomes[0].text
    assert outcomes[0].remote is event.startswith("421")
    assert not session.usable and connection.closed
    if not event.startswith("421"):
        assert ("may come twice" in outcomes[0].text) is (step == "the end of data")
        assert f"after {step}" in outcomes[0].text
    connection.finish()


def test_who_has_an_outcome_keeps_it() -> None:
    session, _ = opened(
        PIPE + "C: MAIL FROM:<me@example.org>\nC: RCPT TO:<joe@example.com>\nC: RCPT TO:<ann@example.com>\nC: DATA\n"
        "S: 250 ok\nS: 550 no\nS: 250 ok\nS: 354 go\n" + DATA + "S: *close*\n"
    )
    assert shown(send(session, numbers=(0, 1))) == {0: (NEVER, "5.0.0"), 1: (LATER, "4.4.2")}


@pytest.mark.parametrize(
    "event",
    [
        "S: 421 too long idle\nC: *end*\n",
        "S: *close*\nC: *end*\n",
        "C: MAIL FROM:<me@example.org>\nC: RCPT TO:<joe@example.com>\nC: DATA\nS: *close*\nC: *end*\n",
        "C: MAIL FROM:<me@example.org>\nC: RCPT TO:<joe@example.com>\nC: DATA\nS: 421 enough\nC: *end*\n",
        "C: MAIL FROM:<me@example.org>\nC: RCPT TO:<joe@example.com>\nC: DATA\nS: 452 4.5.3 enough\nC: *end*\n",
    ],
)
def test_a_connection_that_ended_meanwhile_is_stale(event: str) -> None:
    session, connection = opened(PIPE + ONE + DATA + "S: 250 ok\n" + event)
    assert shown(send(session)) == {0: (DONE, "2.0.0")}
    with pytest.raises(HopFailed) as failed:
        send(session)
    assert failed.value.stale and failed.value.outcome.verdict is LATER and not session.usable
    with pytest.raises(HopFailed):
        send(session)
    assert connection.closed


def test_quit_to_who_says_nothing() -> None:
    session, connection = opened(PIPE + "C: QUIT\nS: *timeout*\nC: *end*\n")
    result(session.quit())
    connection.finish()
    assert connection.timeouts[-1] == times.QUIT_TIME
