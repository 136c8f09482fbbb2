"""Parameters of MAIL and RCPT: what is taken, what is refused, and what of it travels with the message."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_smtp_session import LOG_IN, World

from mailstack.errors import BadSyntax, Problem
from mailstack.mail.address import Address
from mailstack.mail.parameters import DeliverBy, MailParameters, Notify, RcptParameters, Return
from mailstack.ports import Envelope
from mailstack.smtp.settings import Role
from mailstack.smtp.wire import xtext

NOW = 1_700_000_000


def submission() -> World:
    world = World(tls=True, role=Role.SUBMISSION)
    world.say(b"EHLO c\r\n" + LOG_IN)
    return world


def last(answer: bytes) -> bytes:
    return answer.split(b"\r\n")[-2]


def sent(mail: bytes, *recipients: bytes) -> Envelope:
    """The envelope in the queue of a message with these parameters."""
    world = submission()
    to = b"".join(b"RCPT TO:%s\r\n" % recipient for recipient in recipients)
    answer = world.say(b"MAIL FROM:<joe@example.com> %s\r\n%sDATA\r\nSubject: x\r\n.\r\n" % (mail, to))
    assert last(answer).startswith(b"250 "), answer
    [item] = world.outbound.items
    return item.envelope


def test_everything_that_was_said_is_in_the_envelope() -> None:
    envelope = sent(
        b"RET=HDRS ENVID=a+2Bb REQUIRETLS BY=120;RT HOLDFOR=60 MT-PRIORITY=3 AUTH=joe@example.com",
        b"<x@else.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;X@else.example",
        b"<y@else.example>",
    )
    assert envelope.parameters == MailParameters(
        Return.HEADERS, "a+b", True, DeliverBy(NOW + 120, True, True), NOW + 60, 3
    )
    assert envelope.rcpt_parameters == (
        RcptParameters(frozenset({Notify.SUCCESS, Notify.DELAY}), "rfc822;X@else.example"),
        RcptParameters(),
    )


def test_without_parameters_there_are_none() -> None:
    envelope = sent(b"", b"<x@else.example>")
    assert envelope.parameters == MailParameters() and envelope.rcpt_parameters == ()


def test_parameters_end_with_their_message() -> None:
    world = submission()
    world.say(b"MAIL FROM:<joe@example.com> REQUIRETLS ENVID=1\r\nRCPT TO:<x@else.example> NOTIFY=NEVER\r\nRSET\r\n")
    world.say(b"MAIL FROM:<joe@example.com>\r\nRCPT TO:<x@else.example>\r\nDATA\r\n.\r\n")
    assert world.outbound.items[0].envelope.parameters == MailParameters()
    assert world.outbound.items[0].envelope.rcpt_parameters == ()


@pytest.mark.parametrize(
    "parameter",
    [
        b"RET", b"RET=ALL", b"ENVID", b"ENVID=+0D+0Ax", b"ENVID=+zz", b"ENVID=+2b", b"ENVID=" + b"x" * 101,
        b"ENVID=\xc3\xa4 SMTPUTF8", b"REQUIRETLS=yes", b"BY", b"BY=1", b"BY=0;R", b"BY=-1;R", b"BY=1;X",
        b"BY=1234567890;N", b"BY=1;NTT", b"HOLDFOR=0", b"HOLDFOR=-1", b"HOLDFOR=99999999", b"HOLDUNTIL=tomorrow",
        b"HOLDUNTIL=2023-13-14T22:13:20Z", b"HOLDUNTIL=2033-11-14T22:13:20Z",
        b"HOLDFOR=1 HOLDUNTIL=2023-11-14T22:14:20Z",
        b"HOLDUNTIL=2023-11-14", b"MT-PRIORITY=10", b"MT-PRIORITY=+1",
        b"MT-PRIORITY=-0", b"MT-PRIORITY", b"AUTH=joe", b"AUTH=+3C+3E", b"AUTH=a@b+0D", b"ENVID=1 ENVID=2",
    ],
)  # fmt: skip
def test_wrong_parameters_of_mail(parameter: bytes) -> None:
    world = submission()
    assert last(world.say(b"MAIL FROM:<joe@example.com> %s\r\n" % parameter)).startswith(b"501 5.5.4 ")
    assert world.say(b"MAIL FROM:<joe@example.com>\r\n").startswith(b"250 ")


@pytest.mark.parametrize(
    "parameter",
    [
        b"NOTIFY", b"NOTIFY=", b"NOTIFY=NEVER,SUCCESS", b"NOTIFY=SUCCESS,", b"NOTIFY=MAYBE", b"ORCPT", b"ORCPT=rfc822",
        b"ORCPT=;x", b"ORCPT=rfc822;", b"ORCPT=rfc822;a+0D+0ABcc:x", b"ORCPT=rf_c;x", b"ORCPT=rfc822;" + b"x" * 494,
        b"ORCPT=utf-8;\xc3\xa4", b"ORCPT=utf-8;\\x{D800}", b"ORCPT=utf-8;\\x{0A}", b"ORCPT=utf-8;\\x{110000}",
        b"NOTIFY=NEVER NOTIFY=NEVER",
    ],
)  # fmt: skip
def test_wrong_parameters_of_rcpt(parameter: bytes) -> None:
    world = submission()
    world.say(b"MAIL FROM:<joe@example.com>\r\n")
    assert last(world.say(b"RCPT TO:<ann@example.com> %s\r\n" % parameter)).startswith(b"501 5.5.4 ")


def test_an_address_in_utf_8_as_it_was() -> None:
    encoded = sent(b"", b"<x@else.example> ORCPT=utf-8;j\\x{F6}rg@b\\x{FC}cher.example")
    plain = sent(b"SMTPUTF8", b"<x@else.example> ORCPT=utf-8;j\xc3\xb6rg@b\xc3\xbccher.example")
    assert encoded.rcpt_parameters == plain.rcpt_parameters == (RcptParameters(None, "utf-8;jörg@bücher.example"),)


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)))
def test_xtext_there_and_back(text: str) -> None:
    assert xtext.decode_xtext(xtext.encode_xtext(text)) == text


@given(st.text().filter(str.isprintable))
def test_unitext_there_and_back(text: str) -> None:
    encoded = xtext.encode_unitext(text)
    assert encoded.isascii() and xtext.decode_unitext(encoded) == text


@given(st.text())
def test_no_control_character_comes_out_of_xtext(text: str) -> None:
    for decode in (xtext.decode_xtext, xtext.decode_unitext):
        try:
            assert decode(text).isprintable()
        except BadSyntax:
            continue


@pytest.mark.parametrize(
    ("value", "until"),
    [
        (b"HOLDUNTIL=2023-11-14T22:14:20Z", NOW + 60),
        (b"HOLDUNTIL=2023-11-15T00:14:20+02:00", NOW + 60),
        (b"HOLDUNTIL=2023-11-14t22:14:20.5z", NOW + 60),
        (b"HOLDFOR=2592000", NOW + 2_592_000),
    ],
)
def test_a_message_that_is_held_waits_for_all_its_recipients(value: bytes, until: int) -> None:
    world = submission()
    world.say(b"MAIL FROM:<joe@example.com> %s\r\nRCPT TO:<x@else.example>\r\nRCPT TO:<ann@example.com>\r\n" % value)
    assert last(world.say(b"DATA\r\nSubject: x\r\n.\r\n")).startswith(b"250 ")
    [item] = world.outbound.items
    assert item.envelope.parameters.hold_until == until and not world.store.got
    assert item.envelope.recipients == (Address("x", "else.example"), Address("ann", "example.com"))


def test_a_time_that_has_passed_holds_nothing() -> None:
    world = submission()
    world.say(b"MAIL FROM:<joe@example.com> HOLDUNTIL=2020-01-01T00:00:00Z\r\nRCPT TO:<ann@example.com>\r\n")
    world.say(b"DATA\r\n.\r\n")
    assert len(world.store.got) == 1 and not world.outbound.items


def test_only_submissions_are_held() -> None:
    world = World()
    assert b"FUTURERELEASE" not in world.say(b"EHLO c\r\n")
    assert world.say(b"MAIL FROM:<a@b.example> HOLDFOR=5\r\n").startswith(b"555 5.5.4 ")


def test_where_nothing_leaves_nothing_is_held() -> None:
    world = World(tls=True, role=Role.SUBMISSION, holds=False)
    assert b"FUTURERELEASE" not in world.say(b"EHLO c\r\n")
    world.say(LOG_IN)
    assert world.say(b"MAIL FROM:<joe@example.com> HOLDFOR=5\r\n").startswith(b"555 5.5.4 ")


def test_requiretls_is_for_connections_with_tls() -> None:
    plain, secret = World(), World(tls=True)
    assert b"REQUIRETLS" not in plain.say(b"EHLO c\r\n") and b"REQUIRETLS" in secret.say(b"EHLO c\r\n")
    assert plain.say(b"MAIL FROM:<a@b.example> REQUIRETLS\r\n").startswith(b"530 5.7.10 ")
    assert secret.say(b"MAIL FROM:<a@b.example> REQUIRETLS\r\n").startswith(b"250 2.1.0 ")


@pytest.mark.parametrize(
    ("wanted", "reply", "clause"),
    [(b"5", b"250 2.3.6 0 ", b""), (b"0", b"250 2.1.0 ", b""), (b"-4", b"250 2.1.0 ", b"\r\n\tPRIORITY -4;")],
)
def test_strangers_are_no_more_urgent_than_others(wanted: bytes, reply: bytes, clause: bytes) -> None:
    world = World()
    world.say(b"EHLO c\r\n")
    assert world.say(b"MAIL FROM:<a@b.example> MT-PRIORITY=%s\r\n" % wanted).startswith(reply)
    world.say(b"RCPT TO:<joe@example.com>\r\nDATA\r\n.\r\n")
    prefix = world.store.got[0][0].prefix
    assert clause in prefix and (b"PRIORITY" in prefix) is bool(clause)


# --- reports of success


def told(world: World) -> list[EmailMessage]:
    """The reports that went to joe."""
    found = []
    for delivery, octets in world.store.got:
        if b"multipart/report" in octets:
            assert delivery.prefix == b"Return-Path: <>\r\nDelivered-To: joe@example.com\r\n"
            assert delivery.account == "joe@example.com"
            message = message_from_bytes(octets, policy=policy.default)
            assert isinstance(message, EmailMessage)
            found.append(message)
    return found


def fields(report: EmailMessage) -> list[dict[str, str]]:
    """The groups of fields of its delivery status."""
    parts = list(report.iter_parts())
    assert [part.get_content_type() for part in parts] == [
        "text/plain", "message/delivery-status", "text/rfc822-headers",
    ]  # fmt: skip
    return [dict(group.items()) for group in parts[1].get_payload()]  # type: ignore[union-attr]


def test_the_sender_hears_of_success_if_he_wants_to() -> None:
    world = World()
    world.say(b"EHLO c\r\nMAIL FROM:<joe@example.com> ENVID=QQ+20314 RET=FULL\r\n")
    world.say(b"RCPT TO:<ann+x@example.com> NOTIFY=SUCCESS ORCPT=rfc822;Ann+2B@example.com\r\n")
    world.say(b"RCPT TO:<bob@example.com>\r\nRCPT TO:<joe@example.com> NOTIFY=FAILURE,DELAY\r\n")
    assert last(world.say(b"DATA\r\nSubject: Hello\r\n\r\nbody\r\n.\r\n")).startswith(b"250 ")
    [report] = told(world)
    assert report["Auto-Submitted"] == "auto-replied" and report["To"] == "joe@example.com"
    assert not report.defects and report["Message-ID"] and report["Date"]
    assert fields(report) == [
        {
            "Original-Envelope-Id": "QQ 314",
            "Reporting-MTA": "dns; mx.example",
            "Arrival-Date": "Tue, 14 Nov 2023 22:13:20 +0000",
        },
        {
            "Original-Recipient": "rfc822; Ann+@example.com",
            "Final-Recipient": "rfc822; ann+x@example.com",
            "Action": "delivered",
            "Status": "2.0.0",
        },
    ]
    returned = report.get_payload()[2]  # type: ignore[index,union-attr]
    assert returned.get_payload() == "Subject: Hello\r\n"  # type: ignore[union-attr]
    assert world.spool.leaks == 0 and len(world.store.got) == 4


def test_an_alias_of_many_is_expanded_and_the_rest_reports_no_success() -> None:
    world = World()
    world.store.problems["ann@example.com"] = Problem.STORE_UNAVAILABLE
    world.say(b"EHLO c\r\nMAIL FROM:<joe@example.com>\r\nRCPT TO:<both@example.com> NOTIFY=SUCCESS,FAILURE\r\n")
    assert last(world.say(b"DATA\r\n.\r\n")).startswith(b"250 ")
    assert [group["Action"] for group in fields(told(world)[0])[1:]] == ["expanded"]
    [item] = world.outbound.items
    assert item.envelope.rcpt_parameters == (RcptParameters(frozenset({Notify.FAILURE})),)


def test_a_copy_that_comes_later_is_reported_later() -> None:
    world = World()
    world.store.problems["ann@example.com"] = Problem.STORE_UNAVAILABLE
    world.say(b"EHLO c\r\nMAIL FROM:<joe@example.com>\r\n")
    world.say(b"RCPT TO:<ann@example.com> NOTIFY=SUCCESS\r\nRCPT TO:<bob@example.com> NOTIFY=SUCCESS\r\nDATA\r\n.\r\n")
    assert [group["Final-Recipient"] for group in fields(told(world)[0])[1:]] == ["rfc822; bob@example.com"]
    assert world.outbound.items[0].envelope.rcpt_parameters == (RcptParameters(frozenset({Notify.SUCCESS})),)


def test_a_report_to_elsewhere_is_queued() -> None:
    world = World(tls=True)
    world.say(b"EHLO c\r\nMAIL FROM:<a@b.example> REQUIRETLS\r\nRCPT TO:<joe@example.com> NOTIFY=SUCCESS\r\n")
    world.say(b"DATA\r\n.\r\n")
    [item] = world.outbound.items
    assert item.envelope == Envelope(
        None,
        (Address("a", "b.example"),),
        parameters=MailParameters(require_tls=True),  # and no RET: RFC 3461 §6.1
        rcpt_parameters=(RcptParameters(frozenset({Notify.NEVER})),),
    )


def test_in_lmtp_each_recipient_that_has_it_is_reported() -> None:
    world = World(role=Role.LMTP)
    world.store.problems["ann@example.com"] = Problem.OVER_QUOTA
    world.say(b"LHLO c\r\nMAIL FROM:<joe@example.com>\r\n")
    world.say(b"RCPT TO:<ann@example.com> NOTIFY=SUCCESS\r\nRCPT TO:<bob@example.com> NOTIFY=SUCCESS\r\nDATA\r\n.\r\n")
    assert [group["Final-Recipient"] for group in fields(told(world)[0])[1:]] == ["rfc822; bob@example.com"]


@pytest.mark.parametrize("sender", [b"", b"nobody@example.com"])
def test_nobody_is_told_who_is_not_there(sender: bytes) -> None:
    world = World()
    world.say(b"EHLO c\r\nMAIL FROM:<%s>\r\nRCPT TO:<ann@example.com> NOTIFY=SUCCESS\r\n" % sender)
    assert last(world.say(b"DATA\r\n.\r\n")).startswith(b"250 ")
    assert len(world.store.got) == 1 and not world.outbound.items and world.spool.leaks == 0
    assert not world.log.failures and ("report not sent" in world.log.whats("warning")) is bool(sender)


def test_a_report_that_fails_does_not_fail_the_message() -> None:
    world = World()
    world.outbound.problem = Problem.DISK_FULL
    world.say(b"EHLO c\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<ann@example.com> NOTIFY=SUCCESS\r\n")
    assert last(world.say(b"DATA\r\n.\r\n")).startswith(b"250 ")
    assert "report not sent" in world.log.whats("warning") and world.spool.leaks == 0


def test_a_report_with_addresses_in_utf_8() -> None:
    world = World()
    world.directory.users.add("jörg@example.com")
    world.say(b"EHLO c\r\nMAIL FROM:<joe@example.com> SMTPUTF8\r\n")
    world.say("RCPT TO:<jörg@example.com> NOTIFY=SUCCESS\r\nDATA\r\nSubject: ä\r\n.\r\n".encode())
    [octets] = [octets for _, octets in world.store.got if b"multipart/report" in octets]
    assert "Final-Recipient: utf-8; jörg@example.com\r\n".encode() in octets
    assert b"Content-Type: message/global-delivery-status\r\nContent-Transfer-Encoding: 8bit\r\n" in octets
    assert (
        "Content-Type: message/global-headers\r\nContent-Transfer-Encoding: 8bit\r\n\r\nSubject: ä\r\n".encode()
        in octets
    )
