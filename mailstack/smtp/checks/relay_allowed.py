"""Only those who have logged in may send to others through us."""

from __future__ import annotations

from mailstack.ports import Remote
from mailstack.smtp.checks.frame import Check, Opinion, Stage
from mailstack.smtp.facts import Facts
from mailstack.smtp.replies import RELAY_DENIED
from mailstack.smtp.settings import SmtpResources


async def relay_allowed(facts: Facts, _: SmtpResources) -> Opinion:
    """550 5.7.1 for a remote recipient without login."""
    return RELAY_DENIED if facts.login is None and isinstance(facts.route, Remote) else None


CHECK = Check("relay allowed", Stage.RCPT, relay_allowed)
