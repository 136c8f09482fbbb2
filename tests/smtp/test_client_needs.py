"""What a message needs of a server: how the client finds out, and what it does where it is missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import pytest
from scripted_client import (
    ANN,
    DATA,
    DEMAND,
    DONE,
    ENVELOPE,
    HELLO,
    JOE,
    NEVER,
    ONE,
    PIPE,
    SETTINGS,
    SLOW,
    TLS_OFFER,
    Message,
    opened,
    send,
    shown,
)

from mailstack.mail.address import Address
from mailstack.mail.parameters import DeliverBy, MailParameters, Notify, RcptParameters
from mailstack.ports import Envelope
from mailstack.smtp.client.downconversion import downconversion
from mailstack.testing.clock import ManualClock

T = TypeVar("T")


def with_parameters(**asked: object) -> Envelope:
    return replace(ENVELOPE, parameters=MailParameters(**asked))  # type: ignore[arg-type]


NOW = int(ManualClock().now())
INTERNATIONAL = Envelope(Address("m\u00fc", "example.org"), (JOE, Address("j\u00f6", "example.com")), smtputf8=True)


@pytest.mark.parametrize(
    ("offered", "envelope", "status", "text"),
    [
        ("SIZE 19", ENVELOPE, "5.3.4", "has 20 octets, and the server takes at most 19"),
        ("SIZE", replace(ENVELOPE, body_8bit=True), "5.6.3", "8BITMIME"),
        ("8BITMIME", INTERNATIONAL, "5.6.7", "sender's address"),
        ("DSN", with_parameters(require_tls=True), "5.7.10", "verified"),
        ("DSN", with_parameters(deliver_by=DeliverBy(NOW + 60, True)), "5.4.7", "DELIVERBY"),
        ("DELIVERBY 90", with_parameters(deliver_by=DeliverBy(NOW + 60, True)), "5.4.7", "needs 90"),
        ("DELIVERBY", with_parameters(deliver_by=DeliverBy(NOW, True)), "5.4.7", "is over"),
    ],
)
def test_what_this_server_cannot_do(offered: str, envelope: Envelope, status: str, text: str) -> None:
    session, connection = opened(HELLO + f"S: 250 {offered}\n")
    outcomes = send(session, envelope)
    assert shown(outcomes) == {0: (NEVER, status)} and text in outcomes[0].text and not outcomes[0].remote
    connection.finish()
    assert session.usable


def test_requiretls_is_for_those_who_offer_it() -> None:
    script = TLS_OFFER + "C: STARTTLS\nS: 220 go\nC: *tls*\n" + SLOW.removeprefix("S: 220 hi\n")
    session, _ = opened(script, DEMAND)
    assert shown(send(session, with_parameters(require_tls=True))) == {0: (NEVER, "5.7.30")}


def test_a_report_goes_without_what_its_message_demands() -> None:
    report = replace(with_parameters(require_tls=True), sender=None)
    session, connection = opened(
        HELLO + "S: 250 PIPELINING\nC: MAIL FROM:<>\nC: RCPT TO:<joe@example.com>\nC: DATA\n"
        "S: 250 ok\nS: 250 ok\nS: 354 go\n" + DATA + "S: 250 ok\n"
    )
    assert shown(send(session, report)) == {0: (DONE, "2.0.0")}  # RFC 8689 §5
    connection.finish()


def test_all_that_is_offered_is_used() -> None:
    envelope = replace(
        with_parameters(deliver_by=DeliverBy(NOW - 60, False), envid="x"), body_8bit=True, recipients=(JOE, ANN),
        rcpt_parameters=(RcptParameters(frozenset({Notify.SUCCESS})), RcptParameters()),
    )  # fmt: skip
    session, connection = opened(
        HELLO + "S: 250-PIPELINING\nS: 250-SIZE 100\nS: 250-8BITMIME\nS: 250-DSN\nS: 250 DELIVERBY\n"
        "C: MAIL FROM:<me@example.org> SIZE=20 BODY=8BITMIME ENVID=x BY=-60;N\n"
        "C: RCPT TO:<joe@example.com> NOTIFY=SUCCESS\nC: RCPT TO:<ann@example.com>\nC: DATA\n"
        "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\n" + DATA + "S: 250 ok\n"
    )
    outcomes = send(session, envelope, (0, 1))
    assert all(outcome.reports and outcome.verdict is DONE for outcome in outcomes.values())
    connection.finish()


def test_international_addresses_where_they_are_taken() -> None:
    session, connection = opened(
        HELLO + "S: 250-SMTPUTF8\nS: 250-8BITMIME\nS: 250 PIPELINING\n"
        "C: MAIL FROM:<m\u00fc@example.org> SMTPUTF8\nC: RCPT TO:<j\u00f6@example.com>\nC: DATA\n"
        "S: 250 ok\nS: 250 ok\nS: 354 go\n" + DATA + "S: 250 ok\n"
    )
    assert shown(send(session, INTERNATIONAL, (1,))) == {1: (DONE, "2.0.0")}
    connection.finish()


def test_without_smtputf8_go_those_who_do_not_need_it() -> None:
    recipients = (JOE, Address("j\u00f6", "example.com"), Address("bob", "b\u00fccher.example"))
    envelope = replace(ENVELOPE, recipients=recipients, smtputf8=True)
    session, connection = opened(
        PIPE + "C: MAIL FROM:<me@example.org>\nC: RCPT TO:<joe@example.com>\nC: RCPT TO:<bob@xn--bcher-kva.example>\n"
        "C: DATA\nS: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\n" + DATA + "S: 250 ok\n"
    )
    assert shown(send(session, envelope, (0, 1, 2))) == {0: (DONE, "2.0.0"), 1: (NEVER, "5.6.7"), 2: (DONE, "2.0.0")}
    connection.finish()


def test_without_smtputf8_no_header_in_utf_8() -> None:
    session, _ = opened(SLOW)
    content = Message("Subject: \u00fc\r\n\r\nx\r\n".encode())
    assert shown(send(session, replace(ENVELOPE, smtputf8=True), content=content)) == {0: (NEVER, "5.6.7")}


async def at_once(function: Callable[[], T]) -> T:
    return function()


CONVERTING = replace(SETTINGS, downconvert=downconversion(at_once))


def test_8_bit_text_is_converted() -> None:
    session, connection = opened(
        PIPE + ONE + "C: Subject: x\nC: MIME-Version: 1.0\nC: Content-Type: text/plain; charset=unknown-8bit\n"
        "C: Content-Transfer-Encoding: quoted-printable\nC:\nC: sch=F6n und gut\nC: .\nS: 250 ok\n",
        settings=CONVERTING,
    )
    content = Message(b"Subject: x\r\n\r\nsch\xf6n und gut\r\n")
    assert shown(send(session, replace(ENVELOPE, body_8bit=True), content=content)) == {0: (DONE, "2.0.0")}
    connection.finish()


def test_what_cannot_be_converted_is_returned() -> None:
    session, connection = opened(PIPE, settings=CONVERTING)
    content = Message(b"Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\n\xe4\r\n--b--\r\n")
    assert shown(send(session, replace(ENVELOPE, body_8bit=True), content=content)) == {0: (NEVER, "5.6.3")}
    connection.finish()
