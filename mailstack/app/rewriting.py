"""The sender rewriting of a configuration."""

from __future__ import annotations

from pathlib import Path

from mailstack.auth.bad_keys import BadKeys
from mailstack.auth.database import AccountDatabase
from mailstack.config.sections import Config
from mailstack.mail.address import ascii_domain
from mailstack.mail.srs import Rewriter

SECRET = "srs"
"""What the accounts database calls it."""


def rewriter(config: Config, database: AccountDatabase) -> Rewriter | None:
    """None if senders are not rewritten. Raises: BadKeys, OSError, AccountsError."""
    forwarding = config.forwarding
    if not forwarding.rewrite:
        return None
    secrets = _secrets(forwarding.secrets) if forwarding.secrets else (database.secret(SECRET).encode(),)
    ours = [ascii_domain(domain.name) for domain in config.domains]
    return Rewriter(ascii_domain(forwarding.domain) or ours[0], secrets, exempt=frozenset(ours))


def _secrets(path: Path) -> tuple[bytes, ...]:
    found = tuple(line for line in (line.strip() for line in path.read_bytes().splitlines()) if line)
    if not found:
        raise BadKeys(f"{path}: expected secrets, one a line")
    return found
