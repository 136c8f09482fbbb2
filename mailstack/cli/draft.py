"""A message as programs hand it to sendmail: line ends of the system, perhaps incomplete."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from email.header import Header
from email.utils import formataddr, formatdate, make_msgid

from mailstack.mail.address import Address
from mailstack.mail.addresses import ListedAddress, address_list

_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")
"""The start of a header field (RFC 5322 §2.2)."""
_RECIPIENTS = (b"to", b"cc", b"bcc")
_HIDDEN = (b"bcc", b"resent-bcc")
"""Fields that no recipient sees."""


@dataclass(frozen=True, slots=True)
class Draft:
    """`fields`: each with its continuation lines. `body`: lines. No line has its end."""

    fields: tuple[tuple[bytes, ...], ...]
    body: tuple[bytes, ...]

    @classmethod
    def read(cls, lines: Iterable[bytes]) -> Draft:
        """The header ends at an empty line, or before a line that cannot be in one."""
        fields: list[list[bytes]] = []
        body: list[bytes] = []
        rest = iter(lines)
        for line in rest:
            if fields and line[:1] in (b" ", b"\t"):
                fields[-1].append(line)
            elif _FIELD.match(line):
                fields.append([line])
            else:
                body = [line, *rest] if line else list(rest)
                break
        return cls(tuple(tuple(lines) for lines in fields), tuple(body))

    def recipients(self) -> list[str]:
        """Every address of To, Cc and Bcc, in the order of the fields; a bare name has no @."""
        found: list[str] = []
        for lines in self.fields:
            if _name(lines) in _RECIPIENTS:
                value = b"".join(lines).partition(b":")[2].strip()
                found += [str(_address(listed)) for listed in address_list(value) if listed.host is not None]
        return found

    def completed(self, sender: str, full_name: str = "") -> bytes:
        """What goes to the server: CRLF, no Bcc, and a From, Date and Message-ID where they lack."""
        present = {_name(lines) for lines in self.fields}
        added: list[bytes] = []
        if b"from" not in present:
            added.append(_from(sender or "MAILER-DAEMON@localhost", full_name))
        if b"date" not in present:
            added.append(b"Date: " + formatdate(localtime=True).encode())
        if b"message-id" not in present:
            domain = sender.rpartition("@")[2]
            added.append(
                b"Message-ID: " + make_msgid(domain=domain if domain.isascii() and domain else "localhost").encode()
            )
        kept = [line for lines in self.fields if _name(lines) not in _HIDDEN for line in lines]
        return b"".join(line + b"\r\n" for line in (*added, *kept, b"", *self.body))


def _name(lines: tuple[bytes, ...]) -> bytes:
    return lines[0].partition(b":")[0].rstrip().lower()


def _address(listed: ListedAddress) -> Address:
    local, domain = listed.mailbox or b"", listed.host or b""
    return Address(local.decode("utf-8", "surrogateescape"), domain.decode("utf-8", "surrogateescape"))


def _from(sender: str, full_name: str) -> bytes:
    name = " ".join(full_name.split())
    if not name.isascii():
        return f"From: {Header(name, 'utf-8', maxlinelen=0).encode()} <{sender}>".encode()
    return f"From: {formataddr((name, sender))}".encode() if sender.isascii() else f"From: <{sender}>".encode()
