"""A login sends under its own addresses only (RFC 6409 §6.1), or as the settings say."""

from __future__ import annotations

from mailstack.config.sections import Sender
from mailstack.mail.address import ascii_domain
from mailstack.smtp.checks.frame import Check, Opinion, Stage
from mailstack.smtp.facts import Facts
from mailstack.smtp.replies import NOT_YOUR_ADDRESS
from mailstack.smtp.settings import Role, SmtpResources


async def sender_belongs(facts: Facts, resources: SmtpResources) -> Opinion:
    """550 5.7.1 for somebody else's address. The null reverse-path belongs to everybody."""
    login, sender = facts.login, facts.sender
    if login is None or sender is None or facts.settings.sender is Sender.ANY:
        return None
    if facts.settings.sender is Sender.DOMAIN:
        mine = ascii_domain(login.rpartition("@")[2]) == ascii_domain(sender.domain)
    else:
        mine = await resources.directory.may_send_as(login, sender)
    return None if mine else NOT_YOUR_ADDRESS


CHECK = Check("sender belongs to login", Stage.MAIL, sender_belongs, frozenset({Role.SUBMISSION}))
