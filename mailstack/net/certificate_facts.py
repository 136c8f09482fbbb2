"""What a certificate says of itself, for who watches over its end."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509


@dataclass(frozen=True, slots=True)
class Facts:
    """Of the first certificate of a chain. Times are seconds since the epoch."""

    names: tuple[str, ...]
    """Host names and IP addresses, in lower case."""
    issuer: str
    not_before: float
    not_after: float
    self_signed: bool
    serial: str
    """Hexadecimal."""
    ari: str
    """What it is called in questions about its renewal (RFC 9773 §4.1); "" if its issuer gave it no key identifier."""


def facts_of(pem: bytes) -> Facts:
    """Raises: ValueError, when it is not a certificate in PEM form."""
    certificate = x509.load_pem_x509_certificates(pem)[0]
    return Facts(
        names=_names(certificate),
        issuer=certificate.issuer.rfc4514_string(),
        not_before=certificate.not_valid_before_utc.timestamp(),
        not_after=certificate.not_valid_after_utc.timestamp(),
        self_signed=certificate.issuer == certificate.subject,
        serial=f"{certificate.serial_number:x}",
        ari=_ari(certificate),
    )


def facts_in(path: Path) -> Facts:
    """Raises: OSError, ValueError."""
    return facts_of(path.read_bytes())


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    hosts = [name.lower() for name in names.get_values_for_type(x509.DNSName)]
    return (*hosts, *(str(address) for address in names.get_values_for_type(x509.IPAddress)))


def _ari(certificate: x509.Certificate) -> str:
    try:
        authority = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    except x509.ExtensionNotFound:
        return ""
    serial = certificate.serial_number
    octets = serial.to_bytes(serial.bit_length() // 8 + 1)  # as DER has it: with a zero before a set first bit
    return f"{_base64url(authority.key_identifier or b'')}.{_base64url(octets)}"


def _base64url(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")
