"""`[outbound]`, `[[routes]]` and `[[holds]]`: how mail leaves for other servers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated

Seconds = Annotated[float, "duration"]
DAY = 86400.0


class Carriage(Enum):
    """The protocol of a next hop."""

    SMTP = "smtp"
    LMTP = "lmtp"


class OutboundTls(Enum):
    """What TLS to another server has to be like."""

    NONE = "none"
    OPPORTUNISTIC = "opportunistic"
    REQUIRED = "required"
    VERIFIED = "verified"
    IMPLICIT = "implicit"


class Downgrade(Enum):
    """What becomes of mail to a host whose TLS was better before."""

    REPORT = "report"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Outbound:
    """`[outbound]`: mail to other servers, and when it is tried again."""

    connections: int = 200
    """To other servers, at the same time."""
    connections_per_destination: int = 10
    """Of those, to one destination, which is a domain or a route with hosts."""
    messages_per_connection: int = 100
    """Sent over one connection, then another one is opened; 0: any."""
    retry: tuple[str, ...] = ("5 min", "10 min", "20 min", "40 min", "1 h", "2 h", "4 h")
    """Times between attempts; the last one between all that follow."""
    expire: Seconds = 5 * DAY
    """Seconds after which a message comes back that could not be delivered (RFC 5321 §4.5.4.1: four to five days)."""
    warn_after: Seconds = 4 * 3600.0
    """Seconds after which its sender hears that a message is late; 0: never."""
    tls: OutboundTls = OutboundTls.OPPORTUNISTIC
    """TLS with servers that DNS names. "opportunistic" is with every server that offers it, whatever its certificate;
    "required" sends nothing without; "verified" demands a certificate of the server's name by a known authority;
    "none" never uses it. What a domain demands of itself by DANE (RFC 7672) or MTA-STS (RFC 8461) holds in any case."""
    dane: bool = True
    """Whether TLSA records are looked up; they count only where [dns] trust_ad lets answers be authenticated."""
    mta_sts: bool = True
    """Whether domains' policies of MTA-STS are looked for."""
    downgrade: Downgrade = Downgrade.REPORT
    """When a server had TLS within the last 30 days and has none any more, or its certificate was right and is not any
    more: "report" sends the mail with a warning in the log, "refuse" keeps it. Where TLS is demanded, nothing is sent
    in any case."""
    ipv6: bool = True
    """Whether servers are reached by IPv6, too; then before IPv4."""
    source: tuple[str, ...] = ()
    """IP addresses of this machine to come from, one of IPv4, one of IPv6 or both; none: those that the system takes.
    Their reverse names should be `helo`."""
    helo: str = ""
    """How we call ourselves in EHLO. Empty: `hostname`."""
    ca: Path | None = None
    """PEM certificates of the authorities to trust, for mail servers and for hosts of MTA-STS policies; not set: those
    of the system."""
    port: int = 25
    """Of servers that DNS names; another one is for tests."""
    mta_sts_port: int = 443
    """Of hosts that publish policies of MTA-STS; another one is for tests."""


@dataclass(frozen=True, slots=True)
class Route:
    """`[[routes]]`: mail that goes another way than to the servers that DNS names, or goes to them in another way. The
    first one that fits is taken, for each recipient; a condition that is not set fits always. In addresses and domains,
    * is any characters."""

    domains: tuple[str, ...] = ()
    """Of recipients, as "example.org" or "*.example.org"."""
    senders: tuple[str, ...] = ()
    """As "*@example.org"; "<>" is the null reverse-path."""
    accounts: tuple[str, ...] = ()
    """Who has submitted it, as "alice@example.org" or "*@example.org"."""
    name: str = ""
    """How the log and the queue call it. Empty: route1, route2 and so on."""
    hosts: tuple[str, ...] = ()
    """Servers to hand it to, as "smtp.example.net:587", "[2001:db8::1]:24" or "unix:/run/dovecot/lmtp", in the order in
    which they are tried; a host without port has the [outbound] one. None: those that DNS names."""
    protocol: Carriage = Carriage.SMTP
    """"smtp", or "lmtp" (RFC 2033)."""
    tls: OutboundTls | None = None
    """As of [outbound], and "implicit": TLS begins with the first octet, and is verified. Not set: as of [outbound]
    where DNS names the servers; "verified" with `user`; else "opportunistic"."""
    user: str = ""
    """To log in as. Empty: not at all."""
    password: Path | None = None
    """A file whose first line is the password."""
    helo: str = ""
    """As of [outbound]. Empty: that."""
    source: tuple[str, ...] = ()
    """As of [outbound]. None: that."""
    ca: Path | None = None
    """As of [outbound]. Not set: that."""
    client_certificate: Path | None = None
    """PEM chain that we show as our own certificate."""
    client_key: Path | None = None
    """Its unencrypted key."""
    connections: int = 0
    """As connections_per_destination of [outbound]; 0: that."""
    per_minute: int = 0
    """Messages a minute to each destination; 0: any."""
    proxy: str = ""
    """A SOCKS5 proxy to go by, as "192.0.2.1:1080". Empty: none."""


@dataclass(frozen=True, slots=True)
class Hold:
    """`[[holds]]`: mail that waits in the queue until `mailstack queue release` lets it go. Conditions as of
    [[routes]]."""

    senders: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    """Of recipients."""
    reason: str = "held by a rule"
    """Shown with what is held."""
