"""A login sends under its own addresses only (RFC 6409 §6.1)."""

from __future__ import annotations

from mailstack.smtp.checks.frame import Check, Opinion, Stage
from mailstack.smtp.facts import Facts
from mailstack.smtp.replies import NOT_YOUR_ADDRESS
from mailstack.smtp.settings import Role, SmtpResources


async def sender_belongs(facts: Facts, resources: SmtpResources) -> Opinion:
    """550 5.7.1 for somebody else's address. The null reverse-path belongs to everybody."""
    if facts.login is None or facts.sender is None:
        return None
    mine = await resources.directory.may_send_as(facts.login, facts.sender)
    return None if mine else NOT_YOUR_ADDRESS


CHECK = Check("sender belongs to login", Stage.MAIL, sender_belongs, frozenset({Role.SUBMISSION}))
