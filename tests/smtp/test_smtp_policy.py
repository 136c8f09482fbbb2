"""What depends on who it is, and on the settings: bare newlines, senders, Bcc, loops, proxies, size."""

from __future__ import annotations

import tracemalloc
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_smtp_session import LOG_IN, World

from mailstack.config.sections import BareNewline, Sender
from mailstack.mail.address import Address, ascii_domain
from mailstack.ports import Peer
from mailstack.smtp.bcc import BccFilter
from mailstack.smtp.settings import Role, is_among
from mailstack.smtp.transaction import OVERRUN, largest

BARE = b"Subject: x\r\n\r\na\nb\r\n"


def entered(role: Role, *, login: bool, **settings: object) -> World:
    world = World(tls=True, role=role, accept_any=login, **settings)
    world.say((b"LHLO c\r\n" if role is Role.LMTP else b"EHLO c\r\n") + (LOG_IN if login else b""))
    return world


def last(answer: bytes) -> bytes:
    return answer.split(b"\r\n")[-2]


@pytest.mark.parametrize(
    ("role", "login", "refused_by"),
    [
        (Role.RECEIVE, False, {BareNewline.REJECT, BareNewline.REJECT_STRANGERS}),
        (Role.RECEIVE, True, {BareNewline.REJECT}),
        (Role.SUBMISSION, True, {BareNewline.REJECT}),
        (Role.LMTP, False, {BareNewline.REJECT}),
    ],
)
@pytest.mark.parametrize("setting", BareNewline)
def test_whose_bare_newlines_are_refused(
    role: Role, login: bool, refused_by: set[BareNewline], setting: BareNewline
) -> None:
    world = entered(role, login=login, bare_newline=setting)
    world.say(b"MAIL FROM:<joe@example.com>\r\nRCPT TO:<ann@example.com>\r\n")
    answer = last(world.say(b"DATA\r\n" + BARE + b".\r\n"))
    assert answer.startswith(b"550 5.6.11 " if setting in refused_by else b"250 2.0.0 ")
    assert [octets for _, octets in world.store.got] == (
        [] if setting in refused_by else [BARE.replace(b"a\n", b"a\r\n")]
    )


def test_strangers_are_refused_unless_it_is_said_otherwise() -> None:
    assert World().send(b"joe@example.com", body=BARE).startswith(b"550 5.6.11 ")


@pytest.mark.parametrize(
    ("setting", "allowed"),
    [
        (Sender.OWN, {"joe@example.com", "both@example.com"}),
        (Sender.DOMAIN, {"joe@example.com", "both@example.com", "ann@EXAMPLE.com", "no@example.com"}),
        (Sender.ANY, {"joe@example.com", "both@example.com", "ann@EXAMPLE.com", "no@example.com", "a@b.example"}),
    ],
)
def test_senders_of_a_login(setting: Sender, allowed: set[str]) -> None:
    for sender in ("joe@example.com", "both@example.com", "ann@EXAMPLE.com", "no@example.com", "a@b.example"):
        world = entered(Role.SUBMISSION, login=True, sender=setting)
        answer = world.say(b"MAIL FROM:<%s>\r\n" % sender.encode())
        assert answer.startswith(b"250 " if sender in allowed else b"550 5.7.1 "), sender


# --- Bcc


PIECES = [
    b"Bcc: x",
    b"BCC :y",
    b"bcc",
    b"bcc:",
    b"Bccc: z",
    b"resent-",
    b"b",
    b" f",
    b"\t:",
    b"To: a",
    b"\r\n",
    b"\r\n",
    b"\r\n\r\n",
]


def filtered(parts: list[bytes]) -> bytes:
    bcc = BccFilter()
    return b"".join([bcc.feed(part) for part in parts]) + bcc.finish()


@pytest.mark.parametrize(
    ("octets", "left"),
    [
        (b"From: a\r\nBcc: x,\r\n y\r\nTo: b\r\n\r\nBcc: body\r\n", b"From: a\r\nTo: b\r\n\r\nBcc: body\r\n"),
        (b"bcc\t :z\r\nBccx: 1\r\n Bcc: folded\r\n", b"Bccx: 1\r\n Bcc: folded\r\n"),
        (b"\r\nBcc: body\r\n", b"\r\nBcc: body\r\n"),
        (b"Resent-Bcc: x\r\nResent-To: y\r\nresent-bccc: z\r\n", b"Resent-To: y\r\nresent-bccc: z\r\n"),
        (b"Bcc: x", b""),
        (b"Bcc:\r\n\tx\r\n\r\nbody", b"\r\nbody"),
        (b"Bcc", b"Bcc"),
        (b"", b""),
    ],
)
def test_bcc_is_taken_out(octets: bytes, left: bytes) -> None:
    assert filtered([octets]) == left
    assert filtered([octets[at : at + 1] for at in range(len(octets))]) == left
    for cut in range(len(octets)):
        assert filtered([octets[:cut], octets[cut:]]) == left


