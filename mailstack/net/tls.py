"""TLS for servers: several certificates chosen by SNI, read again when their files change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from OpenSSL.crypto import X509
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.ssl import CertificateOptions
from zope.interface import implementer

from mailstack.net.tls_channel import AskingConnection, take_note
from mailstack.ports import Log

RELOAD_INTERVAL = 10.0
"""Seconds between looks at the certificates' files."""


class BadCertificate(Exception):
    """A certificate or key that cannot be served; the message names the file and the reason."""


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """A PEM chain, leaf first, and its unencrypted key."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class _Loaded:
    names: frozenset[str]
    ends: float
    """In seconds since the epoch."""
    context: SSL.Context
    asking: SSL.Context
    """The same, and it asks clients for their certificate."""


@implementer(IOpenSSLServerConnectionCreator)
class ServerTls:
    """Makes the server side of TLS connections. The first certificate serves clients that name
    no host or an unknown one.

    Raises: BadCertificate, from the constructor only; a later broken renewal is logged and the
    certificate in use stays."""

    def __init__(self, files: Sequence[CertificateFiles], log: Log, client_ca: Path | None = None) -> None:
        self._log = log
        self._files: tuple[CertificateFiles, ...] = ()
        self._client_ca: Path | None = None
        self.asking = AskingTls(self)
        self._stamps: tuple[tuple[int, int], ...] = ()
        self._loaded: list[_Loaded] = []
        self.use(files, client_ca)

    def serverConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        return SSL.Connection(self._loaded[0].context, None)

    def asking_connection(self) -> SSL.Connection:
        """One that asks the client for its certificate, if an authority for them is configured."""
        return AskingConnection(self._loaded[0].asking, None)

    def reload_if_changed(self) -> bool:
        """Take renewed files into use for the connections to come; True if it did so."""
        stamps = self._stat()
        if stamps == self._stamps:
            return False
        self._stamps = stamps
        try:
            self._loaded = self._load()
        except BadCertificate as bad:
            self._log.warning("certificate not reloaded; the one in use stays", reason=str(bad))
            return False
        self._log.event("certificates reloaded", files=len(self._files))
        return True

    def use(self, files: Sequence[CertificateFiles], client_ca: Path | None = None) -> None:
        """Serve other files from now on; clients' certificates are verified by `client_ca`, of PEM
        certificates. Raises: BadCertificate; then all stays as it is."""
        before = self._files, self._stamps, self._client_ca
        if not files:
            raise BadCertificate("no certificate is configured")
        self._files, self._client_ca = tuple(files), client_ca
        self._stamps = self._stat()
        try:
            self._loaded = self._load()
        except BadCertificate:
            self._files, self._stamps, self._client_ca = before
            raise

    def uses(self, files: Sequence[CertificateFiles]) -> bool:
        """Whether these are the files that are served."""
        return self._files == tuple(files)

    def ends(self) -> dict[str, float]:
        """When the certificates in use end, in seconds since the epoch, by the names that they are served for; that of
        a certificate without names is its file's."""
        found: dict[str, float] = {}
        for loaded, files in zip(self._loaded, self._files, strict=True):
            for name in sorted(loaded.names) or [str(files.certificate)]:
                found.setdefault(name, loaded.ends)
        return found

    def _stat(self) -> tuple[tuple[int, int], ...]:
        paths = [path for pair in self._files for path in (pair.certificate, pair.key)]
        return tuple(_stamp(path) for path in (*paths, *([self._client_ca] if self._client_ca else ())))

    def _load(self) -> list[_Loaded]:
        authorities = _chain(self._client_ca) if self._client_ca else ()
        loaded = [_read(pair, authorities) for pair in self._files]
        loaded[0].context.set_tlsext_servername_callback(lambda connection: self._choose(connection, asking=False))
        loaded[0].asking.set_tlsext_servername_callback(lambda connection: self._choose(connection, asking=True))
        return loaded

    def _choose(self, connection: SSL.Connection, *, asking: bool) -> None:
        name = (connection.get_servername() or b"").decode("ascii", "replace").lower()
        if not name or _covers(self._loaded[0].names, name):
            return
        for candidate in self._loaded[1:]:
            if _covers(candidate.names, name):
                connection.set_context(candidate.asking if asking else candidate.context)
                return


@implementer(IOpenSSLServerConnectionCreator)
class AskingTls:
    """As its `ServerTls`, for services where one logs in: clients may show a certificate."""

    def __init__(self, tls: ServerTls) -> None:
        self._tls = tls

    def serverConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        return self._tls.asking_connection()


def _covers(names: frozenset[str], host: str) -> bool:
    return host in names or "*." + host.partition(".")[2] in names


def _stamp(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError:
        return (0, 0)
    return (stat.st_mtime_ns, stat.st_ino)


def _read(files: CertificateFiles, authorities: Sequence[x509.Certificate]) -> _Loaded:
    chain = _chain(files.certificate)
    try:
        key = load_pem_private_key(files.key.read_bytes(), password=None)
    except OSError as error:
        raise BadCertificate(f"{files.key}: {error.strerror}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadCertificate(f"{files.key}: not an unencrypted private key in PEM form") from error
    try:
        # Twisted's annotations still name pyOpenSSL's own types, which pyOpenSSL itself calls obsolete.
        options: Any = CertificateOptions
        contexts = [
            options(privateKey=key, certificate=chain[0], extraCertChain=chain[1:]).getContext()
            for _ in range(2 if authorities else 1)
        ]
        contexts[0].check_privatekey()
    except (SSL.Error, TypeError) as error:  # TypeError: a key that only encrypts
        raise BadCertificate(f"{files.key} is not the key of {files.certificate}") from error
    if authorities:
        _ask(contexts[1], authorities)
    return _Loaded(_names(chain[0]), chain[0].not_valid_after_utc.timestamp(), contexts[0], contexts[-1])


def _ask(context: SSL.Context, authorities: Sequence[x509.Certificate]) -> None:
    """Ask clients for a certificate, which none has to have. What is wrong with one is noted with the connection."""
    store = context.get_cert_store()
    assert store is not None
    for authority in authorities:
        store.add_cert(X509.from_cryptography(authority))
        context.add_client_ca(authority)
    # A resumed session would bring the certificate along without a look at it.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_options(SSL.OP_NO_TICKET)
    context.set_session_id(b"mailstack")
    context.set_verify(SSL.VERIFY_PEER, take_note)


def _chain(path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        raise BadCertificate(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise BadCertificate(f"{path}: not a certificate in PEM form") from error


def _names(certificate: x509.Certificate) -> frozenset[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return frozenset()
    return frozenset(name.lower() for name in extension.value.get_values_for_type(x509.DNSName))
