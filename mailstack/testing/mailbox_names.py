"""What a mailbox of the store in memory may be called."""

from __future__ import annotations

from mailstack.errors import Problem, Refused


def canonical(name: str) -> str:
    """INBOX in any case is INBOX (RFC 9051 §5.1), also as the superior of others."""
    first, slash, rest = name.partition("/")
    return "INBOX" + slash + rest if first.upper() == "INBOX" else name


def checked(name: str) -> str:
    """A name that a mailbox may get. Raises: Refused(BAD_MAILBOX_NAME)."""
    name = canonical(name)
    if not all(name.split("/")) or any(c < " " or c == "\x7f" for c in name):
        raise Refused(Problem.BAD_MAILBOX_NAME, name)
    return name
