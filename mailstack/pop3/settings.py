"""What a POP3 session is told about how to behave, and by whom it is served."""

from __future__ import annotations

from dataclasses import dataclass

from mailstack.auth.mechanisms import NAMES
from mailstack.ports import Accounts, Counters, Log, MailStore


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
