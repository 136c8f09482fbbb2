"""Self-signed certificates, for development and for the first minutes of a new installation."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

CERTIFICATE = "cert.pem"
KEY = "key.pem"
LIFETIME = timedelta(days=825)
"""Longest lifetime that Apple's clients take from a private root."""
RENEW_BEFORE = timedelta(days=30)


def write_self_signed(directory: Path, names: Sequence[str]) -> tuple[Path, Path]:
    """Write `cert.pem` and `key.pem` for these host names or IP addresses; returns their paths.

    The certificate is its own authority: a client that is given it as its CA file verifies the
    server. The key is readable by its owner only. Raises: OSError."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    now = datetime.now(UTC)
    key, certificate = issue(names, now - timedelta(hours=1), now + LIFETIME)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    cert_path, key_path = directory / CERTIFICATE, directory / KEY
    _replace(key_path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
    _replace(cert_path, certificate.public_bytes(Encoding.PEM), 0o644)
    return cert_path, key_path


def usable(directory: Path) -> bool:
    """Whether a certificate is there that is good for another RENEW_BEFORE, with its key."""
    from cryptography import x509

    try:
        certificate = x509.load_pem_x509_certificate((directory / CERTIFICATE).read_bytes())
        key_there = (directory / KEY).stat().st_size > 0
    except (OSError, ValueError):
        return False
    return key_there and certificate.not_valid_after_utc > datetime.now(UTC) + RENEW_BEFORE


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate that is its own authority, with its key."""

    certificate: Any
    key: Any

    @classmethod
    def read(cls, certificate: Path, key: Path) -> Authority:
        """From files as `write_self_signed` makes them. Raises: OSError, ValueError."""
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        read = x509.load_pem_x509_certificates(certificate.read_bytes())[0]
        return cls(read, load_pem_private_key(key.read_bytes(), password=None))

    @property
    def names(self) -> tuple[str, ...]:
        """The host names and IP addresses that it is for."""
        from cryptography import x509

        found = self.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return (
            *found.get_values_for_type(x509.DNSName),
            *(str(each) for each in found.get_values_for_type(x509.IPAddress)),
        )


def issue(names: Sequence[str], begins: datetime, ends: datetime, by: Authority | None = None) -> tuple[Any, Any]:
    """A new key and a certificate for it, for these host names or IP addresses; its own authority if there is no
    other."""
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    return key, _certificate(key, names, begins, ends, by)


def _certificate(key: Any, names: Sequence[str], begins: datetime, ends: datetime, by: Authority | None) -> Any:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=by is None, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    issuer_key = key if by is None else by.key
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    issuer = x509.SubjectKeyIdentifier.from_public_key(issuer_key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if by is None else by.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=by is None, path_length=0 if by is None else None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )


def _general_name(name: str):  # type: ignore[no-untyped-def]  # types need the late import
    from cryptography import x509

    with contextlib.suppress(ValueError):
        return x509.IPAddress(ip_address(name))
    return x509.DNSName(name.encode("idna").decode("ascii"))


def _replace(path: Path, content: bytes, mode: int) -> None:
    temporary = path.with_name(path.name + ".tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with open(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
