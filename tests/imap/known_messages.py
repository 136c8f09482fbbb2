"""Messages that are known by their making, in all usual charsets and encodings."""

from __future__ import annotations

import base64
import quopri
import random
from dataclasses import dataclass
from datetime import date, timedelta

from mailstack.ports import Flag, Flags

COUNT = 130
"""More than are needed for a store to keep what is made of them."""
NOW = 1_700_000_000
WORDS = ("apple", "Birne", "Größe", "ÄPFEL", "naïve", "one two", "§", "日本", "zebra@example.org", '"q"', "per\tcent")
FIELDS = (b"subject", b"from", b"to", b"cc", b"x-other", b"message-id")
CHANCE = random.Random(7)


@dataclass(frozen=True)
class Made:
    """One message, and what it was made of. `parts` are the texts of its body."""

    fields: tuple[tuple[bytes, str], ...]
    parts: tuple[str, ...]
    sent: date | None
    internal: int
    flags: Flags
    octets: bytes


def encoded(text: str) -> bytes:
    if text.isascii():
        return text.encode()
    if CHANCE.random() < 0.3:
        return text.encode()  # as real mail has it
    return b"=?utf-8?b?%b?=" % base64.b64encode(text.encode())


def part(text: str) -> bytes:
    way = CHANCE.choice(("base64", "quoted-printable", "8bit", "latin"))
    charset, data = "utf-8", text.encode()
    if way == "latin" and "日" not in text:
        charset, data = "iso-8859-1", text.encode("latin-1")
    if way == "base64":
        data = base64.encodebytes(data).replace(b"\n", b"\r\n")
    elif way == "quoted-printable":
        data = quopri.encodestring(data).replace(b"\n", b"\r\n")
    else:
        way = "8bit"
    kind = CHANCE.choice(("plain", "html"))
    head = f"Content-Type: text/{kind}; charset={charset}\r\nContent-Transfer-Encoding: {way}\r\n\r\n"
    return head.encode() + data + b"\r\n"


def made(number: int) -> Made:
    def text() -> str:
        return " ".join(CHANCE.choice(WORDS) for _ in range(CHANCE.randrange(1, 4)))

    fields = [(name, text()) for name in FIELDS if CHANCE.random() < 0.7]
    if CHANCE.random() < 0.2:
        fields.append((b"subject", text()))
    parts = [text() for _ in range(CHANCE.randrange(1, 3))]
    sent = date(2023, 1, 1) + timedelta(days=CHANCE.randrange(300)) if CHANCE.random() < 0.8 else None
    lines = [b"%s: %b\r\n" % (name.title(), encoded(value)) for name, value in fields]
    if sent is not None:
        lines.append(sent.strftime("Date: %d %b %Y 23:59:59 -0800\r\n").encode())
    if len(parts) == 1:
        octets = b"".join(lines) + part(parts[0])
    else:
        inside = b"".join(b"--b\r\n" + part(each) for each in parts)
        octets = b"".join(lines) + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + inside + b"--b--\r\n"
    system = Flag(CHANCE.choice((0, Flag.SEEN, Flag.SEEN | Flag.FLAGGED, Flag.DRAFT)))
    flags = Flags(system, frozenset({"$Work"} if number % 5 == 0 else ()))
    internal = NOW - CHANCE.randrange(400 * 86400)
    if CHANCE.random() < 0.5:
        internal -= internal % 86400
    return Made(tuple(fields), tuple(parts), sent, internal, flags, octets)


MESSAGES = [made(number) for number in range(COUNT)]
