"""Proofs that a host is ours, as files: whoever makes an order puts them there, and every process that listens for the
authority's questions answers from them. Blocking, some microseconds."""

from __future__ import annotations

import contextlib
import hashlib
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from mailstack.acme.files import replace_file

TOKEN = re.compile(r"[A-Za-z0-9_-]{16,200}")
"""RFC 8555 §8.3: base64url, of 128 bits at least."""
_HOST = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")
ACME_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")
"""id-pe-acmeIdentifier (RFC 8737 §3)."""
LEFT_OVER_AGE = 24 * 3600.0
"""Seconds after which a proof is of an order that nobody works at any more."""


class Challenges:
    """A directory of proofs; made when the first one is put there."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def put_token(self, token: str, authorization: str) -> None:
        """What is said at /.well-known/acme-challenge/TOKEN (RFC 8555 §8.3). Raises: OSError, ValueError."""
        if not TOKEN.fullmatch(token):
            raise ValueError("a token that is not of the base64url alphabet")
        self._put(token, authorization.encode("ascii"))

    def authorization(self, token: str) -> bytes | None:
        """What was put there for the token."""
        return self._get(token) if TOKEN.fullmatch(token) else None

    def put_certificate(self, host: str, authorization: str) -> None:
        """The certificate that is shown for a host in TLS (RFC 8737 §3). Raises: OSError, ValueError."""
        if not _HOST.fullmatch(host):
            raise ValueError("a host that is none")
        self._put(f"{host}.pem", validation_certificate(host, authorization))

    def certificate(self, host: str) -> bytes | None:
        """The key and the certificate that were put there for the host, as PEM."""
        return self._get(f"{host}.pem") if len(host) < 250 and _HOST.fullmatch(host) else None

    def remove(self, token: str, host: str) -> None:
        """The authority has seen them, or never will."""
        for name in (token if TOKEN.fullmatch(token) else "", f"{host}.pem" if _HOST.fullmatch(host) else ""):
            if name:
                with contextlib.suppress(OSError):  # the sweep takes what stays
                    (self._directory / name).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what a process has left that was killed."""
        oldest = time.time() - LEFT_OVER_AGE
        with contextlib.suppress(OSError):  # the directory is not there, or another process sweeps
            for path in self._directory.iterdir():
                if path.stat().st_mtime < oldest:
                    path.unlink()

    def _put(self, name: str, content: bytes) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(self._directory / name, content, 0o600)

    def _get(self, name: str) -> bytes | None:
        try:
            return (self._directory / name).read_bytes()
        except OSError:
            return None


def validation_certificate(host: str, authorization: str) -> bytes:
    """A key and a self-signed certificate with the digest of the key authorization in it, as PEM (RFC 8737 §3)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "acme-tls-alpn-01")])
    digest = hashlib.sha256(authorization.encode("ascii")).digest()
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=7))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        # DER of an OCTET STRING of 32 octets
        .add_extension(x509.UnrecognizedExtension(ACME_IDENTIFIER, b"\x04\x20" + digest), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem + certificate.public_bytes(Encoding.PEM)
