"""Only those who have logged in may send to others through us, and strangers to domains that we are the backup of."""

from __future__ import annotations

from mailstack.mail.address import ascii_domain
from mailstack.ports import Remote
from mailstack.smtp.checks.frame import Check, Opinion, Stage
from mailstack.smtp.facts import Facts
from mailstack.smtp.replies import RELAY_DENIED
from mailstack.smtp.settings import SmtpResources


async def relay_allowed(facts: Facts, _: SmtpResources) -> Opinion:
    """550 5.7.1 for a remote recipient without login."""
    route = facts.route
    if facts.login is not None or not isinstance(route, Remote):
        return None
    return None if ascii_domain(route.domain) in facts.settings.relay_domains else RELAY_DENIED


CHECK = Check("relay allowed", Stage.RCPT, relay_allowed)
