"""What a POP3 session is told about how to behave, and by whom it is served."""

from __future__ import annotations

from dataclasses import dataclass, field

from mailstack.auth.mechanisms import NAMES
from mailstack.config.sections import Retention, Utf8Headers
from mailstack.pop3.logins import LoginTimes
from mailstack.ports import Accounts, Clock, Counters, Log, MailStore


@dataclass(frozen=True, slots=True)
class Pop3Settings:
    """One listener's settings; times in seconds."""

    hostname: str
    tls_available: bool = False
    """Whether STLS may be offered."""
    allow_plaintext_auth: bool = False
    """Whether one may log in without TLS."""
    mechanisms: frozenset[str] = NAMES
    """SASL mechanisms that may be offered."""
    timeout: float = 600.0
    """RFC 1939 §3: at least ten minutes."""
    login_timeout: float = 60.0
    login_delay: float = 0.0
    """Between two logins of one account (RFC 2449 §6.5); 0: none."""
    utf8_headers: Utf8Headers = Utf8Headers.SEND
    """What a client gets that has not said UTF8 (RFC 6856 §2.1)."""
    retention: tuple[Retention, ...] = ()
    """What EXPIRE says (RFC 2449 §6.7)."""
    max_login_failures: int = 3
    max_errors: int = 20
    """Commands answered with -ERR in a row, before the connection is closed."""


@dataclass(frozen=True, slots=True)
class Pop3Resources:
    """Whom a session may ask."""

    store: MailStore
    accounts: Accounts
    log: Log
    counters: Counters
    clock: Clock
    logins: LoginTimes = field(default_factory=LoginTimes)
