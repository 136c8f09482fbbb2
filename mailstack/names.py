"""What sessions and the relay may ask of DNS (RFC 1034, RFC 1035), and the answers. Named in `ports.py` too.

A question has one of four ends, and who asks treats each in another way:

    an Answer                 records, at least one
    LookupFailed
     ├─ NoRecords             there are none, for sure
     │   ├─ NoSuchName            the name does not exist (NXDOMAIN, RFC 8020)
     │   └─ NoData                it exists, without records of this type
     ├─ TemporaryFailure      nobody knows now: timeout, SERVFAIL, a signature that is wrong (RFC 4035 §5.5); ask later
     └─ BadName               it cannot be a name: too long, an empty label (RFC 1035 §2.3.4); asking again is no use

Names in questions and answers are without a dot at their end; those in answers are in lower case, their labels in the
xn-- form. The root is ".". Names in questions may be internationalised (RFC 5890), and have a dot at their end.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import ClassVar, Protocol

from mailstack.mail.address import ascii_domain

MAX_NAME = 253
"""Octets of a name in text, without the dot at its end: 255 on the wire (RFC 1035 §2.3.4)."""
MAX_LABEL = 63
"""Octets of a label (RFC 1035 §2.3.4)."""
ROOT = "."


def domain_name(text: str) -> str:
    """A name in the form that answers have. Labels may have any visible character of ASCII but backslash.
    Raises: BadName."""
    name = ascii_domain(text).removesuffix(".")
    if not name and text == ROOT:
        return ROOT
    if len(name) > MAX_NAME:
        raise BadName(text, "the name is too long")
    for label in name.split("."):
        if not 0 < len(label) <= MAX_LABEL:
            raise BadName(text, "a label is too long" if label else "a label is empty")
        if any(not "!" <= character <= "~" or character == "\\" for character in label):
            raise BadName(text, "a label has a character that cannot be in it")
    return name


# --- servers --------------------------------------------------------------------------------

DNS_PORT = 53
MAX_PORT = 65_535


_SERVER = re.compile(r"\[([^]]+)\](?::([0-9]{1,5}))?|([0-9.]+)(?::([0-9]{1,5}))?|([^][]+)")
"""IPv6 in brackets, IPv4, each perhaps with a port; IPv6 alone."""


class BadServer(ValueError):
    """Not the address of a DNS server."""


@dataclass(frozen=True, slots=True)
class NameServer:
    """Where a DNS server is: an IP address as text, and a port of UDP and TCP."""

    host: str
    port: int = DNS_PORT

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether nobody is between it and us."""
        return ip_address(self.host).is_loopback

    @classmethod
    def parse(cls, text: str) -> NameServer:
        """Of "192.0.2.1", "192.0.2.1:5353", "2001:db8::1" or "[2001:db8::1]:5353". Raises: BadServer."""
        match = _SERVER.fullmatch(text)
        try:
            if match is None:
                raise ValueError
            address = ip_address(match[1] or match[3] or match[5])
        except ValueError:
            raise BadServer(f"expected an IP address as 127.0.0.1 or [::1]:53, not {text}") from None
        port = int(match[2] or match[4] or DNS_PORT)
        if not 0 < port <= MAX_PORT:
            raise BadServer(f"expected a port from 1 to {MAX_PORT}, not {port}")
        return cls(str(address), port)


# --- answers --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What all answers have."""

    name: str
    """Where the records are: the name that was asked for, or to which its aliases (CNAME) have led."""
    authenticated: bool = False
    """The whole answer, with the aliases on the way, was validated by DNSSEC by a resolver that we trust (AD, RFC 4035
    §3.2.3)."""
    ttl: int = 0
    """Seconds for which it still holds."""
    server: str = ""
    """Who has answered, as "127.0.0.1:53"."""