@given(st.lists(st.sampled_from(PIECES), max_size=14).map(b"".join), st.lists(st.integers(0, 60), max_size=5))
def test_cut_anywhere_bcc_is_gone(octets: bytes, cuts: list[int]) -> None:
    borders = [0, *sorted(min(cut, len(octets)) for cut in cuts), len(octets)]
    assert filtered([octets[a:b] for a, b in zip(borders, borders[1:], strict=False)]) == filtered([octets])


def test_submissions_lose_their_bcc_and_strangers_messages_do_not() -> None:
    body = b"Bcc: ann@example.com\r\nDate: x\r\nMessage-ID: <y@z>\r\n\r\nx\r\n"
    submitted = entered(Role.SUBMISSION, login=True)
    submitted.send(b"ann@example.com", b"x@else.example", sender=b"joe@example.com", body=body)
    [(_, octets)] = submitted.store.got
    assert octets == body[body.index(b"Date") :] and b"Bcc" not in submitted.outbound.items[0].message
    received = World()
    received.send(b"ann@example.com", body=body)
    assert received.store.got[0][1] == body


def test_a_message_of_nothing_but_bcc() -> None:
    world = entered(Role.SUBMISSION, login=True)
    assert world.send(b"ann@example.com", sender=b"joe@example.com", body=b"Bcc: x\r\n").startswith(b"250 ")
    assert world.store.got[0][1] == b"" and b"\r\nDate: " in world.store.got[0][0].prefix


# --- loops


@pytest.mark.parametrize(
    ("role", "login", "reply"),
    [(Role.RECEIVE, False, b"554 5.4.6"), (Role.LMTP, False, b"554 5.4.6"), (Role.SUBMISSION, True, b"250 2.0.0")],
)
def test_what_was_delivered_here_does_not_come_again(role: Role, login: bool, reply: bytes) -> None:
    world = entered(role, login=login)
    world.say(b"MAIL FROM:<joe@example.com>\r\nRCPT TO:<ann@example.com>\r\nDATA\r\nSubject: x\r\n\r\nx\r\n.\r\n")
    [(delivery, octets)] = world.store.got
    world.say(b"MAIL FROM:<joe@example.com>\r\nRCPT TO:<ann@example.com>\r\nDATA\r\n")
    back = b"Received: by user.example\r\n" + delivery.prefix + octets
    assert world.say(back + b".\r\n").startswith(reply)


def test_who_hands_over_by_lmtp_may_say_for_whom() -> None:
    """What it puts on top is no loop, and a loop in which nobody else writes anything ends a round later."""
    world = entered(Role.LMTP, login=False)
    octets = b"Delivered-To: ann@example.com\r\nReceived: by relay.example\r\nSubject: x\r\n\r\nx\r\n"
    replies = []
    for _ in range(3):
        world.say(b"MAIL FROM:<joe@example.com>\r\nRCPT TO:<ann@example.com>\r\nDATA\r\n")
        replies.append(world.say(octets + b".\r\n")[:9])
        delivery, message = world.store.got[-1]
        octets = delivery.prefix + message
    assert replies == [b"250 2.0.0", b"554 5.4.6", b"554 5.4.6"]


def test_plus_addresses_are_not_each_other() -> None:
    world = World()
    assert world.send(b"joe+a@example.com", body=b"Delivered-To: joe@example.com\r\n\r\n").startswith(b"250 ")


# --- who it is


def test_xclient_is_seen_by_everything_but_trust() -> None:
    world = World(xclient_trusted=(ip_network("127.0.0.0/8"),), etrn_allowed=(ip_network("198.51.100.0/24"),))
    world.say(b"EHLO proxy\r\nXCLIENT ADDR=198.51.100.9 PORT=99\r\n")
    assert world.session.facts.peer == Peer("198.51.100.9", 99)
    assert b"250-ETRN\r\n" in world.say(b"EHLO client.example\r\n")
    assert world.send(b"joe@example.com").startswith(b"250 ")
    assert b"from client.example ([198.51.100.9])" in world.store.got[0][0].prefix
    assert [line.fields["peer"] for line in world.log.lines if line.what == "mail accepted"] == ["198.51.100.9"]
    assert world.say(b"XCLIENT ADDR=[UNAVAILABLE]\r\n").startswith(b"220 ")  # the proxy itself is still trusted
    world.send(b"joe@example.com")
    assert b"from client.example\r\n" in world.store.got[1][0].prefix


def test_who_logs_in_by_xclient_is_counted_at_his_own_address() -> None:
    world = World(tls=True, role=Role.SUBMISSION, xclient_trusted=(ip_network("127.0.0.0/8"),))
    world.say(b"EHLO proxy\r\nXCLIENT ADDR=198.51.100.9\r\nEHLO c\r\n")
    world.say(LOG_IN)
    assert [peer.host for _, peer in world.accounts.attempts] == ["198.51.100.9"]


