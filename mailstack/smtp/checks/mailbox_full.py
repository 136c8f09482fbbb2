"""Refuses recipients that have no room, before the message is sent (RFC 1870 §6.4)."""

from __future__ import annotations

from mailstack.ports import Local
from mailstack.smtp.checks.frame import Check, Opinion, Stage
from mailstack.smtp.facts import Facts
from mailstack.smtp.replies import mailbox_full as reply
from mailstack.smtp.settings import SmtpResources


async def mailbox_full(facts: Facts, resources: SmtpResources) -> Opinion:
    """452 4.2.2 or 552 5.2.2, by the size that MAIL declared. An alias of several accounts is taken if one of
    them has room; the others get their copies all the same, since the sender cannot send to one of them. So it is
    with mail that is forwarded."""
    route = facts.route
    if not isinstance(route, Local) or route.forwards:
        return None
    for account in route.accounts:
        if await resources.store.has_room(account, facts.declared_size):
            return None
    return reply(for_good=facts.settings.full_for_good)


CHECK = Check("mailbox full", Stage.RCPT, mailbox_full)
