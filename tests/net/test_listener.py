"""Who may connect: PROXY headers from balancers that are trusted, and how many from one address."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from mailstack.net.listener import PROXY_HEADER_TIME, Admission, Listener, Network, Refusal, Service, connection_ids
from mailstack.net.wire_protocol import WireProtocol
from mailstack.observe.metrics import Counts
from mailstack.testing.log import RecordingLog

HEADER = b"PROXY TCP4 203.0.113.7 192.0.2.25 40000 25\r\n"


class Greeting:
    """Says who it takes the client for, then what it hears, until it hears nothing more."""

    def __init__(self, connection: WireProtocol) -> None:
        self._connection = connection

    async def run(self) -> None:
        peer = self._connection.peer
        self._connection.write(f"220 {peer.host} {peer.port}\r\n".encode())
        while True:
            self._connection.write(b"<%b>" % await self._connection.receive())


class Rig:
    """A listener that trusts some networks."""

    def __init__(self, *trusted: str, limit: int = 100, per_address: int = 100) -> None:
        self.clock, self.counts, self.log = Clock(), Counts(), RecordingLog()
        networks: tuple[Network, ...] = tuple(ip_network(network) for network in trusted)
        self.admission = Admission(limit, per_address)
        service = Service("smtp", Greeting, b"421 %s\r\n", proxy_trusted=networks)
        self.listener = Listener(
            service, reactor=self.clock, log=self.log, counters=self.counts, tls=None,
            admission=self.admission, ids=connection_ids(1),
        )  # fmt: skip

    def connect(self, host: str = "192.0.2.9") -> StringTransport:
        address: IAddress = IPv6Address("TCP", host, 5000) if ":" in host else IPv4Address("TCP", host, 5000)
        transport = StringTransport(peerAddress=address)  # type: ignore[no-untyped-call]
        protocol: Any = self.listener.buildProtocol(address)
        transport.protocol = protocol  # as a real transport has it
        protocol.makeConnection(transport)
        return transport


def receive(transport: Any, octets: bytes) -> bytes:
    transport.protocol.dataReceived(octets)
    said: bytes = transport.value()
    transport.clear()
    return said


@pytest.mark.parametrize(
    ("trusted", "host", "peer"),
    [
        ((), "192.0.2.9", b"192.0.2.9 5000"),
        (("10.0.0.0/8",), "192.0.2.9", b"192.0.2.9 5000"),
        (("2001:db8::/32",), "192.0.2.9", b"192.0.2.9 5000"),
        (("192.0.2.0/24",), "2001:db8::1", b"2001:db8::1 5000"),
    ],
)
def test_others_are_served_directly(trusted: tuple[str, ...], host: str, peer: bytes) -> None:
    transport = Rig(*trusted).connect(host)
    assert transport.value() == b"220 " + peer + b"\r\n"
    transport.clear()
    assert receive(transport, HEADER) == b"<%b>" % HEADER, "a header of a stranger is not believed"


@pytest.mark.parametrize("host", ["192.0.2.9", "2001:db8::1"])
@pytest.mark.parametrize("cut", [0, 1, 5, len(HEADER) - 1, len(HEADER)])
def test_a_trusted_balancer_names_the_client(host: str, cut: int) -> None:
    transport = Rig("192.0.2.0/24", "2001:db8::/32").connect(host)
    assert transport.value() == b"", "no greeting before the header"
    assert receive(transport, HEADER[:cut]) == (b"" if cut < len(HEADER) else b"220 203.0.113.7 40000\r\n")
    greeting = b"220 203.0.113.7 40000\r\n" if cut < len(HEADER) else b""
    assert receive(transport, HEADER[cut:] + b"EHLO") == greeting + b"<EHLO>"


def test_a_balancers_own_connection_has_its_own_address() -> None:
    assert receive(Rig("192.0.2.9/32").connect(), b"PROXY UNKNOWN\r\n") == b"220 192.0.2.9 5000\r\n"


def test_ipv4_at_a_socket_for_both_is_ipv4() -> None:
    """A socket at "::", the default, shows IPv4 addresses in the form of IPv6."""
    assert Rig().connect("::ffff:192.0.2.9").value() == b"220 192.0.2.9 5000\r\n"
    trusting = Rig("192.0.2.0/24")
    assert receive(trusting.connect("::ffff:192.0.2.9"), HEADER) == b"220 203.0.113.7 40000\r\n"
    assert receive(trusting.connect("::ffff:192.0.2.9"), b"PROXY UNKNOWN\r\n") == b"220 192.0.2.9 5000\r\n"
    mapped = b"PROXY TCP6 ::ffff:203.0.113.7 ::1 40000 25\r\n"
    assert receive(trusting.connect(), mapped) == b"220 203.0.113.7 40000\r\n"
    assert trusting.admission.by_address == {"203.0.113.7": 2, "192.0.2.9": 1}
    assert Rig().connect("::1").value() == b"220 ::1 5000\r\n"


@pytest.mark.parametrize("octets", [b"EHLO x\r\n", b"\x16\x03\x01", b"PROXY TCP4 a b c d\r\n", b"PROXY " + b"x" * 200])
def test_anything_but_a_header_ends_the_connection(octets: bytes) -> None:
    rig = Rig("192.0.2.0/24")
    transport = rig.connect()
    assert receive(transport, octets) == b""
    assert transport.disconnecting or transport.disconnected
    assert rig.log.whats("warning") == ["PROXY header refused"]
    transport.protocol.connectionLost()  # type: ignore[attr-defined]
    assert rig.clock.getDelayedCalls() == []


def test_a_header_that_does_not_come_ends_the_connection() -> None:
    rig = Rig("192.0.2.0/24")
    transport = rig.connect()
    receive(transport, HEADER[:10])
    rig.clock.advance(PROXY_HEADER_TIME - 0.1)
    assert not transport.disconnecting
    rig.clock.advance(0.2)
    assert transport.disconnecting or transport.disconnected
    assert receive(rig.connect(), HEADER).startswith(b"220 203.0.113.7"), "others are served"


def test_limits_count_the_clients_address() -> None:
    rig = Rig("192.0.2.0/24", per_address=2)
    transports = [rig.connect() for _ in range(3)]
    assert [receive(transport, HEADER)[:3] for transport in transports] == [b"220", b"220", b"421"]
    assert receive(rig.connect(), HEADER.replace(b"203.0.113.7", b"203.0.113.8"))[:3] == b"220"
    assert rig.admission.by_address == {"203.0.113.7": 2, "203.0.113.8": 1}
    transports[0].protocol.connectionLost()  # type: ignore[attr-defined]
    assert receive(rig.connect(), HEADER)[:3] == b"220"
    assert rig.counts.value("connections_refused", "too many connections from your address") == 1
    assert rig.counts.value("connections", "smtp") == 4


def test_a_limit_over_all_addresses() -> None:
    rig = Rig(limit=2)
    said = [rig.connect(f"192.0.2.{number}").value()[:3] for number in range(3)]
    assert said == [b"220", b"220", b"421"]
    assert rig.counts.value("connections_refused", "too many connections") == 1
    assert isinstance(rig.listener.buildProtocol(IPv4Address("TCP", "192.0.2.77", 1)), Refusal)


def test_the_admission_forgets_addresses() -> None:
    admission = Admission(10, 10)
    for host in ("a", "b", "a"):
        admission.enter(host)
    for host in ("a", "b", "a"):
        admission.leave(host)
    assert (admission.total, dict(admission.by_address)) == (0, {})


def test_only_clients_of_the_allowed_networks_are_served() -> None:
    rig = Rig()
    rig.listener.offer(Service("lmtp", Greeting, b"421 %s\r\n", allowed=(ip_network("192.0.2.0/28"),)))
    assert rig.connect("192.0.2.9").value().startswith(b"220 192.0.2.9")
    assert rig.connect("192.0.2.99").value() == b"421 not for your address\r\n"
    assert isinstance(rig.listener.buildProtocol(UNIXAddress("")), WireProtocol)


def test_a_unix_socket_has_no_limit_per_address() -> None:
    admission = Admission(10, 1)
    admission.enter("")
    admission.enter("")
    assert not admission.refusal("")
