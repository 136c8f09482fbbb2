"""What becomes of mail for servers that refuse, fall silent, go away, talk nonsense or lie: which verdict, when it is
tried again, and what its sender reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from peer_world import CLOSE, FIRST, SECOND, TO, PeerWorld
from queue_world import EPOCH

from mailstack.config.outgoing import OutboundTls, Route

ALONE = Route(domains=("example.net",), hosts=(FIRST,))
STEPS = ("connect", "EHLO", "MAIL", "RCPT", "DATA", ".")
AFTER = {
    "connect": "before the greeting", "EHLO": "after EHLO", "MAIL": "after MAIL", "RCPT": "after RCPT",
    "DATA": "after DATA", ".": "after the end of data",
}  # fmt: skip
OF_THE_MESSAGE = ("MAIL", "RCPT", "DATA", ".")
PIPELINED = "250-mx\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250 ENHANCEDSTATUSCODES"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PeerWorld]:
    world = PeerWorld(tmp_path, route=ALONE)
    yield world
    world.close()


def attempted(world: PeerWorld, instead: Mapping[str, str], *to: str) -> None:
    world.peers.at[FIRST] = instead
    world.attempt(*to)


def retry_in(world: PeerWorld) -> float:
    (row,) = world.rows()
    return row.due - EPOCH


@pytest.mark.parametrize("offered", ["250 mx", PIPELINED], ids=["steps", "pipelined"])
@pytest.mark.parametrize("step", STEPS)
def test_silence_is_waited_out_and_tried_again(world: PeerWorld, step: str, offered: str) -> None:
    attempted(world, {"EHLO": offered, step: ""})
    status, text = world.waits
    assert status == "4.4.2" and text.startswith(f"no answer in time {AFTER[step]}")
    assert 270 <= retry_in(world) <= 340
    assert world.peers.connected[0].ended


@pytest.mark.parametrize("step", STEPS)
def test_a_connection_that_is_cut_is_tried_again(world: PeerWorld, step: str) -> None:
    attempted(world, {"EHLO": PIPELINED, step: CLOSE})
    status, text = world.waits
    assert status == "4.4.2" and text.startswith(f"connection lost {AFTER[step]}")
    assert ("may come twice" in text) is (step == ".")
    assert 270 <= retry_in(world) <= 340


@pytest.mark.parametrize("step", STEPS)
def test_421_is_tried_again_with_what_the_server_said(world: PeerWorld, step: str) -> None:
    attempted(world, {"EHLO": PIPELINED, step: "421 4.3.2 going down" + CLOSE})
    assert world.waits == ("4.3.2", "421 4.3.2 going down")
    assert 270 <= retry_in(world) <= 340


@pytest.mark.parametrize("step", OF_THE_MESSAGE)
def test_5xx_to_the_message_comes_back_at_once(world: PeerWorld, step: str) -> None:
    attempted(world, {"EHLO": PIPELINED, step: "550 5.7.1 we do not like this"})
    assert not world.rows()
    report = world.report
    assert "could not be delivered to this recipient, and is not tried any more" in report and TO in report
    assert "The other mail system refused the message by its rules." in report
    assert f"{FIRST} said: 550 5.7.1 we do not like this" in report


@pytest.mark.parametrize("step", ["connect", "EHLO"])
def test_5xx_to_the_session_is_tried_again(world: PeerWorld, step: str) -> None:
    attempted(world, {step: "554 5.7.1 your address is on a list", "HELO": "554 5.7.1 your address is on a list"})
    assert world.waits == ("4.7.1", "554 5.7.1 your address is on a list")


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("550 5.1.1 no such user", "There is no such address."),
        ("550 no such user", "The message could not be delivered."),
        ("552 5.2.2 mailbox full", "The mailbox is full."),
        ("556 5.1.10 no mail here", "This domain takes no mail."),
        ("554 5.7.1 listed as SPAM", "The other mail system takes the message for unwanted mail (spam)."),
        ("599 whatever", "The message could not be delivered."),
        ("550-5.1.1 no such\r\n550 5.1.1 user", "550 5.1.1 no such user"),
        ("550 5.1.1 café \x07\x1b[31m", "550 5.1.1 café ??[31m"),
    ],
)  # fmt: skip
def test_a_person_can_read_why_a_recipient_was_refused(world: PeerWorld, reply: str, reason: str) -> None:
    attempted(world, {"RCPT": reply})
    assert reason in world.report


@pytest.mark.parametrize("step", ["connect", "RCPT", "."])
@pytest.mark.parametrize(
    "nonsense",
    ["250 " + "x" * 10_000_000, "HTTP/1.1 400 Bad Request", "250-one\r\n550 two", "999 what", "\x00\xff" * 40],
    ids=["10 MB", "http", "codes", "999", "binary"],
)  # fmt: skip
def test_nonsense_is_tried_again(world: PeerWorld, step: str, nonsense: str) -> None:
    attempted(world, {step: nonsense})
    status, text = world.waits
    assert status == "4.5.0" and text.startswith("the server cannot be understood") and len(text) <= 500
    assert world.peers.connected[0].ended


def test_replies_without_end_are_cut(world: PeerWorld) -> None:
    attempted(world, {"EHLO": "\r\n".join(["250-X-EXTENSION"] * 100_000)})
    assert "a reply of more than 65536 octets" in world.waits[1]


@pytest.mark.parametrize(
    ("step", "replies"),
    [
        ("connect", "220 hello\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n250 taken"),
        ("EHLO", "250 mx\r\n250 ok\r\n250 ok\r\n354 go\r\n250 taken"),
        ("MAIL", "250 ok\r\n250 ok\r\n354 go\r\n250 taken"),
        ("RCPT", "250 ok\r\n354 go\r\n250 taken"),
        ("DATA", "354 go\r\n250 taken"),
    ],
)
def test_replies_before_their_commands_are_not_taken_for_success(world: PeerWorld, step: str, replies: str) -> None:
    attempted(world, {step: replies})
    assert world.waits[0].startswith("4.") and not world.peers.taken


@pytest.mark.parametrize(
    ("step", "reply"),
    [("MAIL", "354 go"), ("RCPT", "354 go"), ("DATA", "250 ok"), (".", "354 go"), ("connect", "250 ok")],
)
def test_positive_replies_out_of_place_are_no_success(world: PeerWorld, step: str, reply: str) -> None:
    attempted(world, {step: reply})
    assert world.waits[0].startswith("4.")


# --- TLS

OFFERS = {"EHLO": "250-mx\r\n250 STARTTLS"}
EXPIRED = "certificate-expired: the certificate has expired"


@pytest.mark.parametrize(
    "broken", [{"TLS": "validation-failure: no shared cipher"}, {"TLS": CLOSE}, {"STARTTLS": "454 not now"}]
)
def test_opportunistic_tls_that_breaks_is_done_without(tmp_path: Path, broken: Mapping[str, str]) -> None:
    world = PeerWorld(tmp_path)
    attempted(world, {**OFFERS, **broken})
    assert not world.rows() and len(world.peers.taken) == 1 and world.peers.tried == [FIRST, FIRST]
    world.close()


@pytest.mark.parametrize(
    ("mode", "instead", "waits"),
    [
        (OutboundTls.VERIFIED, {**OFFERS, "TLS": EXPIRED}, "4.7.5"),
        (OutboundTls.VERIFIED, {**OFFERS, "TLS": "certificate-host-mismatch: it is of other.example"}, "4.7.5"),
        (OutboundTls.REQUIRED, {**OFFERS, "TLS": "validation-failure: no shared cipher"}, "4.7.5"),
        (OutboundTls.REQUIRED, {**OFFERS, "TLS": CLOSE}, "4.4.2"),
        (OutboundTls.REQUIRED, {}, "4.7.4"),
        (OutboundTls.REQUIRED, {**OFFERS, "STARTTLS": "454 4.7.0 not now"}, "4.7.4"),
        (OutboundTls.REQUIRED, {**OFFERS, "STARTTLS": "220 go\r\n250 injected"}, "4.7.5"),
        (OutboundTls.REQUIRED, {**OFFERS, "TLS": EXPIRED}, ""),
        (OutboundTls.OPPORTUNISTIC, {**OFFERS, "TLS": EXPIRED}, ""),
    ],
)
def test_tls_that_is_demanded(tmp_path: Path, mode: OutboundTls, instead: Mapping[str, str], waits: str) -> None:
    world = PeerWorld(tmp_path, outbound={"tls": mode}, retry=(80_000.0,), expire=86_400.0)
    del world.resolver.zones["mx2.example.net"]
    world.resolver.zones["example.net"] = {"MX": [(10, "mx1.example.net")]}
    attempted(world, instead)
    if waits:
        status, text = world.waits
        assert status == waits and not world.peers.taken
        world.pass_time(2 * 86400.0, 40_000.0)
        why = "could not be reached" if status == "4.4.2" else "may only travel encrypted"
        assert text in world.report and why in world.report
    else:
        assert not world.rows() and len(world.peers.taken) == 1
    world.close()


# --- for weeks


@pytest.mark.parametrize(
    ("instead", "why", "said"),
    [
        ({"RCPT": "450 4.2.0 full"}, "switched off, or takes no mail now.", f"{FIRST} said: 450 4.2.0 full"),
        ({"connect": "421 4.3.2 busy"}, "trouble of its own.", f"{FIRST} said: 421 4.3.2 busy"),
        ({"MAIL": ""}, "could not be reached.", "In detail: no answer in time after MAIL"),
        (None, "could not be reached.", f"In detail: connection to [{FIRST}]:25: refused"),
    ],
)
def test_what_fails_for_days_comes_back(tmp_path: Path, instead: Mapping[str, str] | None, why: str, said: str) -> None:
    world = PeerWorld(tmp_path, route=ALONE, retry=(300.0, 3600.0, 14400.0), warn=4 * 3600.0)
    if instead is not None:
        world.peers.at[FIRST] = instead
    world.attempt()
    world.pass_time(5 * 3600.0, 600.0)
    late = world.report
    assert "it is tried again by itself" in late and said in late and "It is tried for 5 days more" in late
    world.mailbox.sent.clear()
    world.pass_time(30 * 86400.0, 14400.0)
    assert not world.rows() and not world.log.failures
    report = world.report
    assert "The time for the delivery is over." in report and why in report and said in report
    assert "times in 5 days" in report
    assert 25 <= len(world.peers.tried) <= 45
    world.close()


@pytest.mark.parametrize("mixed", ["250 mx", PIPELINED])
def test_of_several_recipients_each_has_a_fate_of_its_own(world: PeerWorld, mixed: str) -> None:
    attempted(world, {"EHLO": mixed, "RCPT": "250 ok"}, TO, "ann@example.net")
    assert len(world.peers.taken) == 1 and not world.rows() and not world.mailbox.sent
    assert SECOND not in world.peers.tried
