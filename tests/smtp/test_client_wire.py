"""Replies of servers, what they offer, commands and mail data of the client: octets and values."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailstack.mail.address import Address
from mailstack.mail.parameters import NOTHING_SAID, DeliverBy, MailParameters, Notify, RcptParameters, Return
from mailstack.smtp.wire import client_commands as commands
from mailstack.smtp.wire.client_replies import MAX_REPLY, MAX_REPLY_LINE, BadReply, Reply, ReplyParser
from mailstack.smtp.wire.framing import Framer
from mailstack.smtp.wire.grammar import mail_from, rcpt_to
from mailstack.smtp.wire.offers import NO_OFFERS, offers

ALL = offers(["mx", "SIZE 1000", "DSN", "SMTPUTF8", "MT-PRIORITY", "DELIVERBY 30", "AUTH PLAIN", "REQUIRETLS"])
JOE = Address("joe", "example.com")


def parse(*pieces: bytes) -> list[Reply]:
    parser, found = ReplyParser(), []
    for piece in pieces:
        parser.feed(piece)
        while (reply := parser.next_reply()) is not None:
            found.append(reply)
    assert parser.is_empty
    return found


@pytest.mark.parametrize(
    ("octets", "code", "lines", "status"),
    [
        (b"250 2.1.0 ok\r\n", 250, ("2.1.0 ok",), "2.1.0"),
        (b"250\r\n", 250, ("",), ""),
        (b"250 \n", 250, ("",), ""),
        (b"354-go\r\n354 on\r\n", 354, ("go", "on"), ""),
        (b"550-5.1.1 no such\r\n550 5.1.1 user\r\n", 550, ("5.1.1 no such", "5.1.1 user"), "5.1.1"),
        (b"550-a\r\n551 b\r\n", 551, ("a", "b"), ""),
        (b"550 4.2.2 contradicts itself\r\n", 550, ("4.2.2 contradicts itself",), "5.2.2"),
        (b"450 4.7.1234 too long for a status\r\n", 450, ("4.7.1234 too long for a status",), ""),
        (b"550 \xff\xc3\xbc\r\r\n", 550, ("\ufffd\u00fc",), ""),
    ],
)
def test_a_reply(octets: bytes, code: int, lines: tuple[str, ...], status: str) -> None:
    [reply] = parse(octets)
    assert (reply.code, reply.lines, reply.status) == (code, lines, status)


def test_a_reply_in_one_line() -> None:
    [reply] = parse(b"550-5.1.1 no \x07such\r\n550-5.1.1 user\r\n550 5.1.1\r\n")
    assert reply.text == "550 5.1.1 no ?such user"
    assert len(Reply(250, ("x" * 9000,)).text) == 500


@pytest.mark.parametrize(
    "octets",
    [
        b"hello\r\n", b"250ok\r\n", b"25x", b"999 no\r\n", b"150 no\r\n", b"\r\n", b"\n", b" 250 ok\r\n",
        b"250-a\r\nb\r\n", b"250-a\r\n550 b\r\n", b"250 a\rb\r\n", b"2\n", b"+OK\r\n", b"\x16\x03\x01\x02",
    ],
)  # fmt: skip
def test_what_is_no_reply(octets: bytes) -> None:
    parser = ReplyParser()
    parser.feed(octets)
    with pytest.raises(BadReply):
        parser.next_reply()


def test_an_endless_line_is_not_kept() -> None:
    parser, fed = ReplyParser(), 0
    with pytest.raises(BadReply, match="more than"):
        for _ in range(10 * 1024):
            parser.feed(b"250 " + b"x" * 1020 if not fed else b"x" * 1024)
            fed += 1024
            assert parser.next_reply() is None
    assert fed <= MAX_REPLY_LINE + 2048


def test_endless_lines_are_not_kept() -> None:
    parser, fed = ReplyParser(), 0
    with pytest.raises(BadReply, match="more than"):
        while fed < 10 * MAX_REPLY:
            parser.feed(b"250-" + b"x" * 1018 + b"\r\n")
            fed += 1024
            assert parser.next_reply() is None
    assert fed <= MAX_REPLY + 2048


LINES = ("", " ", "ok", "2.1.0 ok", "250 ok", "-", "\u00fc\U0001f600", "x" * 40)


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.integers(200, 599), st.lists(st.sampled_from(LINES), min_size=1, max_size=4)), max_size=5),
    st.lists(st.integers(0, 200), max_size=8),
)
def test_replies_do_not_depend_on_how_they_come(said: list[tuple[int, list[str]]], cuts: list[int]) -> None:
    octets = b"".join(
        f"{code}{' ' if n == len(lines) - 1 else '-'}{line}\r\n".encode()
        for code, lines in said
        for n, line in enumerate(lines)
    )
    expected = [Reply(code, tuple(lines)) for code, lines in said]
    places = sorted({0, len(octets), *(cut for cut in cuts if cut < len(octets))})
    assert parse(*[octets[a:b] for a, b in zip(places, places[1:], strict=False)]) == expected
    assert parse(*[octets[at : at + 1] for at in range(len(octets))]) == expected


def test_what_a_server_offers() -> None:
    found = offers(
        ["mx.example", "SIZE 35882577", "8bitmime", "AUTH PLAIN login", "AUTH=CRAM-MD5", "SIZE 1", "DELIVERBY 240",
         "LIMITS RCPTMAX=100 MAILMAX=20 X=0 Y=-1 Z", ""]
    )  # fmt: skip
    assert found.max_size == 35882577 and "8BITMIME" in found and "PIPELINING" not in found
    assert found.mechanisms == {"PLAIN", "LOGIN", "CRAM-MD5"} and found.min_by_time == 240
    assert (found.limit("RCPTMAX"), found.limit("MAILMAX"), found.limit("X")) == (100, 20, 0)


@pytest.mark.parametrize("size", ["", "x", "-1", "9" * 30, "\u0665"])
def test_a_size_that_says_nothing(size: str) -> None:
    found = offers(["mx", f"SIZE {size}"])
    assert "SIZE" in found and found.max_size == 0


ASKED = MailParameters(
    ret=Return.HEADERS, envid="a+b=c d", require_tls=True, deliver_by=DeliverBy(0, True, True), priority=-3,
    submitter="joe+x@example.com",
)  # fmt: skip


def test_mail_says_what_the_server_takes() -> None:
    made = commands.mail(JOE, 42, ALL, ASKED, body="8BITMIME", smtputf8=True, seconds_left=120, authenticated=True)
    assert made == (
        b"MAIL FROM:<joe@example.com> SIZE=42 BODY=8BITMIME SMTPUTF8 REQUIRETLS RET=HDRS ENVID=a+2Bb+3Dc+20d "
        b"MT-PRIORITY=-3 BY=120;RT AUTH=joe+2Bx@example.com\r\n"
    )
    assert len(mail_from(made[5:-2]).parameters) == 9
    assert commands.mail(None, 42, NO_OFFERS, NOTHING_SAID) == b"MAIL FROM:<>\r\n"
    assert commands.mail(None, 42, ALL, NOTHING_SAID, authenticated=True) == b"MAIL FROM:<> SIZE=42 AUTH=<>\r\n"


def test_rcpt_says_what_the_sender_wants_to_hear() -> None:
    asked = RcptParameters(frozenset({Notify.DELAY, Notify.FAILURE}), "rfc822;joe+x@example.com")
    made = commands.rcpt(JOE, asked, ALL)
    assert made == b"RCPT TO:<joe@example.com> NOTIFY=FAILURE,DELAY ORCPT=rfc822;joe+2Bx@example.com\r\n"
    assert rcpt_to(made[5:-2]).forward_path == JOE
    assert commands.rcpt(JOE, asked, NO_OFFERS) == b"RCPT TO:<joe@example.com>\r\n"
    assert commands.rcpt(JOE, RcptParameters(), ALL) == b"RCPT TO:<joe@example.com>\r\n"
    international = RcptParameters(orcpt="utf-8;j\u00f6@example.com")
    assert commands.rcpt(JOE, international, ALL).endswith(b" ORCPT=utf-8;j\\x{F6}@example.com\r\n")


@pytest.mark.parametrize("address", [Address('a "b', "example.com"), Address("a@b", "[192.0.2.1]"), Address("", "x.y")])
def test_odd_addresses_arrive(address: Address) -> None:
    assert rcpt_to(commands.rcpt(address, None, NO_OFFERS)[5:-2]).forward_path == address


@settings(max_examples=30)
@given(
    st.lists(st.sampled_from([b".", b"\r\n", b"\r\n.", b"..", b"a", b"bc\r\n", b"\r\n.\r\n", b"x" * 30]), max_size=30),
    st.lists(st.integers(1, 7), min_size=1, max_size=20),
)
def test_stuffed_data_arrives_as_it_was(pieces: list[bytes], sizes: list[int]) -> None:
    message, out, at, turn = b"".join(pieces), b"", 0, 0
    stuffer = commands.DotStuffer()
    while at < len(message):
        size = sizes[turn % len(sizes)]
        out += stuffer.feed(message[at : at + size])
        at, turn = at + size, turn + 1
    out += stuffer.finish() + b"QUIT\r\n"
    framer, got = Framer(), b""
    framer.feed(out)
    framer.begin_data()
    while (chunk := framer.next_data()) is not None and not chunk.last:
        got += chunk.data
    assert chunk is not None
    got += chunk.data
    assert got == (message if message.endswith(b"\r\n") or not message else message + b"\r\n")
    assert framer.next_line() == b"QUIT"
