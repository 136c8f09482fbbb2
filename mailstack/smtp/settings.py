"""What an SMTP session is told about how to behave, and by whom it is served."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import ip_address
from typing import TYPE_CHECKING

from mailstack.auth.mechanisms import NAMES
from mailstack.config.policy import NO_POLICY, Milter, Policy
from mailstack.config.sections import BareNewline, Network, Sender, Vrfy
from mailstack.journeys import Journal
from mailstack.ports import (
    Accounts,
    Clock,
    Connection,
    Counters,
    Directory,
    Log,
    MailStore,
    Outbound,
    Resolver,
    SendingLimits,
    Spool,
)
from mailstack.rates import RateCounter
from mailstack.smtp.milter.stream import Dial

if TYPE_CHECKING:
    from mailstack.smtp.checks.frame import Check

KIB = 1024
MIB = 1024 * KIB


class Role(Enum):
    """Whom the port is for."""

    RECEIVE = "receive"
    """Port 25: strangers bring mail for our users."""
    SUBMISSION = "submission"
    """Ports 587 and 465: our users send (RFC 6409, RFC 8314)."""
    LMTP = "lmtp"
    """Another mail server hands over what it has taken for our users (RFC 2033)."""


ANY_ROLE = frozenset(Role)


@dataclass(frozen=True, slots=True)
class SmtpSettings:
    """One listener's settings. Sizes in octets, times in seconds.

    `hostname` is the server's name in its greeting and in trace fields. `tls_available` is whether
    STARTTLS may be offered. `accept_any` is the development mode: AUTH is offered on every port.
    What the configuration has a key for is as it says there (`config/sections.py`)."""

    hostname: str
    role: Role = Role.RECEIVE
    tls_available: bool = False
    auth_required: bool = True
    allow_plaintext_auth: bool = False
    mechanisms: frozenset[str] = NAMES
    """SASL mechanisms that may be offered."""
    accept_any: bool = False
    bare_newline: BareNewline = BareNewline.REJECT_STRANGERS
    vrfy: Vrfy = Vrfy.NOBODY
    sender: Sender = Sender.OWN
    xclient_trusted: tuple[Network, ...] = ()
    relay_domains: frozenset[str] = frozenset()
    """Domains that strangers may send to through us, in lower case and their xn-- form."""
    etrn_allowed: tuple[Network, ...] = ()
    max_size: int = 50 * MIB
    max_recipients: int = 1000
    """Of one transaction; RFC 5321 §4.5.3.1.8 asks for at least 100."""
    holds: bool = True
    """Messages may be submitted that wait until their time (RFC 4865), because something empties the queue."""
    full_for_good: bool = False
    """A recipient without room is answered 552 5.2.2 instead of 452 4.2.2."""
    policy: Policy = NO_POLICY
    milters: tuple[Milter, ...] = ()
    """Those that see the mail of this port, in their order."""
    max_errors: int = 20
    """Commands answered with 5xx, before the connection is closed."""
    max_login_failures: int = 3
    max_received: int = 100
    """Received fields that make a loop (RFC 5321 §6.3)."""
    command_timeout: float = 300.0
    """RFC 5321 §4.5.3.2.7."""
    data_timeout: float = 180.0
    """Between two pieces of mail data (RFC 5321 §4.5.3.2.5)."""
    message_time: float = 3600.0
    """From MAIL to the end of the mail data."""

    @property
    def auth_offered(self) -> bool:
        """Whether anybody may log in on this port (once TLS is active, unless plaintext is allowed)."""
        return self.role is Role.SUBMISSION or self.accept_any

    @property
    def login_needed(self) -> bool:
        """Whether MAIL needs a login."""
        return self.role is Role.SUBMISSION and self.auth_required


def is_among(host: str, networks: tuple[Network, ...]) -> bool:
    """Whether an IP address in text is in one of them. "", of a unix socket, is in none."""
    if not networks or not host:
        return False
    address = ip_address(host.partition("%")[0])
    address = getattr(address, "ipv4_mapped", None) or address
    return any(address in network for network in networks)


MINUTE = 60.0


def _per_minute() -> RateCounter:
    return RateCounter(MINUTE)


@dataclass(frozen=True, slots=True)
class Rates:
    """What is counted for [policy], over all sessions of the process."""

    connections: RateCounter = field(default_factory=_per_minute)
    messages: RateCounter = field(default_factory=_per_minute)
    recipients: RateCounter = field(default_factory=_per_minute)
    account_connections: RateCounter = field(default_factory=_per_minute)
    account_messages: RateCounter = field(default_factory=_per_minute)
    account_recipients: RateCounter = field(default_factory=_per_minute)


@dataclass(frozen=True, slots=True)
class SmtpResources:
    """Whom a session may ask."""

    directory: Directory
    accounts: Accounts
    store: MailStore
    outbound: Outbound
    spool: Spool
    log: Log
    counters: Counters
    clock: Clock
    rates: Rates = field(default_factory=Rates)
    sending: SendingLimits | None = None
    resolver: Resolver | None = None
    journal: Journal | None = None
    dial: Dial | None = None
    """How milters are reached; needed where the settings have some."""
    more_checks: Callable[[Connection], Sequence[Check]] | None = None
    """Makes checks that are asked before all others on one connection."""
    dialogues: bool = False
    """What is said goes along with each message: the development mode."""
