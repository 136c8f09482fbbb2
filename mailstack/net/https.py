"""A small text from a host by HTTPS: addresses by our own resolver, its certificate verified, no redirects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from OpenSSL import SSL
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, ConnectingCancelledError, ConnectionClosed
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.client import Agent, RequestTransmissionFailed, ResponseDone, ResponseFailed
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers

from mailstack.handover import Certainty, TlsDemand, TlsFailed
from mailstack.names import LookupFailed, Resolver
from mailstack.net.client_tls import ClientTls, Handshake, explain

MAX_TEXT = 64 * 1024
"""Octets of a text (RFC 8461 §3.3 suggests this limit)."""
MAX_RESPONSE = MAX_TEXT + 32 * 1024
"""Octets of a whole response, with what is HTTP of it."""
CONNECT_TIME = 10.0
"""Seconds for a connection to one address."""
FETCH_TIME = 60.0
"""Seconds for all of it, as RFC 8461 §3.3 suggests."""
MAX_ADDRESSES = 4
"""Addresses of the host that are tried."""
HTTPS_PORT = 443
_BROKEN = (
    ConnectError, ConnectingCancelledError, ConnectionClosed, ResponseFailed, RequestTransmissionFailed, SSL.Error
)  # fmt: skip
_COMPLETE = (ResponseDone, PotentialDataLoss)
"""How a body ends; the second is one that ends with its connection."""


class FetchFailed(Exception):
    """There is no text; the message says why. `certificate`: because that of the host is wrong."""

    def __init__(self, message: str, *, certificate: bool = False) -> None:
        super().__init__(message)
        self.certificate = certificate


class Texts(Protocol):
    """Gets texts by HTTPS."""

    async def text(self, host: str, path: str, port: int, authorities: str) -> bytes:
        """At most MAX_TEXT octets of text/plain. `authorities` as of TlsDemand. Raises: FetchFailed."""


class HttpsTexts:
    """Implements `Texts`."""

    def __init__(self, reactor: Any, resolver: Resolver) -> None:
        self._reactor = reactor
        self._resolver = resolver
        self._tls = ClientTls()

    async def text(self, host: str, path: str, port: int, authorities: str) -> bytes:
        work = Deferred.fromCoroutine(self._text(host, path, port, authorities))
        try:
            return await work.addTimeout(FETCH_TIME, self._reactor)
        except TimedOut as error:
            raise FetchFailed(f"{host} has not answered in {FETCH_TIME:.0f} s") from error

    async def _text(self, host: str, path: str, port: int, authorities: str) -> bytes:
        try:
            found = await self._resolver.addresses(host)
        except LookupFailed as error:
            raise FetchFailed(str(error)) from error
        demand = TlsDemand(True, Certainty.NAMED, (host,), authorities=authorities)
        failed = FetchFailed(f"{host} has no address")
        for address in found.records[:MAX_ADDRESSES]:
            try:
                return await self._from(address, host, path, port, demand)
            except FetchFailed as error:
                failed = error
        raise failed

    async def _from(self, address: str, host: str, path: str, port: int, demand: TlsDemand) -> bytes:
        try:
            handshake = self._tls.begin(demand, f"https {address}", self._reactor.seconds())
        except TlsFailed as error:
            raise FetchFailed(f"{host}: {error}", certificate=True) from error
        agent: Any = Agent.usingEndpointFactory(self._reactor, _Endpoints(self._reactor, address, handshake))  # type: ignore[no-untyped-call]
        url = f"https://{host}{'' if port == HTTPS_PORT else f':{port}'}{path}"
        headers = Headers({b"User-Agent": [b"mailstack"], b"Accept": [b"text/plain"], b"Connection": [b"close"]})
        try:
            response = await agent.request(b"GET", url.encode("ascii"), headers)
            body = _Body(response)
            text = await body.done
        except _BROKEN as error:
            if _is_cancelled(error):
                raise CancelledError from error
            wrong = handshake.verification.failure
            if wrong is not None:
                raise FetchFailed(f"{host}: {wrong}", certificate=True) from error
            raise FetchFailed(f"{host} cannot be asked by HTTPS: {_reason(error)}") from error
        if not handshake.verification.verified:
            raise FetchFailed(f"{host}: its certificate was not verified", certificate=True)
        return text


def _is_cancelled(error: BaseException) -> bool:
    """Whether nobody wants to know any more: then no other address is tried."""
    if isinstance(error, ResponseFailed):
        return any(isinstance(reason.value, CancelledError) for reason in error.reasons)
    return isinstance(error, ConnectingCancelledError)


def _reason(error: BaseException) -> str:
    if isinstance(error, ResponseFailed) and error.reasons:
        error = error.reasons[0].value
    return explain(error) if isinstance(error, SSL.Error) else str(error).rstrip(".") or type(error).__name__


class _Endpoints:
    """Implements IAgentEndpointFactory: one address, whatever the URI's host, and TLS of ours."""

    def __init__(self, reactor: Any, address: str, handshake: Handshake) -> None:
        self._reactor, self._address, self._handshake = reactor, address, handshake

    def endpointForURI(self, uri: Any) -> Any:
        kind = TCP6ClientEndpoint if ":" in self._address else TCP4ClientEndpoint
        plain = kind(self._reactor, self._address, uri.port, CONNECT_TIME)
        return _Measured(wrapClientTLS(self._handshake, plain))


