"""TLS for connections that we open: verified as the demand says, resumed where that is possible.

TLS 1.2 is the least, also where any encryption would do: who has nothing newer has had since 2008, and mail falls
back to plain text where the demand allows it."""

from __future__ import annotations

import os
from collections import OrderedDict
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from OpenSSL import SSL
from OpenSSL.crypto import X509
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from zope.interface import implementer

from mailstack.handover import Certainty, TlsDemand, TlsFailed
from mailstack.mail.address import ascii_domain
from mailstack.net import dane

MAX_CONTEXTS = 64
"""Each has its authorities in memory, the system's take a few MB."""
CONTEXT_TIME = 3600
"""Seconds after which the system's authorities are read again."""
MAX_SESSIONS = 512
"""Of TLS that can be resumed; some KB each."""
SESSION_TIME = 3600
"""Seconds for which a session is resumed: so long what was verified is taken for true."""
MAX_SERVER_NAME = 255
"""Octets of SNI that OpenSSL takes."""
_WEAK_TOO = b"DEFAULT:@SECLEVEL=0"
"""Where nothing is verified, weak keys and signatures are still better than none (RFC 7435)."""

_WRONG = {
    9: ("is not valid yet, but from {from_}", "certificate-expired"),
    10: ("has expired on {until}", "certificate-expired"),
    18: ("is self-signed", "certificate-not-trusted"),
    19: ("is of an authority that is not trusted: {issuer}", "certificate-not-trusted"),
    23: ("was revoked", "certificate-not-trusted"),
    24: ("is of somebody who is no authority: {issuer}", "certificate-not-trusted"),
    26: ("is not for servers", "certificate-not-trusted"),
    66: ("has a key that is too weak", "certificate-not-trusted"),
    68: ("has a signature that is too weak", "certificate-not-trusted"),
}
"""Errors of OpenSSL (X509_V_ERR_...), in words."""
_UNKNOWN_AUTHORITY = (2, 20, 21)
_NOT_TLS = ("wrong version number", "packet length too long", "http request", "record layer failure")


_UNREADABLE = (
    ValueError, TypeError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, UnsupportedAlgorithm
)  # fmt: skip
"""What comes of certificates that somebody has made in a way of his own, when one looks closer."""


def _unreadable(error: Exception) -> TlsFailed:
    return TlsFailed(f"its certificate cannot be read: {error}")


class Verification:
    """What comes of verifying one server."""

    def __init__(self, demand: TlsDemand) -> None:
        self.demand = demand
        self.failure: TlsFailed | None = None
        self.verified = False
        self.resumed = False
        """Whether the session goes on in which its certificate was verified."""

    def look(self, certificate: X509, error: int, depth: int) -> bool:
        """At one certificate of the chain that OpenSSL verifies; the server's own is the last, at depth 0."""
        certainty = self.demand.certainty
        if certainty not in (Certainty.NAMED, Certainty.NOTED):
            return True
        if certainty is Certainty.NOTED and self.failure is not None:
            return True  # the first thing that is wrong is what is said
        try:
            if error:
                self.failure = _failure(certificate.to_cryptography(), error, depth)
            elif depth == 0:
                self.failure = _names_failure(certificate.to_cryptography(), self.demand.names)
                self.verified = self.failure is None
        except _UNREADABLE as unreadable:
            self.failure = _unreadable(unreadable)
        return self.failure is None or certainty is Certainty.NOTED

    def finish(self, connection: SSL.Connection) -> None:
        """After the handshake. Raises: TlsFailed."""
        try:
            self._finish(connection)
        except _UNREADABLE as unreadable:
            self.failure = _unreadable(unreadable)
        if self.failure is not None:
            self.verified = False
            if self.demand.certainty is not Certainty.NOTED:
                raise self.failure

    def _finish(self, connection: SSL.Connection) -> None:
        demand = self.demand
        if demand.certainty is Certainty.TLSA:
            chain = connection.get_peer_cert_chain(as_cryptography=True) or []
            try:
                self.failure = None if dane.check(demand.records, chain) else _names_failure(chain[0], demand.names)
            except dane.NoMatch as wrong:
                self.failure = TlsFailed(str(wrong), "validation-failure" if demand.records else "tlsa-invalid")
            self.verified = self.failure is None
        elif demand.certainty is not Certainty.NONE and not self.verified and self.failure is None:
            # The session was resumed: its chain was verified then, for the same demand, and nobody has looked now.
            self.resumed = True
            leaf = connection.get_peer_certificate(as_cryptography=True)
            self.failure = TlsFailed("the server has no certificate") if leaf is None else _leaf_failure(leaf, demand)
            self.verified = self.failure is None


class VerifyingConnection(SSL.Connection):
    """The client's end of a connection."""

    verification: Verification


def _look(connection: SSL.Connection, certificate: X509, error: int, depth: int, right: int) -> bool:
    assert isinstance(connection, VerifyingConnection)
    return connection.verification.look(certificate, 0 if right else error, depth)


def _failure(certificate: x509.Certificate, error: int, depth: int) -> TlsFailed:
    whose = "its certificate" if depth == 0 else f"the certificate of its authority, {_name(certificate.subject)},"
    if error in _UNKNOWN_AUTHORITY:
        return TlsFailed(f"{whose} is of an unknown authority: {_name(certificate.issuer)}", "certificate-not-trusted")
    words, kind = _WRONG.get(error, (f"is not accepted: error {error} of OpenSSL", "validation-failure"))
    return TlsFailed(f"{whose} " + words.format(
        from_=f"{certificate.not_valid_before_utc:%Y-%m-%d}", until=f"{certificate.not_valid_after_utc:%Y-%m-%d}",
        issuer=_name(certificate.issuer),
    ), kind)  # fmt: skip


