"""Queries to octets, and replies to what of them matters (RFC 1035 §4.1, RFC 6891). Pure.

A reply of 64 KiB may hold thousands of records. They are walked over here, and only those are decoded that somebody
wants: to make objects of all, as `dns.message` does, takes a tenth of a second and more.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
from dns.rdatatype import RdataType

UDP_PAYLOAD = 1232
"""Octets of a reply that we take by UDP: no path has to fragment it (DNS Flag Day 2020)."""
MAX_RECORDS = 2000
"""Records of a reply that are looked at; nobody's mail needs one that has more."""
_HEADER = struct.Struct("!HHHHHH")
_RECORD = struct.Struct("!HHIH")
_QUESTION = struct.Struct("!HH")
_POINTER = 0xC0
_HIGHEST_TTL = 2**31 - 1
"""Seconds; what is above is to be taken for 0 (RFC 2181 §8)."""


class Garbled(Exception):
    """Octets that are no reply, or one that contradicts itself."""


@dataclass(frozen=True, slots=True)
class Question:
    """`name` as `names.domain_name` makes it."""

    name: str
    rdtype: RdataType

    def __str__(self) -> str:
        return f"{self.name} {self.rdtype.name}"


@dataclass(frozen=True, slots=True)
class Query:
    """A question on its way: `name` is in the letters' cases that a reply has to repeat."""

    id: int
    name: dns.name.Name
    rdtype: RdataType
    octets: bytes


@dataclass(frozen=True, slots=True)
class Record:
    """One record, its data still octets [start, start+length) of the reply."""

    owner: dns.name.Name
    rdtype: int
    ttl: int
    start: int
    length: int


@dataclass(slots=True)
class Reply:
    """A reply, as far as it was asked about."""

    octets: bytes
    flags: int
    rcode: dns.rcode.Rcode
    answer: list[Record] = field(default_factory=list)
    authority: list[Record] = field(default_factory=list)
    explanation: str = ""
    """Why there is no answer, in the words of RFC 8914."""

    @property
    def is_truncated(self) -> bool:
        return bool(self.flags & dns.flags.TC)

    @property
    def is_authenticated(self) -> bool:
        """The AD bit, as the server says."""
        return bool(self.flags & dns.flags.AD)

    @property
    def error(self) -> str:
        """The RCODE and what explains it."""
        return f"{self.rcode.name} ({self.explanation})" if self.explanation else self.rcode.name


def query(question: Question, id: int, upper: int, *, authenticate: bool, edns: bool = True) -> Query:
    """A query for a recursive server. Bit i of `upper` makes a capital of octet i of the name, where it is a letter: a
    forged reply has to guess that, too. `authenticate` asks for the AD bit (RFC 6840 §5.7)."""
    name = wire_name("".join(
        letter.upper() if upper >> index & 1 else letter for index, letter in enumerate(question.name)
    ))  # fmt: skip
    flags = dns.flags.RD | (dns.flags.AD if authenticate else 0)
    message = dns.message.make_query(
        name, question.rdtype, id=id, flags=flags, use_edns=0 if edns else False, payload=UDP_PAYLOAD
    )
    return Query(id, name, question.rdtype, message.to_wire())


def wire_name(text: str) -> dns.name.Name:
    """A name as `names.domain_name` makes it, for the wire."""
    return dns.name.Name([*(label.encode("ascii") for label in text.split(".") if label), b""])


def read(octets: bytes, asked: Query, *, exact: bool) -> Reply | None:
    """The reply to `asked`; None if these octets are none: another id, another question, no reply at all. With `exact`
    the name must be in the same cases, or Recased is raised. Raises: Garbled, Recased."""
    if len(octets) < _HEADER.size:
        return None
    id, flags, questions, answers, authorities, additional = _HEADER.unpack_from(octets)
    is_reply = flags & dns.flags.QR and dns.opcode.from_flags(flags) == dns.opcode.QUERY
    if id != asked.id or not is_reply:
        return None
    reply = Reply(octets, flags, dns.rcode.from_flags(flags, 0))
    if questions == 0 and reply.rcode not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        return reply  # a server that could not even read the question
    try:
        at = _same_question(octets, asked, questions, exact=exact)
        if at is None:
            return None
        if not reply.is_truncated:
            _records(reply, at, (answers, authorities, additional), asked)
    except (struct.error, IndexError, ValueError, dns.exception.DNSException) as error:
        raise Garbled(str(error) or type(error).__name__) from None
    return reply


