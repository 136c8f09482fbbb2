"""Connections that we open, to hand mail over: TCP, unix sockets, by a proxy; TLS as the client.

A `HopProtocol` is a `WireProtocol` whose session lives elsewhere; it implements `handover.HopConnection`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from OpenSSL import SSL
from twisted.internet import error as twisted_errors
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, UNIXClientEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from mailstack.errors import ConnectionClosed, SessionEnded
from mailstack.handover import HopFailed, Outcome, TlsDemand, TlsFailed, Verdict
from mailstack.net.client_tls import ClientTls, Handshake, explain
from mailstack.net.socks import ProxyRefused, SocksNegotiation, SocksProxy
from mailstack.net.wire_protocol import Session, WireProtocol
from mailstack.ports import Log, Peer, TlsInfo

CONNECT_TIME = 30.0
"""Seconds for a connection to come about; RFC 5321 names none, and there are other hosts to try."""
BULK = 32 * 1024
"""Octets of one write from which on it matters whether the peer takes them."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect. `address`: an IP address, or the path of a unix socket, which begins with "/". `host`: its
    name, if it has one. `source`: the IP address of ours to come from, "" for any. By a `proxy`, `address` may be a
    name, too."""

    address: str
    port: int = 25
    host: str = ""
    source: str = ""
    proxy: SocksProxy | None = None
    timeout: float = CONNECT_TIME

    def __str__(self) -> str:
        where = self.address if self.address.startswith("/") else f"[{self.address}]:{self.port}"
        return f"{self.host}{where}" if self.host and self.host != self.address else where


class HopProtocol(WireProtocol):
    """Implements `handover.HopConnection`."""

    def __init__(self, dialer: Dialer, connection_id: str, target: Target) -> None:
        super().__init__(dialer, connection_id, Peer(target.address, target.port))
        self.host = target.host
        self.address = target.address
        self._dialer = dialer
        self._where = str(target)
        self._handshake: Handshake | None = None
        self._lost: BaseException | None = None

    # --- what Twisted calls

    def connectionMade(self) -> None:
        if hasattr(self.transport, "setTcpNoDelay"):
            self.transport.setTcpNoDelay(True)
        self._running = True
        self._dialer.opened(self)

    def handshakeCompleted(self) -> None:
        handle = self.transport.getHandle()
        self._tls = TlsInfo(handle.get_protocol_version_name() or "", handle.get_cipher_name() or "")
        self._fire_waiter()

    def connectionLost(self, reason: Failure | None = None) -> None:
        self._lost = reason.value if reason is not None else None
        last_words = list(self._input)  # a server that says why, and closes at once
        super().connectionLost(reason)
        self._input += last_words

    # --- handover.HopConnection

    @property
    def tls_resumed(self) -> bool:
        """Whether a verified session of an earlier connection goes on."""
        return self._handshake is not None and self._handshake.verification.resumed

    @property
    def tls_verified(self) -> bool:
        return self._handshake is not None and self._tls is not None and self._handshake.verification.verified

    @property
    def tls_problem(self) -> TlsFailed | None:
        return self._handshake.verification.failure if self._handshake is not None and self._tls is not None else None

    @property
    def has_input(self) -> bool:
        return bool(self._input) or self._end is not None or self._input_ended

    async def drain(self) -> None:
        if sum(map(len, self._output)) > BULK:
            self._register_producer()
        self._flush()
        if self._paused_writing:
            self._drained = drained = Deferred[None]()
            self._watch_clock()
            await drained
        if self._end is ConnectionClosed and not self._input:
            raise ConnectionClosed

    async def start_tls(self, demand: TlsDemand | None = None) -> None:
        assert demand is not None, "a client's demand"
        self._handshake = handshake = self._dialer.tls.begin(demand, self._where, self._reactor.seconds())
        self._flush()
        self._unregister_producer()
        self._resume_reading()
        self._secure = True
        self.transport.startTLS(handshake)
        while self._tls is None and self._end is None:
            self._waiter = Deferred()
            self._watch_clock()
            await self._waiter
        if self._tls is None:
            self._no_handshake(handshake)
        handshake.verification.finish(self.transport.getHandle())

    def _no_handshake(self, handshake: Handshake) -> None:
        """Raises: TlsFailed, or the end of the connection."""
        if handshake.verification.failure is not None:
            raise handshake.verification.failure
        if isinstance(self._lost, SSL.Error):
            raise TlsFailed(explain(self._lost))
        assert self._end is not None
        raise self._end

    def close(self) -> None:
        if self._cut is None and self._end is not ConnectionClosed:
            handshake = self._handshake
            if handshake is not None and self._tls is not None and handshake.verification.failure is None:
                handle = self.transport.getHandle()
                demand = handshake.verification.demand
                self._dialer.tls.remember(demand, self._where, handle, self._reactor.seconds())
            self._close()

    def abort(self) -> None:
        if self._end is not ConnectionClosed:
            super().abort()

    async def negotiate(self, negotiation: SocksNegotiation, seconds: float) -> None:
        """Have a proxy connect us on. Raises: ProxyRefused, ConnectionClosed, IdleTimeout."""
        self.timeout = seconds
        self.write(negotiation.begin())
        while not negotiation.done:
            self.write(negotiation.feed(await self.receive()))
        if negotiation.rest:
            self._input.insert(0, negotiation.rest)
            self._unread += len(negotiation.rest)


class _Factory(Factory):
    noisy = False

    def __init__(self, dialer: Dialer, connection_id: str, target: Target) -> None:
        self._arguments = dialer, connection_id, target

    def buildProtocol(self, addr: object) -> HopProtocol:
        return HopProtocol(*self._arguments)


class Dialer:
    """Opens connections, and knows those that are open."""

    draining = False
    server_tls: Any = None
    implicit_tls = False

    def __init__(self, reactor: Any, log: Log, ids: Iterator[str]) -> None:
        self.reactor = reactor
        self.log = log
        self.tls = ClientTls()
        self._ids = ids
        self._open: set[WireProtocol] = set()

    async def connect(self, target: Target) -> HopProtocol:
        """Raises: HopFailed, with 4.4.1 (RFC 3463 §3.5: no answer from host)."""
        try:
            connection: Any = await self._endpoint(target).connect(_Factory(self, next(self._ids), target))
        except twisted_errors.ConnectError as error:
            raise _failed(target, _reason(error)) from error
        if target.proxy is not None:
            try:
                await connection.negotiate(SocksNegotiation(target.proxy, target.address, target.port), target.timeout)
            except (ProxyRefused, SessionEnded) as error:
                connection.abort()
                reason = str(error) or "no answer"
                raise _failed(target, f"the proxy {target.proxy.host} has not connected us: {reason}") from error
        assert isinstance(connection, HopProtocol)
        return connection

    def _endpoint(self, target: Target) -> Any:
        address, port = (target.proxy.host, target.proxy.port) if target.proxy else (target.address, target.port)
        if address.startswith("/"):
            return UNIXClientEndpoint(self.reactor, address, target.timeout)  # type: ignore[no-untyped-call]
        endpoint = TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint
        return endpoint(self.reactor, address, port, target.timeout, (target.source, 0) if target.source else None)

    def cut(self) -> None:
        """End every connection now."""
        for connection in list(self._open):
            connection.abort()

    # --- what connections call

    def opened(self, connection: WireProtocol) -> None:
        self._open.add(connection)

    def closed(self, connection: WireProtocol) -> None:
        self._open.discard(connection)

    def session(self, connection: WireProtocol) -> Session:
        raise AssertionError("sessions of these connections are not run by them")


def _failed(target: Target, reason: str) -> HopFailed:
    mta = target.host or target.address
    return HopFailed(Outcome(Verdict.LATER, "4.4.1", f"connection to {target}: {reason}", mta, remote=False))


def _reason(error: twisted_errors.ConnectError) -> str:
    if isinstance(error, twisted_errors.TimeoutError):
        return "no answer in time"
    if isinstance(error, twisted_errors.ConnectionRefusedError):
        return "refused"
    cause = error.osError  # an exception, or a number
    return os.strerror(cause) if isinstance(cause, int) else str(getattr(cause, "strerror", None) or cause or error)
