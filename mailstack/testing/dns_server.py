"""A DNS server for tests: on loopback, by UDP and TCP, in a thread of its own, so that it serves any program.

    with DnsServer({"example.org": {"MX": [(10, "mx.example.org")]}}, signed=["example.org"]) as dns:
        ...                                     # [dns] servers = [dns.address]
        dns.zones["new.example"] = {"A": "192.0.2.5"}
        dns.zones["example.org"] = Fault.SERVFAIL
        assert dns.asked("example.org", "MX") == 1

It answers as a recursive server would that knows nothing but its zones, which are as in `mailstack.testing.zones`;
no other server is asked.
"""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from types import TracebackType

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from mailstack.names import NameServer
from mailstack.testing.zones import MAX_ALIASES, Fault, Field, Found, Zone, Zones

__all__ = ("Asked", "DnsServer", "Fault", "Zones")

MAX_QUERY = 65_535
PORT_ATTEMPTS = 20
PAYLOAD = 1232
MAX_STRING = 255
"""Octets of one string of a TXT record."""
LEAST_UDP = 512
"""Octets that a client takes by UDP that does not say more (RFC 1035 §4.2.1)."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that came: `transport` is "udp" or "tcp"."""

    name: str
    """As it came, its letters in their cases."""
    rdtype: str
    transport: str
    id: int
    port: int
    """The client's."""
    flags: int
    payload: int
    """As EDNS says, 0 without it."""


@dataclass(slots=True)
class _Stream:
    received: bytearray = field(default_factory=bytearray)


