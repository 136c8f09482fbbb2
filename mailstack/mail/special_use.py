"""The special uses that a mailbox can be given (RFC 6154 §2, RFC 8457)."""

from __future__ import annotations

SPECIAL_USES = frozenset({b"ALL", b"ARCHIVE", b"DRAFTS", b"FLAGGED", b"JUNK", b"SENT", b"TRASH", b"IMPORTANT"})
"""In upper case, without the backslash."""
