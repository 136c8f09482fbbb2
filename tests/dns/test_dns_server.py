"""The DNS server for tests, asked by dnspython."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import dns.flags
import dns.message
import dns.query
import dns.rcode
import pytest

from mailstack.testing.dns_server import DnsServer, Fault
from mailstack.testing.zones import Zone

LIMIT = 5.0


@pytest.fixture
def server() -> Iterator[DnsServer]:
    zones: Zone = {
        "example.org": {
            "MX": [(20, "b.example.org"), (10, "a.example.org")],
            "TXT": [b"\x00\xff", ("two ", "parts"), ""],
        },
        "*.wild.example": {"A": "192.0.2.7"},
        "www.example.org": {"CNAME": "example.org"},
        "192.0.2.1": {"PTR": "a.example.org"},
        "big.example": {"TXT": [f"{number}" * 250 for number in range(9)]},
        "silent.example": Fault.TIMEOUT,
        "bogus.example": Fault.BOGUS,
    }
    with DnsServer(zones, signed=["example.org"], ttl=77) as running:
        yield running


def udp(server: DnsServer, name: str, rdtype: str, **options: object) -> dns.message.Message:
    query = dns.message.make_query(name, rdtype, **options)  # type: ignore[arg-type]  # as the tests say
    return dns.query.udp(query, server.host, port=server.port, timeout=LIMIT)


def texts(message: dns.message.Message) -> list[str]:
    return [f"{rrset.name} {rrset.ttl} {rdata}".lower() for rrset in message.answer for rdata in rrset]


def test_records_come_in_the_order_of_the_zone(server: DnsServer) -> None:
    message = udp(server, "Example.ORG", "MX")
    assert texts(message) == ["example.org. 77 20 b.example.org.", "example.org. 77 10 a.example.org."]
    assert message.flags & dns.flags.RA and not message.flags & dns.flags.AA
    assert [rdata.strings for rdata in udp(server, "example.org", "TXT").answer[0]] == [
        (b"\x00\xff",), (b"two ", b"parts"), (b"",),
    ]  # fmt: skip
    assert texts(udp(server, "1.2.0.192.in-addr.arpa", "PTR")) == ["1.2.0.192.in-addr.arpa. 77 a.example.org."]
    assert [rrset.rdtype.name for rrset in udp(server, "www.example.org", "MX").answer] == ["CNAME", "MX"]
    assert server.asked("example.org.", "MX") == 1 and server.asked("EXAMPLE.org") == 2


@pytest.mark.parametrize(
    ("name", "rcode"),
    [("gone.example.org", "NXDOMAIN"), ("example", "NOERROR"), ("org", "NOERROR"), ("a.b.wild.example", "NOERROR"),
     ("wild.example", "NOERROR"), ("test", "NXDOMAIN")],
)  # fmt: skip
def test_names_and_what_is_between_them(server: DnsServer, name: str, rcode: str) -> None:
    message = udp(server, name, "A")
    assert dns.rcode.to_text(message.rcode()) == rcode
    assert bool(message.answer) is name.startswith("a.b.")
    assert [rrset.rdtype.name for rrset in message.authority] == ([] if message.answer else ["SOA"])


def test_the_ad_bit_is_for_who_asks_for_it(server: DnsServer) -> None:
    asks: tuple[dict[str, object], ...] = ({"want_dnssec": True}, {"flags": dns.flags.RD | dns.flags.AD}, {})
    assert [bool(udp(server, "example.org", "MX", **ask).flags & dns.flags.AD) for ask in asks] == [True, True, False]
    assert not udp(server, "a.wild.example", "A", want_dnssec=True).flags & dns.flags.AD
    assert udp(server, "gone.example.org", "A", want_dnssec=True).flags & dns.flags.AD


def test_what_is_too_long_is_cut_and_whole_by_tcp(server: DnsServer) -> None:
    cut = udp(server, "big.example", "TXT", use_edns=0, payload=1232)
    assert cut.flags & dns.flags.TC and not cut.answer
    assert not udp(server, "big.example", "TXT", use_edns=0, payload=4096).flags & dns.flags.TC
    query = dns.message.make_query("big.example", "TXT")
    with socket.create_connection((server.host, server.port), timeout=LIMIT) as connection:
        for _ in range(2):  # on one connection (RFC 7766 §6.2.1)
            dns.query.send_tcp(connection, query)
            reply, _ = dns.query.receive_tcp(connection)
            assert len(reply.answer[0]) == 9
    assert [each.transport for each in server.questions] == ["udp", "udp", "tcp", "tcp"]


def test_faults(server: DnsServer) -> None:
    bogus = udp(server, "bogus.example", "A", use_edns=0)
    assert bogus.rcode() == dns.rcode.SERVFAIL
    assert [option.to_text() for option in bogus.options] == ["EDE 6 (DNSSEC Bogus)"]
    query = dns.message.make_query("silent.example", "A")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(LIMIT)
        client.connect((server.host, server.port))
        for octets in (b"", b"rubbish", query.to_wire()):
            client.send(octets)
        client.send(dns.message.make_query("example.org", "MX", id=7).to_wire())
        assert dns.message.from_wire(client.recv(4096)).id == 7, "the first three had no reply"
    server.zones["silent.example"] = {"A": "192.0.2.1"}
    assert udp(server, "silent.example", "A").answer
    del server.zones["silent.example"]
    assert udp(server, "silent.example", "A").rcode() == dns.rcode.NXDOMAIN


def test_a_server_ends_and_begins_again() -> None:
    server = DnsServer({"example.org": {"A": "192.0.2.1"}})
    server.start()
    assert udp(server, "example.org", "A").answer
    server.stop()
    server.stop()
    with DnsServer(server.zones, port=server.port) as again:
        assert again.address == server.address
        assert udp(again, "example.org", "A").answer
