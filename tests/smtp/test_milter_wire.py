"""The milter protocol's packets: what is sent, what is understood, and what is garbage."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstack.smtp.wire import milter as wire
from mailstack.smtp.wire.milter import (
    Action,
    AddField,
    AddRecipient,
    ChangeField,
    ChangeSender,
    DeleteRecipient,
    Garbage,
    InsertField,
    Manner,
    Options,
    Packets,
    Quarantine,
    ReplaceBody,
    Said,
    Step,
    Verdict,
)


def test_what_a_connection_begins_with() -> None:
    assert wire.negotiate(wire.ALL_ACTIONS) == (b"\x00\x00\x00\x0dO\x00\x00\x00\x06\x00\x00\x01\xff\x00\x1f\xf7\xff")
    assert wire.packet(b"N") == b"\x00\x00\x00\x01N"
    assert wire.QUIT == b"\x00\x00\x00\x01Q" and wire.QUIT_NC == b"\x00\x00\x00\x01K"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("192.0.2.1", b"n\x004\x10\x92192.0.2.1\x00"),
        ("2001:db8::1", b"n\x006\x10\x92IPv6:2001:db8::1\x00"),
        ("", b"n\x00U"),
    ],
)
def test_a_client_and_its_address(host: str, expected: bytes) -> None:
    assert wire.client("n", host, 0x1092) == expected


def test_macros_have_braces_unless_they_are_letters() -> None:
    made = wire.macros(Step.MAIL, [("i", "1"), ("mail_addr", "a\0b@example.org")])
    assert made[4:] == b"DMi\x001\x00{mail_addr}\x00ab@example.org\x00"
    assert wire.macros(Step.MAIL, []) == b""


def test_macros_that_have_no_room_are_left_out() -> None:
    made = wire.macros(Step.MAIL, [("big", "x" * 70000), ("i", "1")])
    assert made[4:] == b"DMi\x001\x00"


@pytest.mark.parametrize(
    ("letter", "data", "expected"),
    [
        (b"c", b"", Verdict.CONTINUE),
        (b"4", b"", Verdict.SHUTDOWN),
        (b"h", b"X-Spam\0 yes\0", AddField(b"X-Spam", b" yes")),
        (b"i", b"\0\0\0\1X\0\0", InsertField(1, b"X", b"")),
        (b"m", b"\0\0\0\2Subject\0x\n y\0", ChangeField(2, b"Subject", b"x\n y")),
        (b"b", b"a\0b", ReplaceBody(b"a\0b")),
        (b"b", b"", ReplaceBody(b"")),
        (b"+", b"<a@example.org>\0", AddRecipient(b"<a@example.org>")),
        (b"2", b"<a@example.org>\0NOTIFY=NEVER\0", AddRecipient(b"<a@example.org>", b"NOTIFY=NEVER")),
        (b"2", b"<a@example.org>\0", AddRecipient(b"<a@example.org>")),
        (b"-", b"a@example.org\0", DeleteRecipient(b"a@example.org")),
        (b"e", b"<>\0", ChangeSender(b"<>")),
        (b"q", b"a virus\r\n\xff\0", Quarantine("a virus???")),
        (b"y", b"550 5.7.1 No\0", Said(550, "5.7.1", ("No",))),
        (b"y", b"451 100%% full\0", Said(451, "", ("100% full",))),
        (b"y", b"450-4.7.1 One\r\n450 4.7.1 Two\0", Said(450, "4.7.1", ("One", "Two"))),
        (b"y", b"550 4.7.1 Mixed\0", Said(550, "", ("Mixed",))),
        (b"y", b"550\0", Said(550, "", ("",))),
        (b"y", b"550 5.1.1\xff\x01x\0", Said(550, "", ("5.1.1??x",))),
    ],
)
def test_answers(letter: bytes, data: bytes, expected: object) -> None:
    assert wire.answer(letter, data) == expected


def test_options_with_the_macros_that_are_wanted() -> None:
    data = b"\0\0\0\6\0\0\1\1\0\0\0\1\0\0\0\2i {mail_addr}\0\0\0\0\5i\0"
    assert wire.answer(b"O", data) == Options(
        6, Action.ADD_FIELDS | Action.NAME_MACROS, Manner.NO_CONNECT,
        {Step.MAIL: frozenset({"i", "mail_addr"}), Step.END_OF_MESSAGE: frozenset({"i"})},
    )  # fmt: skip


def test_what_a_milter_wants_to_hear() -> None:
    chosen = Options(6, Action(0), Manner.NO_BODY | Manner.SILENT_FIELDS)
    assert not chosen.wants(Step.BODY) and chosen.wants(Step.FIELD) and not chosen.answers(Step.FIELD)
    assert chosen.wants(Step.DATA) and not Options(3, Action(0), Manner(0)).wants(Step.DATA)
    assert chosen.wants(Step.END_OF_MESSAGE) and chosen.answers(Step.END_OF_MESSAGE)


@pytest.mark.parametrize(
    ("letter", "data"),
    [
        (b"?", b""),
        (b"c", b"x"),
        (b"h", b"X\0y"),
        (b"h", b"X y\0z\0"),
        (b"h", b"X:\0z\0"),
        (b"h", b"\0z\0"),
        (b"h", b"X\0y\0z\0"),
        (b"i", b"\0\0"),
        (b"+", b"a@example.org"),
        (b"y", b"250 2.0.0 Ok\0"),
        (b"y", b"550 5.7.1 No"),
        (b"y", b"550-5.7.1 No\r\n450 x\0"),
        (b"y", b"hello\0"),
        (b"y", b"\0"),
        (b"O", b"\0\0\0\6"),
        (b"O", b"\0\0\0\7\0\0\0\0\0\0\0\0"),
        (b"O", b"\0\0\0\1\0\0\0\0\0\0\0\0"),
        (b"O", b"\0\0\0\6\0\0\2\0\0\0\0\0"),
        (b"O", b"\0\0\0\6\0\0\0\0\0\0\x08\0"),
        (b"O", b"\0\0\0\6\0\0\0\0\0\0\0\0\0\0\0\7i\0"),
        (b"O", b"\0\0\0\6\0\0\0\0\0\0\0\0\0\0\0\1i"),
        (b"O", b"\0\0\0\6\0\0\0\0\0\0\0\0\0"),
    ],
)
def test_garbage(letter: bytes, data: bytes) -> None:
    with pytest.raises(Garbage):
        wire.answer(letter, data)


@pytest.mark.parametrize("length", [b"\xff\xff\xff\xff", b"\0\0\0\0", b"HTTP", b"\0\2\0\1"])
def test_no_packet_is_waited_for_that_is_none(length: bytes) -> None:
    packets = Packets()
    packets.feed(length)
    with pytest.raises(Garbage, match="octets"):
        packets.next()


@given(st.lists(st.tuples(st.sampled_from([b"c", b"h", b"b"]), st.binary(max_size=20)), max_size=5), st.integers(1, 7))
def test_packets_come_in_pieces(sent: list[tuple[bytes, bytes]], step: int) -> None:
    octets = b"".join(wire.packet(*each) for each in sent)
    packets, found = Packets(), []
    for start in range(0, len(octets), step):
        packets.feed(octets[start : start + step])
        while (packet := packets.next()) is not None:
            found.append(packet)
    assert found == sent


@given(st.sampled_from(list(b"Oyhimb+2-eqcartdsp4f?")), st.binary(max_size=60))
def test_whatever_comes_is_an_answer_or_garbage(letter: int, data: bytes) -> None:
    try:
        answer = wire.answer(bytes([letter]), data)
    except Garbage:
        return
    if isinstance(answer, Said):
        assert 400 <= answer.code <= 599 and all(line.isprintable() and line.isascii() for line in answer.lines)