class _Measured:
    """An endpoint whose connections end when too much comes."""

    def __init__(self, endpoint: Any) -> None:
        self._endpoint = endpoint

    def connect(self, factory: Any) -> Any:
        wrapping: Any = WrappingFactory(factory)  # type: ignore[no-untyped-call]
        wrapping.noisy = False
        wrapping.protocol = _Measuring
        return self._endpoint.connect(wrapping).addCallback(lambda wrapper: wrapper.wrappedProtocol)


class _Measuring(ProtocolWrapper):
    _left = MAX_RESPONSE

    def dataReceived(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            transport: Any = self.transport
            transport.abortConnection()
        else:
            super().dataReceived(data)  # type: ignore[no-untyped-call]


class _Body(TwistedProtocol):
    """Gathers the body of a response that is one that we want. Raises from `done`: FetchFailed, and what breaks."""

    def __init__(self, response: Any) -> None:
        self.done: Deferred[bytes] = Deferred(lambda _: self._cut())
        self._problem = _problem(response.code, response.headers.getRawHeaders(b"content-type") or ())
        self._pieces: list[bytes] = []
        self._size = 0
        response.deliverBody(self)

    def connectionMade(self) -> None:
        if self._problem:
            self._cut()

    def dataReceived(self, data: bytes) -> None:
        self._size += len(data)
        if self._size <= MAX_TEXT:
            self._pieces.append(data)
            return
        self._pieces.clear()
        self._problem = self._problem or f"expected at most {MAX_TEXT} octets"
        self._cut()

    def _cut(self) -> None:
        transport: Any = self.transport
        if transport is not None:
            getattr(transport, "abortConnection", transport.loseConnection)()

    def connectionLost(self, reason: Failure | None = None) -> None:
        if self.done.called:
            return
        if self._problem:
            self.done.errback(FetchFailed(self._problem))
        elif reason is not None and not isinstance(reason.value, _COMPLETE):
            self.done.errback(reason)
        else:
            self.done.callback(b"".join(self._pieces))


def _problem(code: int, types: Sequence[bytes]) -> str:
    """What is wrong with a response before its body, "" if nothing is (RFC 8461 §3.3)."""
    if code != 200:
        return f"expected HTTP status 200, not {code}"
    kind = types[0].partition(b";")[0].strip().lower() if types else b""
    if kind != b"text/plain":
        return f"expected text/plain, not {kind.decode('latin-1')[:80] or 'no type'}"
    return ""