@dataclass(frozen=True, slots=True, order=True)
class Mx:
    """A mail exchanger (RFC 1035 §3.3.9). The lowest preference is tried first."""

    preference: int
    host: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MxAnswer(Answer):
    """Ordered by preference. Those of one preference are to be tried in an order that who sends leaves to chance
    (RFC 5321 §5.1)."""

    records: tuple[Mx, ...]
    left_out: int = 0
    """So many more there were than a domain may have; those with the highest preferences are left out."""

    @property
    def is_null(self) -> bool:
        """The domain accepts no mail (RFC 7505 §3)."""
        return len(self.records) == 1 and self.records[0].host == ROOT


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressAnswer(Answer):
    """IP addresses of a host as text, of the families that were asked for."""

    ipv4: tuple[str, ...] = ()
    ipv6: tuple[str, ...] = ()
    missing: str = ""
    """Why one family could not be looked up, though the other has addresses; "" when both are known. Then nothing is
    authenticated (RFC 7672 §2.2.2)."""

    @property
    def records(self) -> tuple[str, ...]:
        """All of them, IPv6 first."""
        return self.ipv6 + self.ipv4


@dataclass(frozen=True, slots=True, kw_only=True)
class TxtAnswer(Answer):
    """The strings of each record are joined, with nothing between them (RFC 7208 §3.3, RFC 6376 §3.6.2.2)."""

    records: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NamesAnswer(Answer):
    """Names, of PTR or CNAME records."""

    records: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tlsa:
    """What a TLS server's certificate has to match (RFC 6698 §2.1)."""

    usage: int
    selector: int
    matching_type: int
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsaAnswer(Answer):
    """Without `authenticated` these records mean nothing (RFC 6698 §4.1)."""

    records: tuple[Tlsa, ...]


# --- no answers -----------------------------------------------------------------------------


class LookupFailed(Exception):
    """There is no answer. `name` is what was asked for, `why` is for the log and for people."""

    what: ClassVar[str] = "no answer"

    def __init__(self, name: str, why: str = "") -> None:
        super().__init__(f"{name}: {self.what}: {why}" if why else f"{name}: {self.what}")
        self.name = name
        self.why = why


class NoRecords(LookupFailed):
    """There are no such records. `authenticated` and `ttl` (RFC 2308 §5) as in an Answer; `at` is the name that has
    none, when aliases have led to it."""

    def __init__(
        self, name: str, why: str = "", *, authenticated: bool = False, ttl: int = 0, at: str = "", server: str = ""
    ) -> None:
        super().__init__(name, why)
        self.authenticated = authenticated
        self.ttl = ttl
        self.at = at or name
        self.server = server


class NoSuchName(NoRecords):
    """The name does not exist, and nothing below it (RFC 8020)."""

    what = "no such name"


class NoData(NoRecords):
    """The name exists and has no such records."""

    what = "no such records"


class TemporaryFailure(LookupFailed):
    """Whether there are records is not known now."""

    what = "cannot be looked up now"


class BadName(LookupFailed):
    """There can be no such name."""

    what = "not a domain name"


# --- the port -------------------------------------------------------------------------------


class Resolver(Protocol):
    """DNS. An answer has at least one record; every coroutine may raise each LookupFailed."""

    async def mx(self, domain: str) -> MxAnswer:
        """Mail exchangers. NoData is not the end: then the domain itself is the exchanger (RFC 5321 §5.1)."""

    async def addresses(self, host: str, *, ipv4: bool = True, ipv6: bool = True) -> AddressAnswer:
        """A and AAAA records. Raises TemporaryFailure when there are none of one family and it is not known whether
        there are of the other."""

    async def txt(self, name: str) -> TxtAnswer: ...

    async def ptr(self, address: str) -> NamesAnswer:
        """The names of an IP address. Raises BadName for what is none."""

    async def tlsa(self, name: str) -> TlsaAnswer:
        """As of "_25._tcp.mx.example.org"."""

    async def cname(self, name: str) -> NamesAnswer:
        """Whether this very name is an alias, which `authenticated` is about (RFC 7672 §2.2.2). The other coroutines
        follow aliases by themselves."""
