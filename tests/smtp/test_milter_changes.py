"""What milters change: the header, the body, the envelope, and where a message goes."""

from __future__ import annotations

from typing import Any

import pytest
from milter_world import LOG_IN, MESSAGE, OK, World, changing, field

from mailstack.errors import Problem
from mailstack.mail.address import Address
from mailstack.smtp.settings import Role
from mailstack.smtp.wire import milter as wire
from mailstack.smtp.wire.milter import Action
from mailstack.testing.milter import MemoryMilter, options


def test_changes_of_the_header() -> None:
    world = World(
        changing(
            field(b"h", b"X-Last", b"1\n 2"),
            field(b"i", b"X-Top", b"t", 0),
            field(b"i", b"X-First", b"f", 2),
            field(b"i", b"X-Second", b"s", 3),
            field(b"m", b"SUBJECT", b"changed", 1),
            field(b"m", b"To", b"", 2),
            field(b"m", b"Cc", b"new", 3),
            field(b"m", b"Bcc", b"", 1),
            field(b"m", b"From", b"first", 0),
        )
    )
    world.send(b"Subject: x\r\nTo: 1\r\nto: 2\r\n\tfolded\r\nTo: 3\r\nFrom: 1\r\nFrom: 2\r\n\r\nbody\r\n")
    assert world.got() == (
        b"X-First: f\r\nX-Second: s\r\nSUBJECT: changed\r\nTo: 1\r\nTo: 3\r\nFrom: first\r\nFrom: 2\r\n"
        b"X-Last: 1\r\n 2\r\nCc: new\r\n\r\nbody\r\n"
    )
    [message] = world.store.box("joe@example.com").messages.values()
    assert message.octets.startswith(
        b"Return-Path: <a@example.org>\r\nDelivered-To: joe@example.com\r\nX-Top: t\r\nReceived: from client.example"
    )


@pytest.mark.parametrize("value", [b"a\nBcc: x", b"a\r\n\r\nbody", b"a\rX: y\n\n", b"\n\na", b"a\n \nb", b"\0"])
def test_no_value_becomes_another_field_or_the_end_of_the_header(value: bytes) -> None:
    world = World(MemoryMilter(E=wire.packet(b"h", b"X-Spam\0" + value.replace(b"\0", b"") + b"\0") + OK))
    world.send(b"Subject: x\r\n\r\nbody\r\n")
    head, _, body = world.got().partition(b"\r\n\r\n")
    names = [line.partition(b":")[0] for line in head.split(b"\r\n") if line[:1] not in b"\t "]
    assert names == [b"Subject", b"X-Spam"] and body == b"body\r\n"


def test_several_milters_in_their_order() -> None:
    first, second = (
        changing(field(b"h", b"X-First", b"1"), wire.packet(b"b", b"new\n")),
        changing(field(b"m", b"X-First", b"2", 1)),
    )
    world = World(first, second)
    world.send()
    assert second.data_of(b"L")[-1] == b"X-First\x001\0" and second.data_of(b"B") == [b"new\r\n"]
    assert world.got() == b"Subject: x\r\nFrom: a@example.org\r\nX-First: 2\r\n\r\nnew\r\n"
    assert world.spool.leaks == 0


def test_places_are_counted_with_our_own_field() -> None:
    first = changing(field(b"i", b"A", b"1", 0), field(b"i", b"B", b"2", 1), field(b"i", b"D", b"4", 3))
    second = changing(field(b"i", b"C", b"3", 2), field(b"m", b"A", b"changed", 1), field(b"i", b"E", b"5", 999))
    world = World(first, second)
    world.send(b"Subject: x\r\n\r\n")
    assert second.data_of(b"L") == [b"A\x001\0", b"B\x002\0", b"D\x004\0", b"Subject\0x\0"]
    [message] = world.store.box("joe@example.com").messages.values()
    _, _, octets = message.octets.partition(b"Delivered-To: joe@example.com\r\n")
    assert octets.startswith(b"A: changed\r\nB: 2\r\nC: 3\r\nReceived: ")
    assert world.got() == b"D: 4\r\nSubject: x\r\nE: 5\r\n\r\n"


