"""A message from <> tells one sender what became of one message: it has one recipient (RFC 5321 §4.5.5)."""

from __future__ import annotations

from mailstack.smtp.checks.frame import Check, Opinion, Stage
from mailstack.smtp.checks.strangers import is_exempt
from mailstack.smtp.facts import Facts
from mailstack.smtp.replies import Reply
from mailstack.smtp.settings import Role, SmtpResources

ONE_AT_A_TIME = Reply(452, "4.5.3", "Too many recipients for the null reverse-path")


async def null_sender(facts: Facts, _: SmtpResources) -> Opinion:
    """452 4.5.3 for one recipient more: the client sends to the others in transactions of their own."""
    limit = facts.settings.policy.null_sender_recipients
    if not limit or facts.sender is not None or facts.recipients < limit or is_exempt(facts):
        return None
    return ONE_AT_A_TIME


CHECK = Check("null sender", Stage.RCPT, null_sender, frozenset({Role.RECEIVE, Role.SUBMISSION}))