def test_xforward_is_in_the_log_of_one_message() -> None:
    world = World(xclient_trusted=(ip_network("127.0.0.0/8"),))
    world.say(b"EHLO filter\r\nXFORWARD ADDR=203.0.113.5 NAME=a+20b\r\n")
    world.say(b"MAIL FROM:<>\r\nRCPT TO:<joe@example.com>\r\nDATA\r\n.\r\n")
    world.say(b"MAIL FROM:<>\r\nRCPT TO:<joe@example.com>\r\nDATA\r\n.\r\n")
    first, second = (line.fields for line in world.log.lines if line.what == "mail accepted")
    assert first["forwarded_addr"] == "203.0.113.5" and first["forwarded_name"] == "a b"
    assert not [name for name in second if name.startswith("forwarded")]


def test_etrn_says_how_many_wait() -> None:
    world = entered(Role.SUBMISSION, login=True)
    world.send(b"x@sub.else.example", sender=b"joe@example.com")
    assert world.say(b"ETRN else.example\r\n").startswith(b"251 2.0.0 ")
    assert world.say(b"ETRN @else.example\r\n") == b"253 2.0.0 OK, 1 pending messages for node else.example started\r\n"


@pytest.mark.parametrize(
    ("host", "found"),
    [("192.0.2.5", True), ("::ffff:192.0.2.5", True), ("192.0.3.5", False), ("fe80::1%eth0", True), ("", False)],
)
def test_addresses_in_networks(host: str, found: bool) -> None:
    assert is_among(host, (ip_network("192.0.2.0/24"), ip_network("fe80::/10"))) is found


# --- what is far too much


@pytest.mark.parametrize("begin", [b"DATA\r\n", b"BDAT 99999999999 LAST\r\n"])
def test_mail_data_without_end_ends_the_connection(begin: bytes) -> None:
    world = World(max_size=1000)
    world.say(b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<joe@example.com>\r\n")
    world.say(begin)
    piece = b"x" * 65536
    told, sent = b"", 0
    tracemalloc.start()
    while not told and sent < 4 * OVERRUN:
        told = world.say(piece)
        sent += len(piece)
    assert tracemalloc.get_traced_memory()[1] < 4 * len(piece)
    tracemalloc.stop()
    assert told == b"552 5.3.4 Message size exceeds the limit by far; closing connection\r\n"
    assert largest(1000) == 1000 + OVERRUN and abs(sent - largest(1000)) < 2 * len(piece)
    assert world.over == [None] and world.spool.leaks == 0 and not world.store.got


def test_a_chunk_without_a_transaction_is_no_way_around() -> None:
    world = World(max_size=1000)
    world.say(b"EHLO c\r\nBDAT 99999999999\r\n")
    for _ in range(OVERRUN // 65536 + 2):
        world.say(b"x" * 65536)
    assert world.over == [None]


def test_a_hundred_thousand_recipients() -> None:
    world = World(max_recipients=50)
    world.say(b"EHLO c\r\nMAIL FROM:<>\r\n")
    batch = b"RCPT TO:<joe@example.com>\r\n" * 1000
    answers = b"".join(world.say(batch) for _ in range(100))
    assert answers.count(b"250 2.1.5 ") == 50 and answers.count(b"452 4.5.3 ") == 99_950
    assert len(world.session.current.recipients) == 50
    assert world.say(b"DATA\r\n.\r\n").endswith(b"250 2.0.0 Ok c1.1\r\n") and len(world.store.got) == 1


def test_a_header_of_ten_megabytes_of_bcc() -> None:
    world = entered(Role.SUBMISSION, login=True)
    world.say(b"MAIL FROM:<joe@example.com>\r\nRCPT TO:<ann@example.com>\r\nDATA\r\n")
    for _ in range(160):
        world.say(b"Bcc: someone@example.com\r\n" * 2500)
    assert world.say(b"Date: x\r\n.\r\n").startswith(b"250 ")
    assert world.store.got[0][1] == b"Date: x\r\n"


def test_a_line_of_a_hundred_megabytes_is_not_kept() -> None:
    world = World()
    world.say(b"EHLO c\r\n")
    piece = b"x" * (1 << 20)
    for _ in range(100):
        assert world.say(piece) == b""
        assert len(world.session.framer._buffer) <= len(piece) + 1
    assert world.say(b"\r\nNOOP\r\n") == b"500 5.5.2 Line too long\r\n250 2.0.0 Ok\r\n"


# --- addresses in UTF-8


def test_a_domain_is_the_same_in_each_of_its_forms() -> None:
    assert ascii_domain("BÜCHER.example") == ascii_domain("xn--bcher-kva.EXAMPLE") == "xn--bcher-kva.example"
    assert ascii_domain(f"{'ä' * 80}.example") == f"{'ä' * 80}.example"
    assert str(Address("jörg", "bücher.example")) == "jörg@bücher.example"
