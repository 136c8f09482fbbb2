"""Self-signed certificates, for development and for the first minutes of a new installation."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

CERTIFICATE = "cert.pem"
KEY = "key.pem"
LIFETIME = timedelta(days=825)
"""Longest lifetime that Apple's clients take from a private root."""
RENEW_BEFORE = timedelta(days=30)


def write_self_signed(directory: Path, names: Sequence[str]) -> tuple[Path, Path]:
    """Write `cert.pem` and `key.pem` for these host names or IP addresses; returns their paths.

    The certificate is its own authority: a client that is given it as its CA file verifies the
    server. The key is readable by its owner only. Raises: OSError."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _certificate(key, names)
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


def _certificate(key, names: Sequence[str]):  # type: ignore[no-untyped-def]  # types need the late import
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    now = datetime.now(UTC)
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(key, hashes.SHA256())
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
