"""Bounds the connections of one address, and those on which one account sends, in a minute."""

from __future__ import annotations

from mailstack.smtp.checks.frame import Check, Opinion, Stage
from mailstack.smtp.checks.strangers import fits
from mailstack.smtp.facts import Facts
from mailstack.smtp.replies import Reply
from mailstack.smtp.settings import Role, SmtpResources

BY_ADDRESS = Reply(421, "4.7.0", "Too many connections from your address; come again in a minute")
BY_ACCOUNT = Reply(450, "4.7.0", "Too many connections of this account; come again in a minute")


async def connection_rate(facts: Facts, resources: SmtpResources) -> Opinion:
    """421 4.7.0 instead of the greeting."""
    limit = facts.settings.policy.connections_per_minute
    return None if fits(facts, resources.rates.connections, limit, resources.clock.now()) else BY_ADDRESS


async def account_connection_rate(facts: Facts, resources: SmtpResources) -> Opinion:
    """450 4.7.0 for MAIL, where a connection is counted that sends its first message."""
    limit = facts.settings.policy.account_connections_per_minute
    if not limit or facts.login is None or facts.account_counted:
        return None
    if not resources.rates.account_connections.take(facts.login, limit, resources.clock.now()):
        return BY_ACCOUNT
    facts.account_counted = True
    return None


CHECK = Check("connection rate", Stage.CONNECT, connection_rate, frozenset({Role.RECEIVE, Role.SUBMISSION}))
ACCOUNT = Check("account connection rate", Stage.MAIL, account_connection_rate, frozenset({Role.SUBMISSION}))
