"""What a TLS connection can be recognized by: its channel bindings (RFC 5056), and the client's certificate."""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.hashes import MD5, SHA1, SHA256, Hash, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

EXPORTER_LABEL, EXPORTER_OCTETS = b"EXPORTER-Channel-Binding", 32
"""RFC 9266 §2."""


def binding(connection: SSL.Connection, name: str) -> bytes | None:
    """The channel binding of this name; None where there is none. The handshake must be complete."""
    version = connection.get_protocol_version_name()
    if name == "tls-exporter":
        # RFC 9266 §4.2: not below TLS 1.3, unless with an extension that pyOpenSSL says nothing of.
        return connection.export_keying_material(EXPORTER_LABEL, EXPORTER_OCTETS, b"") if version == "TLSv1.3" else None
    if name == "tls-unique":
        # RFC 5929 §3, as GNU SASL wants it with TLS 1.2: the first Finished, which is the client's unless the session
        # was resumed. Then it is not the same at both ends, as it must not be taken for one (RFC 7677 §4).
        return connection.get_peer_finished() if version == "TLSv1.2" else None
    if name == "tls-server-end-point":
        certificate = connection.get_certificate(as_cryptography=True)
        return None if certificate is None else end_point(certificate)
    return None


def end_point(certificate: x509.Certificate) -> bytes | None:
    """The hash of the server's certificate by the function of its signature (RFC 5929 §4.1); None for a
    signature that has none of its own, as Ed25519."""
    try:
        algorithm: HashAlgorithm | None = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return None
    if algorithm is None:
        return None
    digest = Hash(SHA256() if isinstance(algorithm, MD5 | SHA1) else algorithm)
    digest.update(certificate.public_bytes(Encoding.DER))
    return digest.finalize()


class AskingConnection(SSL.Connection):
    """The server's end where the client is asked for a certificate. A client whose certificate nobody here vouches
    for may still log in otherwise, so the handshake goes on, and what OpenSSL thinks of the chain is kept here."""

    looked_at = False
    found_wrong = False


def take_note(connection: SSL.Connection, certificate: object, error: int, depth: int, right: int) -> bool:
    """The callback for each certificate of a client's chain."""
    assert isinstance(connection, AskingConnection)
    connection.looked_at = True
    connection.found_wrong = connection.found_wrong or not right
    return True


def client_certificate(connection: SSL.Connection) -> bytes | None:
    """The client's certificate as DER, if it has shown one and OpenSSL has found nothing wrong with its chain."""
    if not isinstance(connection, AskingConnection) or connection.found_wrong or not connection.looked_at:
        return None
    certificate = connection.get_peer_certificate(as_cryptography=True)
    return None if certificate is None else certificate.public_bytes(Encoding.DER)
