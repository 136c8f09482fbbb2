"""Bounds the recipients of one transaction (RFC 5321 §4.5.3.1.10)."""

from __future__ import annotations

from mailstack.smtp.checks.frame import Check, Opinion, Stage
from mailstack.smtp.facts import Facts
from mailstack.smtp.replies import TOO_MANY_RECIPIENTS
from mailstack.smtp.settings import SmtpResources


async def max_recipients(facts: Facts, _: SmtpResources) -> Opinion:
    """452 4.5.3: the client sends the message to those accepted, then again to the others."""
    return TOO_MANY_RECIPIENTS if facts.recipients >= facts.settings.max_recipients else None


CHECK = Check("max recipients", Stage.RCPT, max_recipients)
