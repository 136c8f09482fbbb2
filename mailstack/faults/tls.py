"""Bad TLS: certificates that clients have to refuse."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from OpenSSL import SSL
from OpenSSL.crypto import X509, PKey
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from zope.interface import implementer

from mailstack.faults.book import FaultBook
from mailstack.faults.rules import TLS, BadTls, Certificate, Moment, Protocol
from mailstack.net.certificates import Authority, issue
from mailstack.net.tls import CertificateFiles
from mailstack.net.wire_protocol import WireProtocol

WRONG_NAME = "wrong-name.invalid"
_AGO, _AHEAD = timedelta(days=30), timedelta(days=90)


@implementer(IOpenSSLServerConnectionCreator)
class FaultyTls:
    """Makes the server's side of TLS as `right` does, unless the book says that it is bad. `files` are the
    development mode's own certificate, which is an authority: bad ones are of it, so that clients that trust it see
    what is meant to be wrong, and nothing else."""

    def __init__(self, right: Any, book: FaultBook, protocol: Protocol, files: CertificateFiles) -> None:
        self._right = right
        self._book = book
        self._protocol = protocol
        self._files = files
        self._made: dict[BadTls, SSL.Context] = {}

    def serverConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        for action in self._book.actions(self._moment(tlsProtocol)) if not self._book.is_empty else ():
            if isinstance(action, Certificate):
                return SSL.Connection(self._context(action.kind), None)
        made: SSL.Connection = self._right.serverConnectionForTLS(tlsProtocol)
        return made

    def _moment(self, protocol: Any) -> Moment:
        wire: WireProtocol = protocol.wrappedProtocol
        return Moment(self._protocol, TLS, wire.peer.host)

    def _context(self, kind: BadTls) -> SSL.Context:
        if kind not in self._made:
            self._made[kind] = _context(kind, self._files)
        return self._made[kind]


def _context(kind: BadTls, files: CertificateFiles) -> SSL.Context:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    if kind is BadTls.HANDSHAKE:
        return context  # without any certificate there is no cipher either
    authority = Authority.read(files.certificate, files.key)
    now = datetime.now(UTC)
    begins, ends = now - _AGO, now + _AHEAD
    if kind is BadTls.EXPIRED:
        ends = now - timedelta(days=1)
    elif kind is BadTls.NOT_YET:
        begins = now + timedelta(days=1)
    names = (WRONG_NAME,) if kind is BadTls.WRONG_NAME else authority.names
    key, certificate = issue(names, begins, ends, None if kind is BadTls.UNTRUSTED else authority)
    context.use_privatekey(PKey.from_cryptography_key(key))
    context.use_certificate(X509.from_cryptography(certificate))
    return context
