"""Refuses mail data with CR or LF outside of CRLF, where the settings say so (RFC 5321 §2.3.8)."""

from __future__ import annotations

from mailstack.config.sections import BareNewline
from mailstack.smtp.checks.frame import Check, Opinion, Stage
from mailstack.smtp.facts import Facts
from mailstack.smtp.replies import BARE_NEWLINE
from mailstack.smtp.settings import Role, SmtpResources


async def bare_newline(facts: Facts, _: SmtpResources) -> Opinion:
    """550 5.6.11; otherwise the framing has made CRLF of each. A stranger is who comes to port 25 without a
    login: only his messages pass through servers that might end them elsewhere."""
    if not facts.bare_newline:
        return None
    stranger = facts.login is None and facts.settings.role is Role.RECEIVE
    match facts.settings.bare_newline:
        case BareNewline.REJECT:
            return BARE_NEWLINE
        case BareNewline.REJECT_STRANGERS:
            return BARE_NEWLINE if stranger else None
        case BareNewline.REPAIR:
            return None


CHECK = Check("bare newline", Stage.END_OF_DATA, bare_newline)
