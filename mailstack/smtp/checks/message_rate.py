"""Bounds the messages of one address or one account in a minute."""

from __future__ import annotations

from mailstack.smtp.checks.frame import Check, Opinion, Stage
from mailstack.smtp.checks.strangers import fits
from mailstack.smtp.facts import Facts
from mailstack.smtp.replies import Reply
from mailstack.smtp.settings import Role, SmtpResources

BY_ADDRESS = Reply(450, "4.7.0", "Too many messages from your address; come again in a minute")
BY_ACCOUNT = Reply(450, "4.7.0", "Too many messages of this account; come again in a minute")


async def message_rate(facts: Facts, resources: SmtpResources) -> Opinion:
    """450 4.7.0 for MAIL: of a login, by its account, else by the address."""
    policy, rates, now = facts.settings.policy, resources.rates, resources.clock.now()
    if facts.login is not None:
        limit = policy.account_messages_per_minute
        return None if not limit or rates.account_messages.take(facts.login, limit, now) else BY_ACCOUNT
    return None if fits(facts, rates.messages, policy.messages_per_minute, now) else BY_ADDRESS


CHECK = Check("message rate", Stage.MAIL, message_rate, frozenset({Role.RECEIVE, Role.SUBMISSION}))
