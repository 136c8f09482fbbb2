"""Bounds the recipients of one address or one account in a minute."""

from __future__ import annotations

from mailstack.rates import network_of
from mailstack.smtp.checks.frame import Check, Opinion, Stage
from mailstack.smtp.checks.strangers import is_exempt
from mailstack.smtp.facts import Facts
from mailstack.smtp.replies import Reply
from mailstack.smtp.settings import Role, SmtpResources

BY_ADDRESS = Reply(450, "4.7.0", "Too many recipients from your address; come again in a minute")
BY_ACCOUNT = Reply(450, "4.7.0", "Too many recipients of this account; come again in a minute")


async def recipient_rate(facts: Facts, resources: SmtpResources) -> Opinion:
    """450 4.7.0 for RCPT: of a login, by its account, else by the address."""
    policy, rates, now = facts.settings.policy, resources.rates, resources.clock.now()
    if facts.login is not None:
        limit = policy.account_recipients_per_minute
        fits = not limit or rates.account_recipients.take(facts.login, limit, now)
        return None if fits else BY_ACCOUNT
    limit = policy.recipients_per_minute
    if not limit or is_exempt(facts):
        return None
    return None if rates.recipients.take(network_of(facts.peer.host), limit, now) else BY_ADDRESS


CHECK = Check("recipient rate", Stage.RCPT, recipient_rate, frozenset({Role.RECEIVE, Role.SUBMISSION}))
