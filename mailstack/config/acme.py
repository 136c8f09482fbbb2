"""`[acme]`: certificates that the server gets and renews by itself."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from mailstack.mail.address import ascii_domain

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"


class KeyType(Enum):
    """Keys of certificates: ECDSA on P-256, or RSA with 2048 bits."""

    ECDSA = "ecdsa"
    RSA = "rsa"


class Challenge(Enum):
    """How the authority is shown that a host is ours (RFC 8555 §8.3, RFC 8737)."""

    HTTP = "http-01"
    TLS_ALPN = "tls-alpn-01"


USUAL_CHALLENGE_PORTS = {Challenge.HTTP: 80, Challenge.TLS_ALPN: 443}
"""Where authorities ask, which cannot be told to ask elsewhere."""


@dataclass(frozen=True, slots=True)
class Acme:
    """`[acme]`: certificates that the server gets from an authority, and renews, by itself (RFC 8555). Needs the extra
    `acme` of the package."""

    agree_to_terms: bool = False
    """True turns it on, and says that you agree to the authority's terms of service."""
    directory: str = LETS_ENCRYPT
    """The authority: the URL of its directory, https:."""
    email: str = ""
    """Whom the authority may write to. Empty: nobody."""
    hosts: tuple[str, ...] = ()
    """Hosts that the one certificate is for. None: `hostname`."""
    key: KeyType = KeyType.ECDSA
    """The key of the certificate: "ecdsa" (P-256) or "rsa" (2048 bits)."""
    challenge: Challenge = Challenge.HTTP
    """How the authority is shown that the hosts are ours: "http-01" on port 80, or "tls-alpn-01" on port 443."""
    address: str = "::"
    """The IP address at which the authority's questions are answered; "::" is all."""
    port: int | None = None
    """None: 80 for http-01, 443 for tls-alpn-01. Authorities ask at these only: another one is for a port that is
    forwarded to it. 0 lets the kernel choose."""
    ca: Path | None = None
    """PEM certificates by which the authority's own server is verified, for a private one. None: those that the
    package certifi has."""
    renew_after: float = 2 / 3
    """The part of its life after which a certificate is renewed, unless the authority says when (ARI, RFC 9773)."""

    @property
    def is_on(self) -> bool:
        return self.agree_to_terms

    @property
    def challenge_port(self) -> int:
        """The port, said or not."""
        return USUAL_CHALLENGE_PORTS[self.challenge] if self.port is None else self.port

    def certified(self, hostname: str) -> tuple[str, ...]:
        """Hosts that the certificate is for, in lower case and as DNS has them."""
        return tuple(dict.fromkeys(ascii_domain(host) for host in self.hosts or (hostname,)))
