"""The address of a mailbox: local-part "@" domain (RFC 5321 §4.1.2; RFC 6531 §3.3)."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Address:
    """A Mailbox of RFC 5321, already parsed: no quotes around the local-part, no brackets around
    the whole. `domain` is a domain name as given, or an address literal with its brackets, or ""
    for the domainless `Postmaster` of RFC 5321 §4.5.1."""

    local_part: str
    domain: str

    def __str__(self) -> str:
        local = self.local_part
        if not _DOT_STRING.fullmatch(local):
            escaped = local.replace("\\", "\\\\").replace('"', '\\"')
            local = f'"{escaped}"'
        return f"{local}@{self.domain}" if self.domain else local

    @property
    def is_ascii(self) -> bool:
        """Whether the address needs no SMTPUTF8."""
        return self.local_part.isascii() and self.domain.isascii()


def ascii_domain(name: str) -> str:
    """A domain to compare: in lower case, in its xn-- form if it has one."""
    if name.isascii():
        return name.lower()
    try:
        return name.lower().encode("idna").decode("ascii")
    except UnicodeError:
        return name.lower()


_ATOM = r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~\x80-\U0010ffff]+"
_DOT_STRING = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
# Dot-string = Atom *("." Atom)   ; RFC 5321 §4.1.2, with UTF8-non-ascii of RFC 6531 §3.3
