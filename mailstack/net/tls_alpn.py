"""tls-alpn-01 (RFC 8737): for a host that an order is about, a certificate with the proof in it, and then nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from twisted.internet.interfaces import IHandshakeListener, IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.policies import ThrottlingFactory
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

PROTOCOL = b"acme-tls/1"
"""RFC 8737 §6.2."""
CONNECTION_TIME = 10.0
"""Seconds that a connection may last."""
MAX_CONNECTIONS = 100


@implementer(IOpenSSLServerConnectionCreator)
class ValidationTls:
    """TLS with the certificates of orders under way. A client that names no host with an order, or does not speak the
    protocol, gets no certificate at all: the handshake fails."""

    def __init__(self, hosts: Callable[[], Collection[str]], certificate: Callable[[str], bytes | None]) -> None:
        """`certificate` gives key and certificate of a host, as PEM."""
        self._hosts = hosts
        self._certificate = certificate
        self._without = _context()
        self._without.set_tlsext_servername_callback(self._choose)

    def serverConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:
        return SSL.Connection(self._without, None)

    def _choose(self, connection: SSL.Connection) -> None:
        host = (connection.get_servername() or b"").decode("ascii", "replace").lower()
        pem = self._certificate(host) if host in self._hosts() else None
        if pem is None:
            return
        context = _context()
        key: Any = load_pem_private_key(pem, password=None)
        context.use_privatekey(key)
        context.use_certificate(x509.load_pem_x509_certificate(pem))
        connection.set_context(context)


def _context() -> SSL.Context:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_alpn_select_callback(_select)
    # No session outlives the handshake.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_options(SSL.OP_NO_TICKET)
    return context


def _select(connection: SSL.Connection, offered: list[bytes]) -> bytes:
    if offered != [PROTOCOL]:  # RFC 8737 §3: the one value and no other
        raise SSL.Error([("", "", "the client is no authority")])
    return PROTOCOL


@implementer(IHandshakeListener)
class Ended(Protocol):
    """A connection that is over with the handshake (RFC 8737 §3: no application data)."""

    transport: Any

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._cut: Any = None

    def connectionMade(self) -> None:
        self._cut = self._reactor.callLater(CONNECTION_TIME, self.transport.abortConnection)

    def handshakeCompleted(self) -> None:
        self.transport.loseConnection()

    def connectionLost(self, reason: object = None) -> None:
        if self._cut is not None and self._cut.active():
            self._cut.cancel()


class _Endings(Factory):
    noisy = False

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def buildProtocol(self, addr: object) -> Protocol:
        return Ended(self._reactor)


def validation_factory(reactor: Any, tls: ValidationTls) -> Factory:
    """What listens at the port for tls-alpn-01."""
    wrapped: Any = TLSMemoryBIOFactory(tls, False, _Endings(reactor))
    wrapped.noisy = False
    bounded: Any = ThrottlingFactory(wrapped, maxConnectionCount=MAX_CONNECTIONS)  # type: ignore[no-untyped-call]
    bounded.noisy = False
    factory: Factory = bounded
    return factory
