"""What a reply says about a question: records, that there are none, or where to go on. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import dns.exception
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
from dns.rdatatype import RdataType

from mailstack.dns.wire import Garbled, Question, Record, Reply, wire_name
from mailstack.names import Mx, Tlsa

MAX_ALIASES = 10
"""CNAMEs between a name and its records; RFC 1034 §3.6.2 wants none of them to lead to another."""
MAX_MX = 100
"""Mail exchangers of a domain that are kept, those of the lowest preferences. Nobody would try more."""
MAX_KEPT = 200
"""Records of other types that are kept, but for TXT, where one left out might be the one that matters."""
NOTHING_CACHED = 0


@dataclass(frozen=True, slots=True)
class Found:
    """Records, as values of `names`."""

    name: str
    records: tuple[Any, ...]
    ttl: int
    authenticated: bool = False
    left_out: int = 0
    server: str = ""


@dataclass(frozen=True, slots=True)
class Nothing:
    """No records, as `name` has none. `ttl` is NOTHING_CACHED where the server does not say how long that holds."""

    name: str
    exists: bool
    ttl: int
    authenticated: bool = False
    server: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """It could not be found out."""

    why: str
    ttl: int = 0
    server: str = ""


@dataclass(frozen=True, slots=True)
class Onward:
    """Aliases have led to `name`, about which the reply says no more."""

    name: str
    ttl: int
    authenticated: bool


Outcome = Found | Nothing | Failed


def outcome(reply: Reply, question: Question, *, trusted: bool) -> Outcome | Onward:
    """What the reply says. Only records of names that the aliases lead to count; `trusted` is whether the server's AD
    bit does. Raises: Garbled."""
    authenticated = trusted and reply.is_authenticated
    try:
        at, ttl = wire_name(question.name), 2**31
        targets = {} if question.rdtype == RdataType.CNAME else _aliases(reply)
        for _ in range(MAX_ALIASES):
            if at not in targets:
                break
            at, seconds = targets[at]
            ttl = min(ttl, seconds)
        else:
            if at in targets:
                return Failed("too many aliases, or they go in a circle")
        there = [each for each in reply.answer if each.rdtype == question.rdtype and each.owner == at]
        if there and reply.rcode == dns.rcode.NOERROR:
            ttl = min(ttl, *(each.ttl for each in there))
            kept = _kept(reply.octets, there, question.rdtype)
            records = _decoded(reply.octets, kept, question.rdtype)
            return Found(name_text(at), records, ttl, authenticated, len(there) - len(kept))
        return _nothing(reply, question, at, ttl, authenticated)
    except (dns.exception.DNSException, ValueError) as error:
        raise Garbled(str(error) or type(error).__name__) from None


def _aliases(reply: Reply) -> dict[dns.name.Name, tuple[dns.name.Name, int]]:
    return {
        each.owner: (_rdata(reply.octets, each).target, each.ttl)
        for each in reply.answer
        if each.rdtype == RdataType.CNAME
    }


def _nothing(
    reply: Reply, question: Question, at: dns.name.Name, ttl: int, authenticated: bool
) -> Nothing | Onward:  # fmt: skip
    """RFC 2308 §2, §5: the RCODE is about the last name; the SOA record says for how long."""
    name, exists = name_text(at), reply.rcode == dns.rcode.NOERROR
    soas = [each for each in reply.authority if at.is_subdomain(each.owner)]
    if exists and not soas and name != question.name:
        return Onward(name, ttl, authenticated)
    if not soas:
        return Nothing(name, exists, NOTHING_CACHED, authenticated)
    soa = _rdata(reply.octets, soas[0])
    return Nothing(name, exists, min(ttl, soas[0].ttl, soa.minimum), authenticated)


def _kept(octets: bytes, records: Sequence[Record], rdtype: RdataType) -> Sequence[Record]:
    if rdtype == RdataType.TXT:
        return records
    if rdtype != RdataType.MX:
        return records[:MAX_KEPT]
    return heapq.nsmallest(MAX_MX, records, key=lambda each: octets[each.start : each.start + 2])


def _decoded(octets: bytes, records: Sequence[Record], rdtype: RdataType) -> tuple[Any, ...]:
    """Values, each once (RFC 2181 §5)."""
    read = _VALUES[rdtype]
    values = tuple(dict.fromkeys(read(_rdata(octets, each)) for each in records))
    return tuple(sorted(values)) if rdtype == RdataType.MX else values


def _rdata(octets: bytes, record: Record) -> Any:
    return dns.rdata.from_wire(dns.rdataclass.IN, RdataType.make(record.rdtype), octets, record.start, record.length)


def name_text(name: dns.name.Name) -> str:
    """As in answers: lower case, no dot at its end, "." for the root. Octets that no host name has stay escaped, so
    that it is not a `domain_name` any more."""
    return name.to_text(omit_final_dot=True).lower()


_VALUES: dict[RdataType, Callable[[Any], Any]] = {
    RdataType.MX: lambda rdata: Mx(rdata.preference, name_text(rdata.exchange)),
    RdataType.A: lambda rdata: str(IPv4Address(rdata.address)),
    RdataType.AAAA: lambda rdata: str(IPv6Address(rdata.address)),
    RdataType.TXT: lambda rdata: b"".join(rdata.strings),
    RdataType.PTR: lambda rdata: name_text(rdata.target),
    RdataType.CNAME: lambda rdata: name_text(rdata.target),
    RdataType.TLSA: lambda rdata: Tlsa(rdata.usage, rdata.selector, rdata.mtype, rdata.cert),
}
