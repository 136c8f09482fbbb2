"""FUTURERELEASE: a submission that waits until its time (RFC 4865). It goes to the queue whole, mail for
mailboxes of ours, too."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime

from mailstack.errors import BadSyntax
from mailstack.smtp import replies
from mailstack.smtp.facts import Facts
from mailstack.smtp.registry import Extension
from mailstack.smtp.replies import Reply
from mailstack.smtp.settings import Role

MAX_INTERVAL = 30 * 24 * 3600
"""Seconds that a message may wait."""
# date-time of RFC 3339 §5.6 (RFC 4865 §4, erratum 2040); a leap second is the one before
_DATE_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:Z|[+-][0-9]{2}:[0-9]{2})", re.IGNORECASE
)


def keyword(facts: Facts) -> str:
    """The longest wait in seconds, and when it would end (RFC 4865 §3)."""
    if not facts.settings.holds:
        return ""
    last = datetime.fromtimestamp(int(facts.now) + MAX_INTERVAL, UTC)
    return f"FUTURERELEASE {MAX_INTERVAL} {last:%Y-%m-%dT%H:%M:%SZ}"


def hold_for(facts: Facts, value: str | None) -> Reply | None:
    """HOLDFOR= of MAIL."""
    # future-release-integer = %x31-39 *8DIGIT   ; RFC 4865 §4
    if value is None or not re.fullmatch("[1-9][0-9]{0,8}", value):
        raise BadSyntax("HOLDFOR=seconds")
    return _hold(facts, int(facts.now) + int(value))


def hold_until(facts: Facts, value: str | None) -> Reply | None:
    """HOLDUNTIL= of MAIL."""
    if value is None or not _DATE_TIME.fullmatch(value):
        raise BadSyntax("HOLDUNTIL=date-time of RFC 3339")
    try:
        when = datetime.fromisoformat(value.upper().replace(":60", ":59"))
        return _hold(facts, int(when.timestamp()))
    except (ValueError, OverflowError):
        raise BadSyntax("HOLDUNTIL=date-time of RFC 3339") from None


def _hold(facts: Facts, until: int) -> Reply | None:
    if not facts.settings.holds:
        return replies.UNKNOWN_PARAMETER
    if facts.parameters.hold_until is not None:
        raise BadSyntax("HOLDFOR or HOLDUNTIL, not both")
    if until > facts.now + MAX_INTERVAL:
        return replies.HOLD_TOO_LONG
    facts.parameters = replace(facts.parameters, hold_until=until)
    return None


FUTURERELEASE = Extension(
    keyword,
    mail_parameters=(("HOLDFOR", hold_for), ("HOLDUNTIL", hold_until)),
    roles=frozenset({Role.SUBMISSION}),
)
