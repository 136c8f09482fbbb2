"""DNS records for tests in a few lines, for `names.FakeResolver` and the server of `dns_server`.

    zones = Zones(
        {
            "example.org": {"MX": [(10, "mx.example.org")], "TXT": ["v=spf1 mx -all"]},
            "mx.example.org": {"A": ["192.0.2.1"], "AAAA": ["2001:db8::1"]},
            "_25._tcp.mx.example.org": {"TLSA": [(3, 1, 1, "00" * 32)]},
            "www.example.org": {"CNAME": "example.org"},
            "nomail.example": {"MX": [(0, ".")]},
            "*.wild.example": {"A": ["192.0.2.7"]},
            "192.0.2.1": {"PTR": ["mx.example.org"]},
            "broken.example": Fault.SERVFAIL,
            "half.example": {"A": ["192.0.2.2"], "AAAA": Fault.TIMEOUT},
        },
        signed=["example.org"],
    )

Every name that is not there does not exist, unless there is one below it. Records are as in a zone file: text, or a
tuple of its fields; one that stands alone needs no list. A name that is an IP address is that of its PTR record.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_address

from mailstack.mail.address import ascii_domain


class Fault(Enum):
    """What a server does instead of an answer. A FakeResolver fails of each, and immediately."""

    SERVFAIL = "SERVFAIL"
    REFUSED = "REFUSED"
    TIMEOUT = "timeout"
    """No reply."""
    BOGUS = "bogus"
    """SERVFAIL, as of a validating resolver when a signature is wrong (RFC 4035 §5.5), with RFC 8914's code for it."""
    TRUNCATED = "truncated"
    """Nothing but the TC bit (RFC 1035 §4.2.1)."""
    GARBAGE = "garbage"
    """A reply that cannot be read."""
    WRONG_ID = "wrong id"
    WRONG_QUESTION = "wrong question"
    QUERY = "query"
    """A query instead of a reply."""


Field = str | int | bytes
Record = Field | tuple[Field, ...]
Records = Record | Sequence[Record] | Fault
Zone = Mapping[str, Mapping[str, Records] | Fault]
MAX_ALIASES = 16


@dataclass(frozen=True, slots=True)
class Found:
    """What is at a name: its records of one type, as tuples of fields; the names of `aliases` have led there."""

    name: str
    exists: bool
    records: tuple[tuple[Field, ...], ...] = ()
    fault: Fault | None = None
    aliases: tuple[tuple[str, str], ...] = ()


class Zones:
    """All there is. Names may be added and changed at any time: `zones["example.org"] = {...}`."""

    def __init__(self, zone: Zone | None = None, *, signed: Collection[str] = (), ttl: int = 300) -> None:
        self.signed = tuple(owner(name) for name in signed)
        """Names at and below which answers are authenticated; "." is all."""
        self.ttl = ttl
        self._names: dict[str, Mapping[str, Records] | Fault] = {}
        for name, records in (zone or {}).items():
            self[name] = records

    def __setitem__(self, name: str, records: Mapping[str, Records] | Fault) -> None:
        self._names[owner(name)] = records

    def add(self, name: str, rdtype: str, record: Record) -> None:
        """One record more."""
        here = self._names.get(owner(name), {})
        assert not isinstance(here, Fault), f"{name} has a fault, and no records"
        self[name] = {**here, rdtype: [*_as_records(here.get(rdtype, ())), record]}

    def __getitem__(self, name: str) -> Mapping[str, Records] | Fault:
        return self._names[owner(name)]

    def __delitem__(self, name: str) -> None:
        del self._names[owner(name)]

    def is_signed(self, *names: str) -> bool:
        """Whether what is said of all these names is authenticated."""
        return all(any(_is_below(name, apex) for apex in self.signed) for name in names)

    def find(self, name: str, rdtype: str) -> Found:
        """What a question for `name` and the type finds, aliases followed."""
        at, aliases = owner(name), list[tuple[str, str]]()
        while True:
            here = self._at(at)
            if here is None:
                return Found(at, exists=self._has_below(at), aliases=tuple(aliases))
            if isinstance(here, Fault):
                return Found(at, exists=True, fault=here, aliases=tuple(aliases))
            found = here.get(rdtype, ())
            if isinstance(found, Fault):
                return Found(at, exists=True, fault=found, aliases=tuple(aliases))
            target = here.get("CNAME")
            if target is None or rdtype == "CNAME" or isinstance(target, Fault) or len(aliases) == MAX_ALIASES:
                return Found(at, exists=True, records=_as_records(found), aliases=tuple(aliases))
            ((to,),) = _as_records(target)
            aliases.append((at, owner(str(to))))
            at = aliases[-1][1]

    def _at(self, name: str) -> Mapping[str, Records] | Fault | None:
        if name in self._names:
            return self._names[name]
        if self._has_below(name):
            return None
        labels = name.split(".")
        for start in range(1, len(labels)):  # RFC 4592 §3.3.1: the closest encloser's asterisk
            encloser = ".".join(labels[start:])
            wild = self._names.get(f"*.{encloser}")
            if wild is not None or encloser in self._names or self._has_below(encloser):
                return wild
        return None

    def _has_below(self, name: str) -> bool:
        return any(other.endswith(f".{name}") for other in self._names)


def owner(name: str) -> str:
    """A name as keys are: in lower case, without the dot at its end; of an IP address its reverse name."""
    try:
        return ip_address(name).reverse_pointer
    except ValueError:
        return ascii_domain(name).removesuffix(".") or "."


def _is_below(name: str, apex: str) -> bool:
    return apex == "." or name == apex or name.endswith(f".{apex}")


def _as_records(records: Records) -> tuple[tuple[Field, ...], ...]:
    assert not isinstance(records, Fault)
    if isinstance(records, (str, int, bytes, tuple)) and not (
        isinstance(records, tuple) and (not records or isinstance(records[0], tuple))
    ):
        records = [records]
    return tuple(record if isinstance(record, tuple) else (record,) for record in records)
