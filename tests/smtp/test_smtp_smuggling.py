"""SMTP smuggling: of all that looks like an end of mail data, to any server, only CRLF.CRLF is one here, however
the octets are cut. Ends of lines are made of CR, LF, NUL and other controls; all short ones are tried."""

from __future__ import annotations

from itertools import product

import pytest
from test_smtp_framing import read_data
from test_smtp_session import World

from mailstack.config.sections import BareNewline

END = b"\r\n.\r\n"
EVIL = b"MAIL FROM:<evil@example.net>\r\n"
LINE_ENDS = [b"".join(each) for length in (1, 2, 3) for each in product((b"\r", b"\n", b"\0"), repeat=length)]
"""39 of them, CRLF too."""
OTHERS = [b"\x0b", b"\x0c", b"\x85", b"\xc2\x85", b"\xe2\x80\xa8", b" \r\n", b"\t\r\n", b"\r\n ", b"\x1a", b"\x8d\x8a"]
"""What some program somewhere takes for the end of a line."""
TRICKS = [before + dot + after for before in LINE_ENDS for dot in (b".", b"..", b".\0") for after in LINE_ENDS]
TRICKS += [before + b"." + after for before, after in product([b"\r\n", *OTHERS], repeat=2)]


def is_end(trick: bytes) -> bool:
    """Whether it has the end in it, which then is no trick."""
    return END in b"x" + trick


def test_there_are_as_many_tricks_as_one_thinks() -> None:
    assert len(TRICKS) == 39 * 39 * 3 + 11 * 11
    ends = [trick for trick in TRICKS if is_end(trick)]
    assert b"\r\n.\r\n" in ends and b"\n\r\n.\r\n\0" in ends and len(ends) == 22


@pytest.mark.parametrize("start", range(0, len(TRICKS), 400))
def test_no_trick_ends_mail_data_however_it_is_cut(start: int) -> None:
    for trick in TRICKS[start : start + 400]:
        if is_end(trick):
            continue
        octets = b"x" + trick + EVIL
        data, ended, rest, _ = whole = read_data([octets + END + b"NOOP\r\n"])
        assert ended and rest == b"NOOP\r\n" and EVIL in data, trick
        assert data.count(b"\r") == data.count(b"\n") == data.count(b"\r\n"), trick
        for cut in range(1, len(trick) + 2):
            assert read_data([octets[:cut], octets[cut:] + END + b"NOOP\r\n"]) == whole, (trick, cut)


@pytest.mark.parametrize("trick", [trick for trick in TRICKS if not is_end(trick)][::97])
@pytest.mark.parametrize("policy", [BareNewline.REPAIR, BareNewline.REJECT_STRANGERS])
def test_a_session_hears_no_command_in_mail_data(trick: bytes, policy: BareNewline) -> None:
    world = World(bare_newline=policy)
    world.say(b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<joe@example.com>\r\nDATA\r\n")
    octets = b"Subject: x\r\n\r\nx" + trick + EVIL
    assert [world.say(octets[at : at + 1]) for at in range(len(octets))] == [b""] * len(octets)
    answer = world.say(END)
    assert answer.count(b"\r\n") == 1 and answer[:3] in (b"250", b"550")
    assert world.say(b"RCPT TO:<joe@example.com>\r\n").startswith(b"503 5.5.1 Need MAIL")
    assert len(world.store.got) == (answer[:3] == b"250")


@pytest.mark.parametrize("trick", [b"\n.\n", b"\r.\r", b"\n.\r\n", b"\r\n.\n", b"\r\n.\r\r\n"])
def test_what_is_sent_on_holds_no_trick(trick: bytes) -> None:
    world = World(bare_newline=BareNewline.REPAIR)
    world.send(b"joe@example.com", body=b"Subject: x\r\n\r\nx" + trick + EVIL)
    [(_, octets)] = world.store.got
    assert octets.replace(b"\r\n", b"").count(b"\n") == octets.replace(b"\r\n", b"").count(b"\r") == 0
