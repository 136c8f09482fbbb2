"""A listening socket: who may connect, with or without TLS or a PROXY header, and to which session."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address
from itertools import count
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol

from mailstack.errors import FramingLost
from mailstack.net.proxy_protocol import ProxyHeader
from mailstack.net.wire_protocol import Session, WireProtocol, unmapped
from mailstack.ports import Counters, Log, Peer

PROXY_HEADER_TIME = 10.0
"""Seconds that a balancer has for its header."""

Network = IPv4Network | IPv6Network
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


@dataclass(slots=True)
class Admission:
    """How many connections there may be, counted over all listeners of the process."""

    limit: int
    limit_per_address: int
    total: int = 0
    by_address: Tally[str] = field(default_factory=Tally)

    def refusal(self, host: str) -> str:
        """Why `host` may not connect now, or ""."""
        if self.total >= self.limit:
            return "too many connections"
        if host and self.by_address[host] >= self.limit_per_address:  # not of a unix socket
            return "too many connections from your address"
        return ""

    def enter(self, host: str) -> None:
        self.total += 1
        self.by_address[host] += 1

    def leave(self, host: str) -> None:
        self.total -= 1
        self.by_address[host] -= 1
        if not self.by_address[host]:
            del self.by_address[host]


@dataclass(frozen=True, slots=True)
class Service:
    """What is offered at a listener. `busy` is the whole reply, with CRLF and `%s` for the reason,
    to a connection that is one too many."""

    name: str
    session: Callable[[WireProtocol], Session]
    busy: bytes
    implicit_tls: bool = False
    proxy_trusted: tuple[Network, ...] = ()
    allowed: tuple[Network, ...] = ()
    """Whose clients are served; none: everybody's. Clients of a unix socket always are."""


class Listener(Factory):
    """Makes the connections of one service on any number of ports."""

    noisy = False

    def __init__(
        self, service: Service, *, reactor: Any, log: Log, counters: Counters, tls: Any,
        admission: Admission, ids: Iterator[str],
    ) -> None:  # fmt: skip
        self.reactor = reactor
        self.log = log.bind(service=service.name)
        self.server_tls: Any = tls
        self.offer(service)
        self.draining = False
        self._counters = counters
        self._admission = admission
        self._ids = ids
        self._connections: set[WireProtocol] = set()
        self._empty: Deferred[None] | None = None

    def offer(self, service: Service) -> None:
        """What connections from now on get."""
        self.service = service
        self.implicit_tls = service.implicit_tls

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        peer = Peer(unmapped(getattr(addr, "host", "")), getattr(addr, "port", 0))
        if self.service.proxy_trusted and _within(peer.host, self.service.proxy_trusted):
            return ProxyPreamble(self)
        return self.protocol_for(peer)

    def protocol_for(self, peer: Peer) -> Protocol:
        """The protocol for a peer whose real address is known."""
        reason = self._admission.refusal(peer.host)
        if self.service.allowed and peer.host and not _within(peer.host, self.service.allowed):
            reason = "not for your address"
        if reason:
            self._counters.count("connections_refused", reason)
            self.log.event("connection refused", peer=peer.host, reason=reason)
            return Refusal(b"" if self.implicit_tls else self.service.busy % reason.encode())
        return WireProtocol(self, next(self._ids), peer)

    def session(self, connection: WireProtocol) -> Session:
        return self.service.session(connection)

    def opened(self, connection: WireProtocol) -> None:
        self._admission.enter(connection.peer.host)
        self._connections.add(connection)
        self._counters.count("connections", self.service.name)
        connection.log.event("connected", peer=connection.peer.host, port=connection.peer.port)

    def closed(self, connection: WireProtocol) -> None:
        self._connections.discard(connection)
        self._admission.leave(connection.peer.host)
        connection.log.event("disconnected")
        if self._empty is not None and not self._connections:
            empty, self._empty = self._empty, None
            empty.callback(None)

    async def drain(self, seconds: float) -> None:
        """Let every session end: those at rest now, those in a transaction when it is done, all
        after `seconds`. The ports must be closed already."""
        self.draining = True
        if not self._connections:
            return
        self._empty = Deferred()
        cut = self.reactor.callLater(seconds, self.cut)
        empty = self._empty
        for connection in list(self._connections):
            connection.shut_down()
        await empty
        if cut.active():
            cut.cancel()

    def cut(self) -> None:
        """End every connection now, whatever it is doing."""
        for connection in list(self._connections):
            connection.log.warning("connection cut: it did not end in time")
            connection.abort()


class Refusal(Protocol):
    """Says one line and closes."""

    def __init__(self, line: bytes) -> None:
        self._line = line

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.write(self._line)
        transport.loseConnection()


class ProxyPreamble(Protocol):
    """Reads the PROXY header of a trusted balancer, then gives the connection to the real protocol,
    which thus sends its greeting and applies its limits to the client's own address."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._header = ProxyHeader()
        self._timer: Any = None

    def connectionMade(self) -> None:
        self._timer = self._listener.reactor.callLater(PROXY_HEADER_TIME, self._refuse, "no PROXY header in time")

    def dataReceived(self, data: bytes) -> None:
        try:
            proxied = self._header.feed(data)
        except FramingLost as error:
            self._refuse(str(error))
            return
        if proxied is None:
            return
        self._stop_timer()
        transport: Any = self.transport
        peer = proxied.peer or Peer(transport.getPeer().host, transport.getPeer().port)
        inner = self._listener.protocol_for(Peer(unmapped(peer.host), peer.port))
        transport.protocol = inner
        inner.makeConnection(transport)  # type: ignore[no-untyped-call]
        if proxied.rest:
            transport.protocol.dataReceived(proxied.rest)  # TLS over it, if that began meanwhile

    def connectionLost(self, reason: object = None) -> None:
        self._stop_timer()

    def _refuse(self, reason: str) -> None:
        self._listener.log.warning("PROXY header refused", reason=reason)
        transport: Any = self.transport
        transport.abortConnection()

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()


def connection_ids(seed: int) -> Iterator[str]:
    """Ids that differ within a process, and between processes by `seed`."""
    prefix = _base32(seed)
    for number in count(1):
        yield f"{prefix}-{_base32(number)}"


def _base32(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 32)
        digits = _ALPHABET[digit] + digits
    return digits or "0"


def _within(host: str, networks: tuple[Network, ...]) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return any(address in network for network in networks)
