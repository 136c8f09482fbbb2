"""Queries and replies as octets, and what replies say."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable

import dns.message
import dns.name
import dns.rcode
import dns.rrset
import pytest
from dns.rdatatype import RdataType
from hypothesis import given, settings
from hypothesis import strategies as st

from mailstack.dns.outcomes import MAX_ALIASES, NOTHING_CACHED, Failed, Found, Nothing, Onward, Outcome, outcome
from mailstack.dns.wire import MAX_RECORDS, Garbled, Query, Question, Recased, query, read
from mailstack.names import Mx

MX = Question("example.org", RdataType.MX)
ASKED = query(MX, 4711, 0b101, authenticate=True)


def reply(
    question: Question = MX,
    answer: Iterable[str] = (),
    authority: Iterable[str] = (),
    *,
    rcode: str = "NOERROR",
    flags: str = "QR RD RA",
) -> bytes:
    """Octets of a reply; records are lines of a zone file."""
    message = dns.message.make_response(dns.message.from_wire(query(question, 4711, 0, authenticate=False).octets))
    for lines, section in ((answer, message.answer), (authority, message.authority)):
        for line in lines:
            name, ttl, rdtype, data = line.split(" ", 3)
            section.append(dns.rrset.from_text(name, int(ttl), "IN", rdtype, data))
    message.flags = dns.flags.from_text(flags)
    message.set_rcode(dns.rcode.from_text(rcode))
    return message.to_wire(max_size=65535)


def says(octets: bytes, question: Question = MX, *, trusted: bool = True) -> Outcome | Onward:
    found = read(octets, query(question, 4711, 0, authenticate=False), exact=True)
    assert found is not None
    return outcome(found, question, trusted=trusted)


def test_a_query() -> None:
    message = dns.message.from_wire(ASKED.octets)
    assert message.id == 4711
    assert message.question[0].name.labels == (b"ExAmple", b"org", b"")
    assert (message.edns, message.payload, message.flags) == (0, 1232, 0x0120)  # RD, AD
    plain = dns.message.from_wire(query(MX, 1, 0, authenticate=False, edns=False).octets)
    assert (plain.edns, plain.flags) == (-1, 0x0100)


def test_an_odd_name_is_asked_for_as_it_is() -> None:
    asked = query(Question("@", RdataType.A), 1, 0, authenticate=False)
    assert dns.message.from_wire(asked.octets).question[0].name.labels == (b"@", b"")


def recased(octets: bytes) -> bytes:
    return octets.replace(b"ExAmple", b"exaMple")


RIGHT = ASKED.octets[:2] + b"\x81\x80\0\1\0\0\0\0\0\0" + ASKED.octets[12:29]


@pytest.mark.parametrize(
    "octets",
    [b"", RIGHT[:11], b"\0\0" + RIGHT[2:], RIGHT[:2] + b"\x01" + RIGHT[3:], RIGHT[:2] + b"\xa1" + RIGHT[3:],
     RIGHT[:5] + b"\2" + RIGHT[6:], RIGHT[:5] + b"\0" + RIGHT[6:], RIGHT.replace(b"org", b"com"),
     RIGHT[:-4] + b"\0\1\0\1", RIGHT[:-4] + b"\0\x0f\0\3"],
    ids=["nothing", "short", "id", "query", "opcode", "two questions", "no question", "name", "type", "class"],
)  # fmt: skip
def test_what_is_no_reply_to_this(octets: bytes) -> None:
    assert read(RIGHT, ASKED, exact=True) is not None
    assert read(octets, ASKED, exact=True) is None


def test_cases_count_where_they_must() -> None:
    with pytest.raises(Recased):
        read(recased(RIGHT), ASKED, exact=True)
    assert read(recased(RIGHT), ASKED, exact=False) is not None


def test_an_error_may_be_without_the_question() -> None:
    octets = RIGHT[:3] + b"\x81\0\0" + RIGHT[6:12]  # FORMERR
    found = read(octets, ASKED, exact=True)
    assert found is not None and found.error == "FORMERR"


def test_records_in_their_order_and_once() -> None:
    found = says(
        reply(answer=["example.org. 300 MX 20 b.", "EXAMPLE.org. 200 MX 10 A.b.", "example.org. 400 MX 20 B."])
    )
    assert found == Found("example.org", (Mx(10, "a.b"), Mx(20, "b")), 200)


def test_records_of_others_do_not_count() -> None:
    octets = reply(answer=["example.com. 300 MX 1 evil.", "example.org. 300 A 192.0.2.1"])
    assert says(octets) == Nothing("example.org", True, NOTHING_CACHED)
    octets = reply(authority=["example.com. 300 SOA a. b. 1 2 3 4 60"], rcode="NXDOMAIN")
    assert says(octets) == Nothing("example.org", False, NOTHING_CACHED), "a SOA record of somebody else's"


@pytest.mark.parametrize(("ttl", "minimum", "left"), [(300, 60, 60), (30, 60, 30), (2**31, 60, 0)])
def test_how_long_nothing_holds(ttl: int, minimum: int, left: int) -> None:
    soa = f"org. {ttl} SOA a. b. 1 2 3 4 {minimum}"
    octets = reply(authority=[soa.replace(str(2**31), "1")], rcode="NXDOMAIN", flags="QR AD")
    if ttl == 2**31:
        octets = octets.replace(struct.pack("!HHI", 6, 1, 1), struct.pack("!HHI", 6, 1, 2**31))
    assert says(octets) == Nothing("example.org", False, left, authenticated=True)


def test_only_a_trusted_server_authenticates() -> None:
    octets = reply(answer=["example.org. 300 MX 20 b."], flags="QR AD")
    assert [getattr(says(octets, trusted=trusted), "authenticated", None) for trusted in (True, False)] == [True, False]
    unsure = says(reply(answer=["example.org. 300 MX 20 b."], flags="QR"))
    assert isinstance(unsure, Found) and not unsure.authenticated


def test_aliases() -> None:
    chain = ["example.org. 300 CNAME a.", "a. 100 CNAME b."]
    assert says(reply(answer=[*chain, "b. 200 MX 1 c."])) == Found("b", (Mx(1, "c"),), 100)
    assert says(reply(answer=reversed([*chain, "b. 200 MX 1 c."]))) == Found("b", (Mx(1, "c"),), 100)
    assert says(reply(answer=chain)) == Onward("b", 100, False)
    assert says(reply(answer=chain, authority=["b. 9 SOA a. b. 1 2 3 4 50"])) == Nothing("b", True, 9)
    assert says(reply(answer=chain, rcode="NXDOMAIN")) == Nothing("b", False, NOTHING_CACHED)
    alias = Question("example.org", RdataType.CNAME)
    assert says(reply(alias, answer=chain), alias) == Found("example.org", ("a",), 300)


def test_aliases_have_an_end() -> None:
    circle = ["example.org. 300 CNAME a.", "a. 300 CNAME example.org."]
    assert isinstance(says(reply(answer=circle)), Failed)
    long = [
        "example.org. 300 CNAME n0.",
        *(f"n{number}. 300 CNAME n{number + 1}." for number in range(MAX_ALIASES - 1)),
    ]
    last = f"n{MAX_ALIASES - 1}. 300 MX 1 mx."
    assert isinstance(says(reply(answer=[*long, last])), Found)
    too_long = [*long, f"n{MAX_ALIASES - 1}. 300 CNAME n{MAX_ALIASES}.", f"n{MAX_ALIASES}. 300 MX 1 mx."]
    assert isinstance(says(reply(answer=too_long)), Failed)


def test_records_that_cannot_be_read() -> None:
    octets = reply(answer=["example.org. 300 MX 20 b."])
    with pytest.raises(Garbled):
        says(octets[:-3])
    cut = octets.replace(b"\0\x05\0\x14\x01b\0", b"\0\x01\0")
    with pytest.raises(Garbled):
        says(cut)


def hostile(count: int, record: bytes, name: bytes = b"\x07example\x03org\0") -> bytes:
    question = name + struct.pack("!HH", 15, 1)
    return struct.pack("!HHHHHH", 4711, 0x8180, 1, count, 0, 0) + question + record * count


def test_a_reply_full_of_records_costs_little() -> None:
    """65,000 octets: dnspython takes half a second and more for them, a millisecond each for every 5 of these."""
    others = hostile(5000, b"\xc0\x0c" + struct.pack("!HHIHB", 1000, 1, 1, 1, 7))
    mine = hostile(4000, b"\xc0\x0c" + struct.pack("!HHIHHB", 15, 1, 1, 3, 10, 0))
    begun = time.process_time()
    assert isinstance(says(others), Nothing)
    with pytest.raises(Garbled, match="too many"):
        says(mine)
    assert isinstance(says(hostile(MAX_RECORDS, b"\xc0\x0c" + struct.pack("!HHIHHB", 15, 1, 1, 3, 10, 0))), Found)
    assert time.process_time() - begun < 0.2


@settings(max_examples=60)
@given(st.data())
def test_damaged_octets_are_no_reply_or_garbled(data: st.DataObject) -> None:
    asked: Query = query(MX, 4711, 0, authenticate=False)
    octets = bytearray(
        reply(answer=["example.org. 300 CNAME a.", "a. 300 MX 10 mx.a."], authority=["a. 9 SOA a. b. 1 2 3 4 5"])
    )
    for _ in range(data.draw(st.integers(1, 4))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    del octets[data.draw(st.integers(0, len(octets))) :]
    try:
        found = read(bytes(octets), asked, exact=True)
        if found is not None and not found.is_truncated:
            outcome(found, MX, trusted=True)
    except (Garbled, Recased):
        pass