def _leaf_failure(certificate: x509.Certificate, demand: TlsDemand) -> TlsFailed | None:
    if certificate.not_valid_after_utc < datetime.now(UTC):
        return _failure(certificate, 10, 0)
    return _names_failure(certificate, demand.names)


def _names_failure(certificate: x509.Certificate, names: tuple[str, ...]) -> TlsFailed | None:
    """What is wrong with the names of a certificate (RFC 9525 §6), None if nothing is."""
    hosts, addresses = _names_of(certificate)
    for name in names:
        wanted = ascii_domain(name.rstrip("."))
        if wanted in hosts or wanted in addresses or "*." + wanted.partition(".")[2] in hosts:
            return None
    shown = ", ".join((*hosts, *addresses)[:5]) or "nobody"
    return TlsFailed(f"its certificate is for {shown}, not for {' or '.join(names)}", "certificate-host-mismatch")


def _names_of(certificate: x509.Certificate) -> tuple[tuple[str, ...], tuple[str, ...]]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return (), ()
    hosts = tuple(name.rstrip(".").lower() for name in found.get_values_for_type(x509.DNSName))
    return hosts, tuple(str(address) for address in found.get_values_for_type(x509.IPAddress))


def _name(name: x509.Name) -> str:
    common = name.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(common[0].value) if common else name.rfc4514_string() or "without a name"


class ClientTls:
    """Makes the client's side of TLS connections. Contexts and sessions are kept, both bounded."""

    def __init__(self) -> None:
        self._contexts: OrderedDict[object, SSL.Context] = OrderedDict()
        self._sessions: OrderedDict[object, tuple[float, SSL.Session]] = OrderedDict()

    def begin(self, demand: TlsDemand, peer: str, now: float) -> Handshake:
        """`peer`: which server that is. Raises: TlsFailed, if the demand's own files are wrong."""
        key = (peer, demand)
        context = self._context(demand, int(now // CONTEXT_TIME))
        kept = self._sessions.pop(key, None)
        session = kept[1] if kept is not None and now - kept[0] < SESSION_TIME else None
        return Handshake(context, Verification(demand), session)

    def remember(self, demand: TlsDemand, peer: str, connection: SSL.Connection, now: float) -> None:
        """The connection ends, with whose certificate nothing was wrong: its session may go on in the next one. One
        session serves once (RFC 8446 §C.4)."""
        session = connection.get_session()
        if session is not None and demand.certainty is not Certainty.TLSA:  # those look at the chain each time
            self._sessions[peer, demand] = (now, session)
            if len(self._sessions) > MAX_SESSIONS:
                self._sessions.popitem(last=False)

    def _context(self, demand: TlsDemand, hour: int) -> SSL.Context:
        files = tuple(path for path in (demand.authorities, *(demand.identity or ())) if path)
        key = (demand.certainty, demand.authorities, demand.identity, hour, tuple(map(_stamp, files)))
        context = self._contexts.get(key)
        if context is None:
            context = self._contexts[key] = _make_context(demand)
            if len(self._contexts) > MAX_CONTEXTS:
                self._contexts.popitem(last=False)
        return context


@implementer(IOpenSSLClientConnectionCreator)
class Handshake:
    """One handshake, for Twisted's startTLS."""

    def __init__(self, context: SSL.Context, verification: Verification, session: SSL.Session | None) -> None:
        self.verification = verification
        self._context = context
        self._session = session

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        connection = VerifyingConnection(self._context, None)
        connection.verification = self.verification
        names = self.verification.demand.names
        name = ascii_domain(names[0].rstrip(".")) if names else ""
        if name and name.isascii() and len(name) <= MAX_SERVER_NAME and not _is_address(name):
            connection.set_tlsext_host_name(name.encode("ascii"))
        if self._session is not None:
            connection.set_session(self._session)
        return connection


def _make_context(demand: TlsDemand) -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    if not demand.certainty.is_sure:
        context.set_cipher_list(_WEAK_TOO)
    if demand.certainty is Certainty.NONE:
        context.set_verify(SSL.VERIFY_NONE)
    else:
        context.set_verify(SSL.VERIFY_PEER, _look)
    try:
        if demand.authorities:
            context.load_verify_locations(demand.authorities)
        elif demand.certainty in (Certainty.NAMED, Certainty.NOTED):
            context.set_default_verify_paths()
        if demand.identity is not None:
            certificate, key = demand.identity
            context.use_certificate_chain_file(certificate)
            context.use_privatekey_file(key)
    except SSL.Error as error:
        names = " or ".join(path for path in (demand.authorities, *(demand.identity or ())) if path)
        raise TlsFailed(f"{names} cannot be used: {explain(error)}") from error
    return context


def explain(error: SSL.Error) -> str:
    """What OpenSSL says, in words."""
    entries = error.args[0] if error.args and isinstance(error.args[0], list) else []
    reasons = [str(entry[-1]) for entry in entries]
    if any(reason in _NOT_TLS for reason in reasons):
        return "the server does not speak TLS"
    return "; ".join(reasons) or "no reason given"


def _stamp(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
