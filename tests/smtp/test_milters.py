"""SMTP sessions with milters: what they are told, and what becomes of mail by what they say."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from milter_world import ACCEPT, DISCARD, LOG_IN, MESSAGE, OK, REJECT, SKIP, TEMPFAIL, World, changing, field

from mailstack.smtp.milter.stream import Closed
from mailstack.smtp.settings import Role
from mailstack.smtp.wire import milter as wire
from mailstack.smtp.wire.milter import Action, Manner
from mailstack.testing.milter import MemoryMilter, options


def test_a_milter_is_told_everything_in_its_order() -> None:
    milter = MemoryMilter()
    world = World(milter, tls=True)
    assert world.greeting.startswith(b"220 ")
    world.say(b"EHLO client.example\r\n")
    assert world.say(
        b"MAIL FROM:<a@example.org> SIZE=9 BODY=8BITMIME\r\nRCPT TO:<joe@example.com> NOTIFY=NEVER\r\n"
    ) == (b"250 2.1.0 Sender ok\r\n250 2.1.5 Recipient ok\r\n")
    world.say(b"DATA\r\nSubject: x\r\n y\r\nnonsense\r\nTo :z\r\n\r\nbody\r\n.\r\n")
    assert milter.letters() == b"OCHMRTLLNBE"
    assert milter.data_of(b"C") == [b"[192.0.2.1]\x004\x9c\x40192.0.2.1\x00"]
    assert milter.data_of(b"H") == [b"client.example\0"]
    assert milter.data_of(b"M") == [b"<a@example.org>\0SIZE=9\0BODY=8BITMIME\0"]
    assert milter.data_of(b"R") == [b"<joe@example.com>\0NOTIFY=NEVER\0"]
    assert milter.data_of(b"L") == [b"Subject\0x\n y\0", b"To\0z\0"]
    assert milter.data_of(b"B") == [b"body\r\n"] and milter.data_of(b"E") == [b""]
    assert milter.macros(b"C") == {
        "j": "mx.example", "_": "[192.0.2.1]", "daemon_name": "receive", "v": "mailstack", "client_addr": "192.0.2.1",
        "client_name": "[192.0.2.1]", "client_port": "40000",
    }  # fmt: skip
    assert milter.macros(b"H") == {"tls_version": "TLSv1.3", "cipher": "TLS_AES_256_GCM_SHA384"}
    assert milter.macros(b"M") == {
        "i": "c1.1", "mail_addr": "a@example.org", "mail_host": "example.org", "mail_mailer": "smtp",
    }  # fmt: skip
    assert milter.macros(b"R") == {
        "i": "c1.1", "rcpt_addr": "joe@example.com", "rcpt_host": "example.com", "rcpt_mailer": "local",
    }  # fmt: skip
    assert [milter.macros(letter) for letter in (b"T", b"N", b"E")] == [{"i": "c1.1"}] * 3
    assert b"nonsense" in world.got()
    world.say(b"QUIT\r\n")
    assert milter.letters().endswith(b"EQ") and milter.open == 0 and world.spool.leaks == 0


def test_a_login_is_named() -> None:
    milter = MemoryMilter()
    world = World(milter, role=Role.SUBMISSION, allow_plaintext_auth=True)
    assert world.send(log_in=True).startswith(b"250")
    assert milter.macros(b"M") | {"auth_type": "PLAIN", "auth_authen": "joe@example.com"} == milter.macros(b"M")
    assert milter.macros(b"C")["daemon_name"] == "submission"


def test_a_milter_gets_the_macros_that_it_names() -> None:
    milter = MemoryMilter(O=options(more=b"\0\0\0\2{mail_addr}\0\0\0\0\0j, _\0"))
    World(milter).send()
    assert milter.macros(b"M") == {"mail_addr": "a@example.org"}
    assert milter.macros(b"C") == {"j": "mx.example", "_": "[192.0.2.1]"}
    assert milter.macros(b"R")["rcpt_addr"] == "joe@example.com"


def test_what_a_milter_does_not_want() -> None:
    milter = MemoryMilter()
    milter.manners = wire.ALL_MANNERS & ~Manner.NO_RCPT & ~Manner.MAY_SKIP & ~Manner.SILENT_RCPT
    assert World(milter).send().startswith(b"250")
    assert milter.letters() == b"ORE"


def test_what_a_milter_does_not_answer() -> None:
    milter = MemoryMilter()
    milter.manners = Manner(sum(flag for flag in Manner if flag.name and flag.name.startswith("SILENT")))
    assert World(milter).send().startswith(b"250")
    assert milter.letters() == b"OCHMRTLLNBE" and len(milter.waits) == 2


@pytest.mark.parametrize(("version", "expected"), [(2, b"OCHMRLLNBE"), (3, b"OCHMRLLNBE"), (4, b"OCHMRTLLNBE")])
def test_old_milters(version: int, expected: bytes) -> None:
    milter = MemoryMilter(O=options(Action(0x3F), version=version))
    assert World(milter).send().startswith(b"250")
    assert milter.letters() == expected


def test_the_body_comes_in_pieces_until_it_is_skipped() -> None:
    body = b"0123456789abcd\r\n" * 20000
    milter = MemoryMilter()
    World(milter).send(b"Subject: x\r\n\r\n" + body)
    pieces = milter.data_of(b"B")
    assert b"".join(pieces) == body and [len(piece) for piece in pieces[:-1]] == [65535] * 4
    milter = MemoryMilter(B=SKIP)
    assert World(milter).send(b"Subject: x\r\n\r\n" + body).startswith(b"250")
    assert milter.letters() == b"OCHMRTLNBE"


def test_what_is_skipped_is_skipped_for_one_message() -> None:
    milter = MemoryMilter(L=SKIP, N=[REJECT])
    world = World(milter)
    for _ in range(2):
        world.send()
    assert milter.letters() == b"OCHMRTLN" + b"HMRTLNBE"


@pytest.mark.parametrize(
    ("message", "told"),
    [(b"", b"NE"), (b"\r\n", b"NE"), (b"\r\nbody\r\n", b"NBE"), (b"Subject: x\r\n", b"LNE"), (b"text\r\n", b"NE")],
)
def test_messages_without_header_or_body(message: bytes, told: bytes) -> None:
    milter = changing(field(b"h", b"X", b"y"))
    world = World(milter)
    assert world.send(message).startswith(b"250")
    assert milter.letters() == b"OCHMRT" + told
    header, _, body = message.partition(b"\r\n") if message.startswith(b"\r\n") else (message, b"", b"")
    assert world.got() == header + b"X: y\r\n\r\n" + body


def test_with_leading_space() -> None:
    milter = changing(field(b"h", b"X", b"y"), field(b"h", b"Y", b"  z"), manners=Manner.LEADING_SPACE)
    world = World(milter)
    world.send(b"Subject:  x\r\nTo:y\r\n\r\n")
    assert milter.data_of(b"L") == [b"Subject\0  x\0", b"To\0y\0"]
    assert world.got() == b"Subject:  x\r\nTo:y\r\nX:y\r\nY:  z\r\n\r\n"


def test_a_field_that_is_too_large_is_shown_in_part() -> None:
    milter = MemoryMilter()
    world = World(milter)
    assert world.send(b"X: a\0b" + b"c" * 70000 + b"\r\n\r\n").startswith(b"250")
    [shown] = milter.data_of(b"L")
    assert len(shown) == 65535 and shown.startswith(b"X\0abc") and shown.endswith(b"c\0")
    assert len(world.got()) > 70000


@pytest.mark.parametrize(
    ("letter", "answer", "reply"),
    [
        (b"M", REJECT, b"550 5.7.1 Command rejected"),
        (b"M", TEMPFAIL, b"451 4.7.1 Service unavailable; try again later"),
        (b"R", REJECT, b"550 5.7.1 Command rejected"),
        (b"R", wire.packet(b"y", b"450 4.2.0 Grey\0"), b"450 4.2.0 Grey"),
        (b"R", wire.packet(b"y", b"550 Never\0"), b"550 5.7.1 Never"),
        (b"T", REJECT, b"550 5.7.1 Command rejected"),
        (b"L", TEMPFAIL, b"451 4.7.1 Service unavailable; try again later"),
        (b"N", REJECT, b"550 5.7.1 Command rejected"),
        (b"B", wire.packet(b"y", b"554-5.7.1 One\r\n554 5.7.1 Two\0"), b"554-5.7.1 One\r\n554 5.7.1 Two"),
        (b"E", REJECT, b"550 5.7.1 Command rejected"),
        (b"E", field(b"h", b"X", b"y") + REJECT, b"550 5.7.1 Command rejected"),
    ],
)
def test_refusals(letter: bytes, answer: bytes, reply: bytes) -> None:
    milter = MemoryMilter(**{letter.decode(): answer})
    world = World(milter)
    said = world.begin()
    if letter not in b"MR":
        said = world.say(b"DATA\r\n")
        said += world.say(MESSAGE + b".\r\n") if said.startswith(b"354") else b""
    assert reply + b"\r\n" in said
    assert not world.store.deliveries and world.counters.totals["smtp_refusals", "milters"] == 1
    before = len(milter.letters())
    world.say(b"RSET\r\n")
    assert milter.letters()[before:] == (b"A" if letter == b"R" else b"")
    milter.answers.clear()
    assert world.send().startswith(b"250")
    assert world.spool.leaks == 0


def test_a_sender_is_refused_by_the_second() -> None:
    first, second = MemoryMilter(), MemoryMilter(M=[REJECT])
    world = World(first, second)
    world.begin()
    assert first.letters() == b"OCHMA" and second.letters() == b"OCHM"
    assert world.send().startswith(b"250")


def test_one_recipient_is_refused_and_another_is_not() -> None:
    world = World(MemoryMilter(R=[REJECT, OK]))
    world.begin(b"joe@example.com", b"ann@example.com")
    world.say(b"DATA\r\n" + MESSAGE + b".\r\n")
    assert [each.account for each in world.store.deliveries] == ["ann@example.com"]


@pytest.mark.parametrize(
    ("answer", "greeting"),
    [
        (REJECT, b"554 5.7.1 No mail from you is taken here\r\n"),
        (TEMPFAIL, b"421 4.7.1 Service unavailable; try again later\r\n"),
        (wire.packet(b"y", b"554 5.7.1 Listed\0"), b"554 5.7.1 Listed\r\n"),
        (wire.packet(b"4"), b"421 4.7.0 Service shut down; closing connection\r\n"),
    ],
)
def test_refused_instead_of_greeted(answer: bytes, greeting: bytes) -> None:
    milter = MemoryMilter(C=answer)
    world = World(milter)
    assert world.greeting == greeting and world.over == [None] and milter.open == 0


def test_a_name_is_refused() -> None:
    world = World(MemoryMilter(H=[REJECT, OK]))
    assert world.say(b"EHLO bad.example\r\n") == b"550 5.7.1 Command rejected\r\n"
    assert world.say(b"MAIL FROM:<>\r\n").startswith(b"503")
    assert world.send().startswith(b"250")


def test_who_was_turned_away_brings_nothing_until_it_says_another_name() -> None:
    milter = MemoryMilter(H=[OK, REJECT, OK])
    world = World(milter)
    world.say(b"EHLO good.example\r\n")
    assert world.say(b"EHLO bad.example\r\n") == b"550 5.7.1 Command rejected\r\n"
    assert world.say(b"MAIL FROM:<>\r\n") == b"550 5.7.1 Command rejected\r\n"
    assert milter.letters() == b"OCHH" and world.send().startswith(b"250")


@pytest.mark.parametrize(("letter", "told"), [("C", b"OC"), ("H", b"OCH")])
def test_turned_away_on_a_new_connection_to_the_milter(letter: str, told: bytes) -> None:
    milter = MemoryMilter(M=[OK, Closed("it closed the connection")])
    world = World(milter)
    world.send()
    milter.answers[letter.encode()] = [REJECT, REJECT] if letter == "C" else [OK, REJECT]
    milter.answers[b"C"] = [REJECT] if letter == "C" else OK
    world.say(b"EHLO client.example\r\n")
    for _ in range(2):
        assert world.say(b"MAIL FROM:<>\r\n") == b"550 5.7.1 Command rejected\r\n"
    assert milter.letters().endswith(b"EHM" + told)


def test_replies_to_earlier_commands_do_not_wait_for_a_milter() -> None:
    world = World(MemoryMilter())
    world.say(b"EHLO c\r\n")
    before = world.connection.writes
    world.say(b"MAIL FROM:<a@example.org>\r\nRCPT TO:<joe@example.com>\r\nRCPT TO:<ann@example.com>\r\nNOOP\r\n")
    assert world.connection.writes - before == 3


def test_421_ends_the_connection() -> None:
    world = World(MemoryMilter(M=wire.packet(b"y", b"421 4.7.0 Go away\0")))
    world.say(b"EHLO c\r\n")
    assert world.say(b"MAIL FROM:<>\r\nNOOP\r\n") == b"421 4.7.0 Go away\r\n" and world.over == [None]


@pytest.mark.parametrize(
    ("letter", "told"), [("C", b"OC"), ("H", b"OCH"), ("M", b"OCHM"), ("R", b"OCHMR"), ("L", b"OCHMRTL")]
)
def test_accepted_before_the_end(letter: str, told: bytes) -> None:
    milter = MemoryMilter(**{letter: [ACCEPT]})
    world = World(milter)
    assert world.send().startswith(b"250") and milter.letters() == told
    assert world.send().startswith(b"250")
    connection = letter in "CH"
    assert milter.letters() == (told if connection else told + b"HMRTLLNBE")


@pytest.mark.parametrize("letter", ["M", "R", "T", "L", "B", "E"])
def test_discarded(letter: str) -> None:
    milter, second = MemoryMilter(**{letter: [DISCARD]}), MemoryMilter()
    world = World(milter, second)
    assert world.send() == b"250 2.0.0 Ok c1.1"
    assert not world.store.deliveries and world.spool.leaks == 0
    assert [line.fields["id"] for line in world.log.lines if line.what == "mail discarded"] == ["c1.1"]
    assert b"E" not in second.letters() and b"A" not in milter.letters()
    assert world.send() == b"250 2.0.0 Ok c1.2" and len(world.store.deliveries) == 1
    assert second.letters().endswith(b"E")


def test_what_we_refuse_is_not_shown() -> None:
    milter = MemoryMilter()
    world = World(milter)
    world.begin(b"nobody@example.com", b"joe@example.com")
    assert milter.data_of(b"R") == [b"<joe@example.com>\0"]
    world.say(b"RSET\r\n")
    assert world.send(b"Received: x\r\n" * 101 + b"\r\n").startswith(b"554 5.4.6")
    assert milter.letters() == b"OCHMRA" + b"HMRTA"


def test_rset_and_a_second_ehlo() -> None:
    milter = MemoryMilter()
    world = World(milter)
    world.begin()
    world.say(b"RSET\r\nRSET\r\n")
    world.begin()
    world.say(b"EHLO again\r\nQUIT\r\n")
    assert milter.letters() == b"OC" + b"HMRA" + b"HMR" + b"AH" + b"Q"


def test_the_client_goes_away() -> None:
    milter = MemoryMilter()
    world = World(milter)
    world.begin()
    world.connection.close()
    assert milter.letters() == b"OCHMRAQ" and milter.open == 0


def test_starttls_begins_with_another_greeting() -> None:
    milter = MemoryMilter()
    world = World(milter, tls_available=True)
    world.say(b"EHLO plain.example\r\n")
    assert milter.macros(b"H") == {}
    world.say(b"STARTTLS\r\n")
    world.send()
    assert milter.data_of(b"H") == [b"plain.example\0", b"client.example\0"]
    assert milter.macros(b"H")["tls_version"] == "TLSv1.3"


@pytest.mark.parametrize(("version", "again"), [(6, b"KC"), (5, b"QOC")])
def test_another_client_by_xclient(version: int, again: bytes) -> None:
    milter = MemoryMilter(O=options(version=version))
    world = World(milter, xclient_trusted=(ip_network("192.0.2.0/24"),))
    assert world.say(b"EHLO proxy.example\r\nXCLIENT ADDR=198.51.100.7\r\n").endswith(
        b"220 mx.example ESMTP mailstack\r\n"
    )
    assert world.send().startswith(b"250")
    assert milter.letters() == b"OCH" + again + b"HMRTLLNBE" and milter.open == 1
    assert b"198.51.100.7" in milter.data_of(b"C")[1]


def test_of_another_client_nothing_is_accepted_before() -> None:
    milter = MemoryMilter(H=[ACCEPT])
    world = World(milter, xclient_trusted=(ip_network("192.0.2.0/24"),), accept_any=True, allow_plaintext_auth=True)
    world.say(b"EHLO proxy.example\r\n" + LOG_IN + b"XCLIENT ADDR=198.51.100.7 LOGIN=ann@example.com\r\n")
    assert world.send().startswith(b"250")
    assert milter.letters() == b"OCH" + b"KCHMRTLLNBE"
    assert "auth_type" not in milter.macros(b"M") and milter.macros(b"M")["auth_authen"] == "ann@example.com"


def test_bdat_asks_for_data_once() -> None:
    milter = MemoryMilter()
    world = World(milter)
    world.begin()
    assert world.say(b"BDAT 12\r\nSubject: x\r\nBDAT 6 LAST\r\n\r\nbody").endswith(b"250 2.0.0 Ok c1.1\r\n")
    assert milter.letters() == b"OCHMRTLNBE" and milter.data_of(b"B") == [b"body"]


def test_the_dial_is_asked_as_configured() -> None:
    milter = MemoryMilter()
    World(milter)
    assert milter.dialled == [("1:1", 30.0)]
