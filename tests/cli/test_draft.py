"""What sendmail makes of a message before it goes to the server."""

from __future__ import annotations

import pytest

from mailstack.cli.draft import Draft


def draft(octets: bytes) -> Draft:
    return Draft.read(octets.splitlines())


COMPLETE = b"From: a@x\r\nDate: d\r\nMessage-ID: <m@x>\r\n"


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (b"To: b@x\n\nbody\n", b"To: b@x\r\n\r\nbody\r\n"),
        (b"To: b@x\n\n.\n..\n", b"To: b@x\r\n\r\n.\r\n..\r\n"),
        (b"To: b@x\nBCC: c@x,\n\td@x\nCc: e@x\n\nBcc: stays\n", b"To: b@x\r\nCc: e@x\r\n\r\nBcc: stays\r\n"),
        (b"Resent-Bcc: c@x\nX: y\n z\n\n", b"X: y\r\n z\r\n\r\n"),
        (b"To: b@x\n", b"To: b@x\r\n\r\n"),
        (b"To: b@x\nno field\nBcc: body\n", b"To: b@x\r\n\r\nno field\r\nBcc: body\r\n"),
        (b"To: \xc3\xbc@x\n\n\xff\n", b"To: \xc3\xbc@x\r\n\r\n\xff\r\n"),
        (b"Bcc : c@x\nTo: b@x\n\n\n\n", b"To: b@x\r\n\r\n\r\n\r\n"),
    ],
)
def test_only_line_ends_and_bcc_change(given: bytes, sent: bytes) -> None:
    header = COMPLETE.replace(b"\r\n", b"\n")
    assert draft(header + given).completed("s@x") == COMPLETE + sent


@pytest.mark.parametrize("given", [b"just text\n", b" indented\n", b"", b"\nSubject: in the body\n"])
def test_what_has_no_header_becomes_the_body(given: bytes) -> None:
    header, _, body = draft(given).completed("s@x").partition(b"\r\n\r\n")
    names = [line.partition(b":")[0] for line in header.split(b"\r\n")]
    assert names == [b"From", b"Date", b"Message-ID"]
    assert body == given.removeprefix(b"\n").replace(b"\n", b"\r\n")


@pytest.mark.parametrize(
    ("sender", "name", "field"),
    [
        ("s@x", "", b"From: s@x"),
        ("s@x", "Sam S.", b'From: "Sam S." <s@x>'),
        ("s@x", "Sam\nBcc: e@x", b'From: "Sam Bcc: e@x" <s@x>'),
        ("s@x", "Zoë", b"From: =?utf-8?q?Zo=C3=AB?= <s@x>"),
        ("", "", b"From: MAILER-DAEMON@localhost"),
    ],
)
def test_the_missing_from(sender: str, name: str, field: bytes) -> None:
    assert draft(b"To: b@x\n\n").completed(sender, name).split(b"\r\n")[0] == field


@pytest.mark.parametrize(
    ("header", "recipients"),
    [
        (b"To: B <b@x>, c@x\nCc: d@x\nBcc: e@x\n", ["b@x", "c@x", "d@x", "e@x"]),
        (b"To: undisclosed-recipients:;\nBcc: e@x\n", ["e@x"]),
        (b"To: friends: b@x, c@x;\n", ["b@x", "c@x"]),
        (b'To: "Last, First" <b@x>,\n "odd name"@x (comment, here)\n', ["b@x", '"odd name"@x']),
        (b"To: root\n", ["root"]),
        (b"to : b@x\nTO: c@x\n", ["b@x", "c@x"]),
        (b"To: \xc3\xbc@x\n", ["ü@x"]),
        (b"Subject: To: b@x\n\nTo: c@x\n", []),
    ],
)
def test_recipients_of_the_header(header: bytes, recipients: list[str]) -> None:
    assert draft(header).recipients() == recipients
