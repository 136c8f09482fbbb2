"""Sessions that take mail for accounts which are forwarded."""

from __future__ import annotations

import pytest
from test_smtp_session import LOG_IN, World

from mailstack.config.sections import Vrfy
from mailstack.errors import Problem
from mailstack.mail.address import Address
from mailstack.mail.parameters import Notify, RcptParameters
from mailstack.smtp.settings import Role

TARGET = Address("joe", "elsewhere.example")


def world(*, only: bool = False, **changes: object) -> World:
    made = World(**changes)  # type: ignore[arg-type]
    made.directory.forwards["joe@example.com"] = (TARGET,)
    if only:
        made.directory.forwarded_only.add("joe@example.com")
    return made


def test_a_copy_here_and_one_there() -> None:
    w = world()
    assert w.send(b"Joe@example.com").startswith(b"250 ")
    [item] = w.outbound.items
    assert item.envelope.sender == Address("forwarded-a", "example.com") and item.envelope.recipients == (TARGET,)
    assert item.message.startswith(b"Delivered-To: Joe@example.com\r\nReceived: from client.example")
    assert b"Return-Path" not in item.message and item.message.endswith(b"Subject: x\r\n\r\nx\r\n")
    [(delivery, _)] = w.store.got
    assert delivery.account == "joe@example.com" and delivery.prefix.startswith(b"Return-Path: <a@example.org>")
    assert w.spool.leaks == 0


def test_only_there() -> None:
    w = world(only=True)
    assert w.send(b"joe@example.com", sender=b"").startswith(b"250 ")
    assert not w.store.got and len(w.outbound.items) == 1
    assert w.outbound.items[0].envelope.sender is None, "a bounce stays one"


def test_each_target_gets_one() -> None:
    w = world()
    w.directory.forwards["ann@example.com"] = (TARGET, Address("x", "elsewhere.example"))
    w.send(b"joe@example.com", b"ann@example.com", b"joe+x@example.com")
    assert [item.envelope.recipients for item in w.outbound.items] == [(TARGET,), (Address("x", "elsewhere.example"),)]


def test_a_loop_ends() -> None:
    w = world(only=True)
    w.send(b"joe@example.com")
    returned = w.outbound.items[0].message
    assert w.send(b"joe@example.com", body=returned).startswith(b"554 5.4.6")
    assert w.send(b"joe@example.com", b"bob@example.com", body=returned).startswith(b"250 ")
    assert len(w.outbound.items) == 1 and [delivery.account for delivery, _ in w.store.got] == ["bob@example.com"]
    assert "not forwarded again: a loop" in w.log.whats("warning")


def test_nobody_has_it_when_the_queue_refuses() -> None:
    w = world()
    w.outbound.problem = Problem.DISK_FULL
    assert w.send(b"joe@example.com").startswith(b"452 ")
    assert not w.store.got and w.spool.leaks == 0


def test_a_mailbox_that_cannot_take_it_now_is_served_later() -> None:
    w = world()
    w.store.problems["joe@example.com"] = Problem.STORE_UNAVAILABLE
    assert w.send(b"joe@example.com").startswith(b"250 "), "else it would be forwarded again"
    assert [item.envelope.recipients for item in w.outbound.items] == [(TARGET,), (Address("joe", "example.com"),)]


def test_what_the_sender_asked_for() -> None:
    w = world(only=True)
    w.say(b"EHLO c\r\nMAIL FROM:<ann@example.com> ENVID=QQ RET=HDRS\r\n")
    w.say(b"RCPT TO:<joe@example.com> NOTIFY=SUCCESS,FAILURE\r\nDATA\r\nSubject: x\r\n\r\nx\r\n.\r\n")
    [item] = w.outbound.items
    assert item.envelope.parameters.envid == "QQ"
    assert item.envelope.rcpt_parameters == (RcptParameters(frozenset({Notify.FAILURE})),)
    [(delivery, report)] = w.store.got
    assert delivery.account == "ann@example.com" and b"Action: relayed\r\n" in report


def test_with_a_copy_the_address_is_expanded() -> None:
    w = world()
    w.say(b"EHLO c\r\nMAIL FROM:<ann@example.com>\r\nRCPT TO:<joe@example.com> NOTIFY=SUCCESS\r\nDATA\r\n\r\n.\r\n")
    assert [delivery.account for delivery, _ in w.store.got] == ["joe@example.com", "ann@example.com"]
    assert b"Action: expanded\r\n" in w.store.got[1][1]


def test_a_report_to_who_is_forwarded_goes_there() -> None:
    w = world(only=True)
    w.say(b"EHLO c\r\nMAIL FROM:<joe@example.com>\r\nRCPT TO:<ann@example.com> NOTIFY=SUCCESS\r\nDATA\r\n\r\n.\r\n")
    [item] = w.outbound.items
    assert item.envelope.sender is None and item.envelope.recipients == (TARGET,)
    assert b"multipart/report" in item.message


def test_a_user_s_own_mail_says_whose_it_is() -> None:
    w = world(only=True, role=Role.SUBMISSION, allow_plaintext_auth=True)
    w.say(b"EHLO c\r\n" + LOG_IN)
    w.send(b"joe@example.com", sender=b"joe@example.com")
    assert w.outbound.items[0].envelope.account == "joe@example.com"


def test_what_is_held_is_forwarded_when_its_time_comes() -> None:
    w = world(role=Role.SUBMISSION, allow_plaintext_auth=True)
    w.say(b"EHLO c\r\n" + LOG_IN + b"MAIL FROM:<joe@example.com> HOLDFOR=100\r\nRCPT TO:<joe@example.com>\r\n")
    w.say(b"DATA\r\nSubject: x\r\n\r\nx\r\n.\r\n")
    assert [item.envelope.recipients for item in w.outbound.items] == [(Address("joe", "example.com"),)]


@pytest.mark.parametrize("only", [True, False])
def test_full_mailboxes_do_not_keep_mail_from_being_forwarded(only: bool) -> None:
    w = world(only=only)

    async def has_room(*_: object, **__: object) -> bool:
        return False

    w.store.has_room = has_room  # type: ignore[method-assign]
    assert w.send(b"joe@example.com").startswith(b"250 ") and len(w.outbound.items) == 1


def test_lmtp() -> None:
    w = world(role=Role.LMTP)
    w.store.problems["joe@example.com"] = Problem.OVER_QUOTA
    w.say(b"LHLO c\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<joe@example.com>\r\nRCPT TO:<ann@example.com>\r\n")
    assert w.say(b"DATA\r\nSubject: x\r\n\r\nx\r\n.\r\n").count(b"250 2.0.0 Ok") == 2
    assert [item.envelope.recipients for item in w.outbound.items] == [(TARGET,), (Address("joe", "example.com"),)]


def test_expn_names_where_it_goes() -> None:
    w = world(vrfy=Vrfy.EVERYBODY)
    w.say(b"EHLO c\r\n")
    assert w.say(b"EXPN joe@example.com\r\n") == (
        b"250-2.1.5 <joe@example.com>\r\n250 2.1.5 <joe@elsewhere.example>\r\n"
    )