def test_another_body() -> None:
    pieces = [b"one\r", b"\ntwo\n", "\u00e4".encode() * 30000, b"\nend\r"]
    world = World(changing(*(wire.packet(b"b", piece) for piece in pieces)))
    world.send()
    expected = b"one\r\ntwo\r\n" + "\u00e4".encode() * 30000 + b"\r\nend\r\n"
    assert world.got() == b"Subject: x\r\nFrom: a@example.org\r\n\r\n" + expected
    assert world.spool.leaks == 0


def test_a_body_that_has_become_one_of_8_bit() -> None:
    world = World(changing(wire.packet(b"b", "\u00e4".encode())), role=Role.SUBMISSION, allow_plaintext_auth=True)
    world.send(MESSAGE, b"x@elsewhere.example", log_in=True)
    [item] = world.outbound.items
    assert item.envelope.body_8bit and item.message.endswith(b"\r\n\r\n\xc3\xa4")


def test_no_body_at_all() -> None:
    world = World(changing(wire.packet(b"b")))
    world.send()
    assert world.got() == b"Subject: x\r\nFrom: a@example.org\r\n\r\n"


def test_what_a_submission_lacks_is_shown_and_there_once() -> None:
    milter = changing(field(b"i", b"X", b"y", 1))
    world = World(milter, role=Role.SUBMISSION, allow_plaintext_auth=True)
    world.send(b"Subject: x\r\nBcc: ann@example.com\r\n\r\nb\r\n", log_in=True)
    assert [data.partition(b"\0")[0] for data in milter.data_of(b"L")] == [b"Date", b"Message-ID", b"Subject"]
    date = b"Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n"
    [message] = world.store.box("joe@example.com").messages.values()
    assert message.octets.count(date) == 1 and message.octets.count(b"Message-ID: <") == 1
    assert b"+0000\r\nX: y\r\n" + date in message.octets


def test_changes_of_the_envelope() -> None:
    world = World(
        changing(
            wire.packet(b"-", b"<joe@example.com>\0"),
            wire.packet(b"+", b"ann@example.com\0"),
            wire.packet(b"+", b"<ann@example.com>\0"),
            wire.packet(b"2", b"<far@elsewhere.example>\0NOTIFY=NEVER\0"),
            wire.packet(b"+", b"<nobody@example.com>\0"),
            wire.packet(b"2", b"<bad@elsewhere.example>\0FOO=1\0"),
            wire.packet(b"+", b"no address\0"),
            wire.packet(b"e", b"<other@example.org>\0"),
        )
    )
    assert world.send().startswith(b"250")
    assert [(each.account, each.prefix[:38]) for each in world.store.deliveries] == [
        ("ann@example.com", b"Return-Path: <other@example.org>\r\nDeli")
    ]
    [item] = world.outbound.items
    assert item.envelope.recipients == (Address("far", "elsewhere.example"),)
    assert item.envelope.sender == Address("other", "example.org")
    [parameters] = item.envelope.rcpt_parameters
    assert parameters.notify == frozenset({next(iter(parameters.notify or ()))})
    warned = [what for what in world.log.whats("warning") if what.startswith("milter")]
    assert warned == ["milter adds a recipient that there is not"] + ["milter asks for what cannot be done"] * 2


def test_no_more_recipients_than_a_client_may_have() -> None:
    world = World(changing(wire.packet(b"+", b"ann@example.com\0")), max_recipients=1)
    assert world.send().startswith(b"250") and len(world.store.deliveries) == 1
    assert "milter adds too many recipients" in world.log.whats("warning")


