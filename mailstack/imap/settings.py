"""What an IMAP session is told about how to behave, and by whom it is served."""

from __future__ import annotations

from dataclasses import dataclass, field

from mailstack.auth.mechanisms import NAMES
from mailstack.imap.hidden import Hidden
from mailstack.imap.memory import Memory
from mailstack.ports import Accounts, Clock, Counters, Log, MailStore, Spool


@dataclass(frozen=True, slots=True)
class ImapSettings:
    """One listener's settings. Sizes in octets, times in seconds."""

    hostname: str
    tls_available: bool = False
    """Whether STARTTLS may be offered."""
    allow_plaintext_auth: bool = False
    """Whether one may log in without TLS."""
    mechanisms: frozenset[str] = NAMES
    """SASL mechanisms that may be offered."""
    max_message_size: int = 50 * 1024 * 1024
    timeout: float = 1800.0
    """RFC 9051 §5.4: at least 30 minutes after login."""
    login_timeout: float = 180.0
    hidden: tuple[Hidden, ...] = ()
    """Capabilities that are not announced."""
    utf8_only: bool = False
    """Whether mailboxes are for clients that enabled UTF8=ACCEPT or IMAP4rev2 only (RFC 6855 §6)."""
    literal_minus: bool = False
    """Whether a client needs leave to send a long literal: LITERAL- and not LITERAL+ (RFC 7888 §5)."""
    message_limit: int = 0
    """Messages that one command may be about (RFC 9738); 0: any."""
    save_limit: int = 0
    """Messages that may be copied or appended at once (RFC 9738); 0: any."""
    max_login_failures: int = 3
    administrators: frozenset[str] = frozenset()
    """Accounts that may set quotas and the server's annotations."""
    everybody_administers: bool = False
    admin_contact: str = "mailto:postmaster@localhost"
    """The server's annotation /shared/admin: a URI (RFC 5464 §3.2.1.1)."""
    max_errors: int = 50
    """Commands answered with BAD in a row, before the connection is closed."""


@dataclass(frozen=True, slots=True)
class ImapResources:
    """Whom a session may ask."""

    store: MailStore
    spool: Spool
    accounts: Accounts
    log: Log
    counters: Counters
    clock: Clock
    memory: Memory = field(default_factory=Memory)
    """Orders and threads of mailboxes that were asked for."""
