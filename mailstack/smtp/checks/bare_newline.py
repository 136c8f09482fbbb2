"""Refuses mail data with CR or LF outside of CRLF, where the settings say so (RFC 5321 §2.3.8)."""

from __future__ import annotations

from mailstack.smtp.checks.frame import Check, Opinion, Stage
from mailstack.smtp.facts import Facts
from mailstack.smtp.replies import BARE_NEWLINE
from mailstack.smtp.settings import SmtpResources


async def bare_newline(facts: Facts, _: SmtpResources) -> Opinion:
    """550 5.6.11; otherwise the framing has made CRLF of each."""
    return BARE_NEWLINE if facts.bare_newline and facts.settings.bare_newline == "reject" else None


CHECK = Check("bare newline", Stage.END_OF_DATA, bare_newline)