@pytest.mark.parametrize(("parameter", "found"), [(b"", 0), (b" SMTPUTF8", 1)])
def test_addresses_in_utf_8(parameter: bytes, found: int) -> None:
    changes = (wire.packet(b"+", "<\u00e4@elsewhere.example>\0".encode()), wire.packet(b"e", "<\u00f6@x>\0".encode()))
    world = World(changing(*changes))
    world.say(b"EHLO c\r\nMAIL FROM:<a@example.org>%s\r\nRCPT TO:<joe@example.com>\r\nDATA\r\n" % parameter)
    world.say(b"x\r\n.\r\n")
    assert [len(world.outbound.items), world.log.whats("warning").count("milter asks for what cannot be done")] == (
        [found, 2 - 2 * found]
    )
    [delivery] = world.store.deliveries
    assert delivery.prefix.startswith(b"Return-Path: <a@" if not found else "Return-Path: <\u00f6@".encode())


def test_nobody_is_left() -> None:
    world = World(changing(wire.packet(b"-", b"joe@example.com\0")))
    assert world.send().startswith(b"250")
    assert not world.store.deliveries and not world.outbound.items and world.spool.leaks == 0


def test_the_directory_cannot_say() -> None:
    world = World(changing(wire.packet(b"+", b"ann@example.com\0")))
    world.begin()
    world.resources.directory.problem = Problem.STORE_UNAVAILABLE  # type: ignore[attr-defined]
    assert world.say(b"DATA\r\n" + MESSAGE + b".\r\n").endswith(
        b"451 4.3.0 Temporarily unavailable; try again later\r\n"
    )
    assert not world.store.deliveries and world.spool.leaks == 0


def test_lmtp_has_a_reply_for_each_recipient_whatever_is_changed() -> None:
    milter = changing(wire.packet(b"-", b"joe@example.com\0"))
    milter.answers[b"O"] = options(wire.ALL_ACTIONS & ~Action.ADD_RECIPIENTS & ~Action.ADD_RECIPIENTS_WITH_PARAMETERS)
    world = World(milter, role=Role.LMTP)
    world.begin(b"joe@example.com", b"ann@example.com")
    replies = world.say(b"DATA\r\n" + MESSAGE + b".\r\n").split(b"\r\n")[1:-1]
    assert [reply[:3] for reply in replies] == [b"250", b"250"]
    assert [each.account for each in world.store.deliveries] == ["ann@example.com"]
    assert int.from_bytes(milter.data_of(b"O")[0][4:8], "big") == 0x17B


def test_quarantine_is_junk_for_our_users() -> None:
    world = World(changing(wire.packet(b"q", b"a virus (bad)\0")))
    assert world.send().startswith(b"250")
    assert not world.store.box("joe@example.com").messages
    [message] = world.store.box("joe@example.com", "Junk").messages.values()
    assert b"Mailstack-Marks: quarantine (a virus \\(bad\\))\r\n" in message.octets


def test_quarantine_is_a_refusal_for_others() -> None:
    world = World(changing(wire.packet(b"q", b"spam\0")), role=Role.SUBMISSION, allow_plaintext_auth=True)
    assert world.send(MESSAGE, b"joe@example.com", b"x@elsewhere.example", log_in=True).startswith(b"550 5.7.1")
    assert not world.store.deliveries and not world.outbound.items and world.spool.leaks == 0


@pytest.mark.parametrize(("kept", "reply"), [(True, b"250 "), (False, b"550 5.7.1 ")])
def test_quarantine_is_not_forwarded(kept: bool, reply: bytes) -> None:
    world = World(changing(wire.packet(b"q", b"spam\0")))
    directory: Any = world.resources.directory
    directory.forwards["joe@example.com"] = (Address("joe", "elsewhere.example"),)
    if not kept:
        directory.forwarded_only.add("joe@example.com")
    assert world.send().startswith(reply) and not world.outbound.items
    assert len(world.store.box("joe@example.com", "Junk").messages) == kept


def test_quarantine_of_what_waits_for_its_time() -> None:
    world = World(changing(wire.packet(b"q", b"spam\0")), role=Role.SUBMISSION, allow_plaintext_auth=True)
    world.say(b"EHLO c\r\n" + LOG_IN)
    world.say(b"MAIL FROM:<joe@example.com> HOLDFOR=60\r\nRCPT TO:<joe@example.com>\r\nDATA\r\n")
    assert world.say(MESSAGE + b".\r\n").startswith(b"550 5.7.1") and not world.outbound.items
