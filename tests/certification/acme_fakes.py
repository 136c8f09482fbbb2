"""An authority in memory, and certificates as it would give them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from mailstack.acme.keeping import Issued, Renewal, Wanted
from mailstack.config.acme import Acme

DAY = 86400.0
START = 1_700_000_000.0
AUTHORITY_KEY = ec.generate_private_key(ec.SECP256R1())


def issued(
    hosts: tuple[str, ...], begins: float, days: float = 90, *, serial: int = 0, authority: str = "Test CA"
) -> Issued:
    """A certificate of a test authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    start = datetime.fromtimestamp(begins, UTC)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(AUTHORITY_KEY.public_key())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, authority)]))
        .public_key(key.public_key())
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), critical=False)
        .add_extension(identifier, critical=False)
        .sign(AUTHORITY_KEY, hashes.SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Issued(certificate.public_bytes(Encoding.PEM), pem)


@dataclass
class FakeAuthority:
    """Issues certificates of 90 days; what it should do else is set."""

    now: float = START
    fails: Exception | None = None
    answer: Renewal | Exception = field(default_factory=lambda: Renewal(None, None))
    orders: list[tuple[tuple[str, ...], str | None, str]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    revoked: list[int] = field(default_factory=list)

    def renewal(self, wanted: Wanted, ari: str) -> Renewal:
        self.asked.append(ari)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def obtain(self, wanted: Wanted, known_contact: str | None, replaces: str) -> Issued:
        self.orders.append((wanted.hosts, known_contact, replaces))
        if self.fails is not None:
            raise self.fails
        return issued(wanted.hosts, self.now)

    def revoke(self, wanted: Wanted, chain: bytes, reason: int) -> None:
        self.revoked.append(reason)


def wanted(*hosts: str, email: str = "", directory: str = "https://authority.example/dir") -> Wanted:
    return Wanted.of(Acme(True, directory, email, hosts), "mail.example.org")