class Recased(Exception):
    """A reply whose question is ours, but for the cases of its letters: a forgery, or of a server that does not
    keep them."""


def _same_question(octets: bytes, asked: Query, questions: int, *, exact: bool) -> int | None:
    """Where the records begin; None if it is not this question."""
    if questions != 1:
        return None
    name, used = dns.name.from_wire(octets, _HEADER.size)
    at = _HEADER.size + used
    if name != asked.name or _QUESTION.unpack_from(octets, at) != (asked.rdtype, dns.rdataclass.IN):
        return None
    if exact and name.labels != asked.name.labels:
        raise Recased
    return at + _QUESTION.size


def _records(reply: Reply, at: int, counts: tuple[int, int, int], asked: Query) -> None:
    answers, authorities, additional = counts
    wanted = (int(asked.rdtype), int(RdataType.CNAME))
    names: dict[int, dns.name.Name] = {}
    for index, (start, rdtype, rdclass, ttl, data, length) in enumerate(
        _walk(reply.octets, at, answers + authorities + additional)
    ):
        in_answer, in_authority = index < answers, answers <= index < answers + authorities
        if rdtype == RdataType.OPT and not in_answer and not in_authority:
            _options(reply, ttl, data, length)
        elif rdclass == dns.rdataclass.IN and (in_answer and rdtype in wanted or in_authority and rdtype == _SOA):
            record = Record(
                _name(reply.octets, start, names), rdtype, ttl if ttl <= _HIGHEST_TTL else 0, data, length
            )  # fmt: skip
            (reply.answer if in_answer else reply.authority).append(record)
            if len(reply.answer) + len(reply.authority) > MAX_RECORDS:
                raise Garbled("too many records")


_SOA = int(RdataType.SOA)


def _walk(octets: bytes, at: int, count: int) -> Iterator[tuple[int, int, int, int, int, int]]:
    """Of each record where it is, type, class, ttl, where its data are, and their length."""
    for _ in range(count):
        start = at
        while (length := octets[at]) and length < _POINTER:
            at += length + 1
        at += 2 if length else 1
        rdtype, rdclass, ttl, size = _RECORD.unpack_from(octets, at)
        at += _RECORD.size
        if at + size > len(octets):
            raise Garbled("a record goes beyond the end")
        yield start, rdtype, rdclass, ttl, at, size
        at += size


def _name(octets: bytes, at: int, known: dict[int, dns.name.Name]) -> dns.name.Name:
    """The name at an octet. Most are nothing but a pointer, and the same."""
    key = int.from_bytes(octets[at : at + 2]) & 0x3FFF if octets[at] >= _POINTER else at
    name = known.get(key)
    if name is None:
        name = known[key] = dns.name.from_wire(octets, at)[0]
    return name


def _options(reply: Reply, ttl: int, at: int, length: int) -> None:
    reply.rcode = dns.rcode.from_flags(reply.flags, ttl)
    end = at + length
    while at + 4 <= end:
        code, size = _QUESTION.unpack_from(reply.octets, at)
        if code == dns.edns.OptionType.EDE and size >= 2 and at + 4 + size <= end:
            reply.explanation = _explained(reply.octets[at + 4 : at + 4 + size])
        at += 4 + size


def _explained(octets: bytes) -> str:
    """An Extended DNS Error (RFC 8914 §2): a code, and text for people."""
    code = int.from_bytes(octets[:2])
    try:
        name = dns.edns.EDECode(code).name.replace("_", " ").lower()
    except ValueError:
        name = f"error {code}"
    text = octets[2:].rstrip(b"\0").decode("utf-8", "replace")
    shown = "".join(character for character in text if character.isprintable())[:100]
    return f"{name}: {shown}" if shown else name
