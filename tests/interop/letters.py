"""Messages that clients have to carry unharmed, and an account that has them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from imap_client import Imap, Mailbox
from server_process import Server

FLAGS = ("", "\\Seen", "\\Flagged \\Seen", "\\Answered", "\\Draft \\Seen", "\\Seen $Forwarded")
"""One for each letter, as the IMAP flags of a message in this order."""
DATE = "17-Jul-1996 02:44:25 -0700"


def letter(number: int, rest: bytes) -> bytes:
    """A message with a header of its own; `rest` is further fields, and the body."""
    head = (
        b"From: Bob <bob@example.net>\r\nTo: someone@example.org\r\nDate: Wed, 17 Jul 1996 02:44:%02d -0700\r\n"
        b"Message-ID: <letter-%d@example.net>\r\nSubject: letter %d\r\n"
    )
    return head % (number, number, number) + rest


LETTERS: tuple[bytes, ...] = (
    letter(0, b"\r\nHello.\r\n"),
    letter(1, b"\r\n.\r\n..\r\nFrom here on\r\n>From\r\n\r\n* 1 FETCH (FLAGS ())\r\n)\r\na OK {3}\r\n\r\n"),
    letter(
        2,
        b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
        + "Grüße — ünïcödé ✉ 日本語\r\n".encode() * 40,
    ),
    letter(
        3,
        b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="=_b"\r\n\r\npreamble\r\n--=_b\r\n'
        b"Content-Type: text/plain\r\n\r\nsee attachment\r\n--=_b\r\n"
        b"Content-Type: application/octet-stream; name=a.bin\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + b"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4v\r\n" * 600
        + b"--=_b--\r\nepilogue\r\n",
    ),
    letter(4, b"X-Folded: one\r\n\ttwo\r\n  three\r\n\r\n" + b"x" * 900 + b"\r\n  trailing  \t\r\n"),
    letter(5, b"\r\n"),
)
"""Six letters that any client can carry: lines below 998 octets, CRLF, no NUL."""
LARGE = letter(7, b"\r\n" + b"".join(b"%06d %s\r\n" % (number, b"x" * 60) for number in range(45_000)))
"""Letter 7, of 3 MB."""


@dataclass(frozen=True)
class Account:
    """An account on the server, as seen by who looks into it by IMAP."""

    server: Server
    user: str

    def connect(self) -> Imap:
        return Imap(self.server.port("imap"), self.user, "secret")

    def put(self, mailbox: str = "INBOX", letters: Iterable[bytes] = LETTERS) -> None:
        """Append the letters, with FLAGS and DATE."""
        imap = self.connect()
        for octets, flags in zip(letters, FLAGS, strict=False):
            imap.append(mailbox, octets, flags, DATE)
        imap.close()

    def create(self, mailbox: str) -> None:
        imap = self.connect()
        imap.command(b"CREATE " + imap.name(mailbox))
        imap.command(b"SUBSCRIBE " + imap.name(mailbox))
        imap.close()

    def mailbox(self, name: str = "INBOX") -> Mailbox:
        imap = self.connect()
        found = imap.mailbox(name)
        imap.close()
        return found

    def octets(self, name: str = "INBOX") -> list[bytes]:
        """The messages, in the order of their UIDs."""
        return [message.octets for _, message in sorted(self.mailbox(name).messages.items())]

    def flags(self, name: str = "INBOX") -> list[frozenset[str]]:
        """Flags in lower case, in the order of the UIDs, without \\Recent."""
        return [message.flags for _, message in sorted(self.mailbox(name).messages.items())]


def as_flags(text: str) -> frozenset[str]:
    return frozenset(text.lower().split())


def maildir(path: Path) -> dict[str, tuple[str, bytes]]:
    """Subject number → letters of the Maildir's flags and octets (with LF), of all messages in `path`."""
    found = {}
    for file in [*(path / "cur").iterdir(), *(path / "new").iterdir()]:
        octets = file.read_bytes()
        number = re.search(rb"^Subject: (.*?)\r?$", octets, re.M)
        assert number, octets[:300]
        found[number[1].decode()] = ("".join(sorted(file.name.partition(":2,")[2])), octets)
    return found