class DnsServer:
    """Serves from `with` or `start` until `stop`. What it knows and how it behaves may be changed at any time."""

    def __init__(
        self,
        zones: Zone | Zones | None = None,
        *,
        signed: Collection[str] = (),
        ttl: int = 300,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.zones = zones if isinstance(zones, Zones) else Zones(zones, signed=signed, ttl=ttl)
        self.edns = True
        """False: FORMERR for EDNS, as of servers that do not know it."""
        self.tcp = True
        """False: nobody listens at TCP."""
        self.keeps_cases = True
        """False: the question comes back in lower case."""
        self.silent = False
        """True: no question is answered."""
        self.lies: dict[str, tuple[Fault, ...]] = {}
        """By name: replies with these faults that come before the true one, by UDP."""
        self.questions: list[Asked] = []
        """All that came, in their order."""
        self.host, self.port = host, port
        self._thread: threading.Thread | None = None
        self._selector = selectors.DefaultSelector()

    # --- life

    def __enter__(self) -> DnsServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def address(self) -> str:
        """As the configuration wants it: "127.0.0.1:5353"."""
        return str(NameServer(self.host, self.port))

    def start(self) -> None:
        """Returns when questions can come. Raises: OSError."""
        self._udp, self._listening = _sockets(self.host, self.port)
        self.port = self._udp.getsockname()[1]
        self._stopper, stopped = socket.socketpair()
        for each, what in ((self._udp, self._datagram), (self._listening, self._connection), (stopped, None)):
            each.setblocking(False)
            self._selector.register(each, selectors.EVENT_READ, what)
        self._thread = threading.Thread(target=self._serve, name="dns-server", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Returns when it has stopped. Idempotent."""
        if self._thread is None:
            return
        self._stopper.close()
        self._thread.join()
        self._thread = None

    def asked(self, name: str, rdtype: str = "") -> int:
        """How often a name was asked for, of one type or any."""
        wanted = name.lower().rstrip(".")
        return sum(each.name.lower() == wanted and rdtype in ("", each.rdtype) for each in list(self.questions))

    # --- the thread

    def _serve(self) -> None:
        try:
            while True:
                for key, _ in self._selector.select():
                    if key.data is None:
                        return
                    key.data(key.fileobj)
        finally:
            for key in list(self._selector.get_map().values()):
                self._selector.unregister(key.fileobj)
                key.fileobj.close()  # type: ignore[union-attr]  # all are sockets

    def _datagram(self, sock: socket.socket) -> None:
        try:
            octets, client = sock.recvfrom(MAX_QUERY)
        except OSError:  # a client that has gone away
            return
        for reply in self._replies(octets, client[1], "udp"):
            sock.sendto(reply, client)

    def _connection(self, sock: socket.socket) -> None:
        connection, _ = sock.accept()
        if not self.tcp:
            connection.close()
            return
        stream = _Stream()
        self._selector.register(connection, selectors.EVENT_READ, lambda each: self._stream(each, stream))

    def _stream(self, connection: socket.socket, stream: _Stream) -> None:
        try:
            data = connection.recv(MAX_QUERY)
            stream.received += data
            end = 2 + int.from_bytes(stream.received[:2])
            if data and (len(stream.received) < 2 or len(stream.received) < end):
                return
            if data:
                for reply in self._replies(bytes(stream.received[2:end]), connection.getpeername()[1], "tcp"):
                    connection.settimeout(5)
                    connection.sendall(len(reply).to_bytes(2) + reply)
                    connection.setblocking(False)
                del stream.received[:end]
                if not self.silent:
                    return
        except OSError:  # the client does not want to know
            pass
        self._selector.unregister(connection)
        connection.close()

    def _replies(self, octets: bytes, port: int, transport: str) -> list[bytes]:
        try:
            query = dns.message.from_wire(octets)
        except dns.exception.DNSException:
            return []
        (question,) = query.question
        name = question.name.to_text(omit_final_dot=True)
        rdtype = dns.rdatatype.to_text(question.rdtype)
        payload = query.payload if query.edns >= 0 else 0
        self.questions.append(Asked(name, rdtype, transport, query.id, port, int(query.flags), payload))
        if self.silent:
            return []
        found = self.zones.find(name, rdtype)
        truth = self._truth(query, found, MAX_QUERY if transport == "tcp" else max(payload, LEAST_UDP))
        lies = self.lies.get(name.lower(), ()) if transport == "udp" else ()
        replies = [_odd(truth, lie) for lie in lies]
        replies.append(truth if found.fault is None else _odd(truth, found.fault))
        return [reply for reply in replies if reply]

    def _truth(self, query: dns.message.Message, found: Found, size: int) -> bytes:
        reply = dns.message.make_response(query, recursion_available=True)
        if query.edns >= 0 and not self.edns:
            reply.use_edns(False)
            reply.set_rcode(dns.rcode.FORMERR)
        else:
            wants_ad = bool(query.flags & dns.flags.AD or query.ednsflags & dns.flags.DO)
            self._fill(reply, found, wants_ad=wants_ad)
        if not self.keeps_cases:
            (question,) = query.question
            lowered = dns.name.from_text(question.name.to_text().lower())
            reply.question = [dns.rrset.RRset(lowered, question.rdclass, question.rdtype)]
        try:
            return reply.to_wire(max_size=size)
        except dns.exception.TooBig:
            reply.answer.clear()
            reply.flags |= dns.flags.TC
            return reply.to_wire()

    def _fill(self, reply: dns.message.Message, found: Found, *, wants_ad: bool) -> None:
        ttl, rdtype = self.zones.ttl, reply.question[0].rdtype
        for alias, target in found.aliases:
            reply.answer.extend(_rrsets(alias, ttl, dns.rdatatype.CNAME, [(target,)]))
        if found.fault in (Fault.SERVFAIL, Fault.BOGUS) or len(found.aliases) == MAX_ALIASES:
            reply.answer.clear()
            reply.set_rcode(dns.rcode.SERVFAIL)
            if found.fault is Fault.BOGUS and reply.edns >= 0:
                reply.use_edns(0, payload=PAYLOAD, options=[dns.edns.EDEOption(dns.edns.EDECode.DNSSEC_BOGUS)])
        elif found.fault is Fault.REFUSED:
            reply.set_rcode(dns.rcode.REFUSED)
        elif found.records:
            reply.answer.extend(_rrsets(found.name, ttl, rdtype, found.records))
        else:
            apex = found.name.rpartition(".")[2]
            soa = (".", ".", 1, 3600, 600, 86400, ttl)
            reply.authority.extend(_rrsets(apex, ttl, dns.rdatatype.SOA, [soa]))
            reply.set_rcode(dns.rcode.NOERROR if found.exists else dns.rcode.NXDOMAIN)
        is_signed = self.zones.is_signed(found.name, *(alias for alias, _ in found.aliases))
        if wants_ad and is_signed and found.fault is None:
            reply.flags |= dns.flags.AD


def _rrsets(
    name: str, ttl: int, rdtype: dns.rdatatype.RdataType, records: Sequence[tuple[Field, ...]]
) -> list[dns.rrset.RRset]:
    """One a record: dnspython would shuffle those of a set."""
    owner, zone = dns.name.from_text(name), dns.name.root
    texts = [" ".join(_field(field, rdtype) for field in record) for record in records]
    return [
        dns.rrset.from_text_list(owner, ttl, dns.rdataclass.IN, rdtype, [text], origin=zone, relativize=False)
        for text in texts
    ]


def _field(field: Field, rdtype: dns.rdatatype.RdataType) -> str:
    """As in a zone file."""
    if rdtype == dns.rdatatype.TXT:
        octets = field if isinstance(field, bytes) else str(field).encode()
        parts = [octets[start : start + MAX_STRING] for start in range(0, len(octets) or 1, MAX_STRING)]
        return " ".join('"' + "".join(f"\\{octet:03d}" for octet in part) + '"' for part in parts)
    return field.hex() if isinstance(field, bytes) else str(field)


def _odd(truth: bytes, fault: Fault) -> bytes:
    """What is sent of a true reply; nothing for a timeout."""
    header = dns.message.from_wire(truth, question_only=True)
    end = 12 + dns.name.from_wire(truth, 12)[1] + 4
    match fault:
        case Fault.TIMEOUT:
            return b""
        case Fault.WRONG_ID:
            return (header.id ^ 1).to_bytes(2) + truth[2:]
        case Fault.QUERY:
            return truth[:2] + (int(header.flags) & ~dns.flags.QR).to_bytes(2) + truth[4:]
        case Fault.WRONG_QUESTION:
            return truth[:13] + bytes((truth[13] ^ 1,)) + truth[14:]
        case Fault.TRUNCATED:
            return truth[:2] + (int(header.flags) | dns.flags.TC).to_bytes(2) + b"\0\1" + bytes(6) + truth[12:end]
        case Fault.GARBAGE:
            return truth[:6] + b"\0\7" + bytes(4) + truth[12:end] + b"\xff"
        case _:
            return truth


def _sockets(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """Of UDP and TCP, at the same port. Raises: OSError."""
    for attempt in range(PORT_ATTEMPTS):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        udp = socket.socket(family, socket.SOCK_DGRAM)
        try:
            udp.bind((host, port))
            return udp, socket.create_server((host, udp.getsockname()[1]), family=family)
        except OSError:
            udp.close()
            if port or attempt == PORT_ATTEMPTS - 1:
                raise
    raise AssertionError("the loop returns or raises")
