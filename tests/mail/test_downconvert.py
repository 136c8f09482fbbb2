"""8-bit messages made 7-bit: what is in the parts stays, and what is signed stays as it is."""

from __future__ import annotations

from email import message_from_bytes
from email.message import Message

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailstack.mail.downconvert import CannotConvert, downconvert

HEADER = b"Subject: x\r\nMIME-Version: 1.0\r\n"
GERMAN = "Gr\u00fc\u00dfe, und so weiter.\r\n.\r\nFrom here \r\n".encode() + b"long " * 50 + b"\r\n"


def leaves(message: Message) -> list[tuple[str, object]]:
    return [
        (part.get_content_type(), part.get_payload(decode=True)) for part in message.walk() if not part.is_multipart()
    ]


def converted(octets: bytes) -> bytes:
    new = downconvert(octets)
    assert new.isascii() and b"\n" not in new.replace(b"\r\n", b"")
    assert max(map(len, new.split(b"\r\n"))) < 998
    assert leaves(message_from_bytes(new)) == leaves(message_from_bytes(octets))
    return new


def multipart(kind: bytes, *parts: bytes, encoding: bytes = b"8bit") -> bytes:
    inner = b"".join(b"--%b\r\n%b\r\n" % (kind, part) for part in parts)
    header = b"Content-Type: multipart/%b; boundary=%b\r\nContent-Transfer-Encoding: %b\r\n" % (kind, kind, encoding)
    return HEADER + header + b"\r\n" + inner + b"--%b--\r\n" % kind


def text(body: bytes, encoding: bytes = b"8bit", kind: bytes = b"text/plain; charset=utf-8") -> bytes:
    return b"Content-Type: %b\r\nContent-Transfer-Encoding: %b\r\n\r\n%b" % (kind, encoding, body)


def test_text_is_quoted_and_a_letter_is_still_readable() -> None:
    new = converted(HEADER + text(GERMAN))
    assert b"Content-Transfer-Encoding: quoted-printable\r\n\r\nGr=C3=BC=C3=9Fe, und so weiter.\r\n=2E\r\n" in new


def test_what_is_mostly_8_bit_is_in_base64() -> None:
    assert b"Encoding: base64\r\n" in converted(HEADER + text("\u0416\u0436\r\n".encode() * 100))
    assert b"Encoding: base64\r\n" in converted(HEADER + text(GERMAN, kind=b"application/octet-stream"))


def test_parts_by_themselves() -> None:
    new = converted(
        multipart(b"mixed", text(GERMAN), text(b"plain\r\n"), text(b"cGxhaW4=\r\n", b"base64"), b"\r\nbare\r\n")
    )
    assert new.count(b"Content-Transfer-Encoding: 7bit") == 2  # of the whole and of the part that had no need
    assert new.count(b"quoted-printable") == 1 and b"cGxhaW4=" in new


def test_a_message_in_a_message() -> None:
    inner = HEADER + text(GERMAN)
    new = converted(
        multipart(b"mixed", b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + inner)
    )
    assert b"message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\nSubject: x\r\n" in new


def test_text_without_mime_is_of_an_unknown_charset() -> None:
    new = converted(b"Subject: x\r\n\r\nsch\xf6n\r\n")
    assert new == (
        b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\n"
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\nsch=F6n\r\n"
    )


def test_a_last_line_without_end() -> None:
    assert converted(HEADER + text(b"sch\xf6n" + b"x" * 80)).endswith(b"xxxx")


def test_ascii_that_is_signed_stays_octet_for_octet() -> None:
    signed = multipart(b"signed", text(b"plain \r\n", b"7bit"), text(b"x\r\n", b"7bit"), encoding=b"7bit")
    message = multipart(b"mixed", signed, text(GERMAN))
    assert signed in converted(message)


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (multipart(b"signed", text(GERMAN)), "signed"),
        (multipart(b"encrypted", text(GERMAN)), "encrypted"),
        (multipart(b"mixed", multipart(b"signed", text(GERMAN))), "signed"),
        (b"Subject: \xc3\xa4\r\n\r\nx\r\n", "header"),
        (multipart(b"mixed", b"Content-Type: text/plain; name=\xc3\xa4\r\n\r\nx\r\n"), "header"),
        (HEADER + text(GERMAN, b"base64"), "base64"),
        (HEADER + text(GERMAN, kind=b"message/partial; id=1"), "not all is there"),
        (multipart(b"mixed", text(b"x\r\n")).replace(b"\r\n\r\n", b"\r\n\r\nsch\xf6n\r\n", 1), "outside"),
    ],
)
def test_what_cannot_be_converted(octets: bytes, why: str) -> None:
    with pytest.raises(CannotConvert, match=why):
        downconvert(octets)


@settings(max_examples=60)
@given(
    st.lists(st.sampled_from([b"\xc3\xa4", b"a", b" ", b".", b"=", b"\r\n", b"From ", b"-- ", b"x" * 90]), max_size=40)
)
def test_any_text_is_what_it_was(pieces: list[bytes]) -> None:
    converted(multipart(b"mixed", text(b"".join(pieces) + b"\xc3\xa4"), text(GERMAN)))
