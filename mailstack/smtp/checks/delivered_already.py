"""Stops messages that come back to a mailbox which had them (RFC 9228 §4, RFC 5321 §6.3)."""

from __future__ import annotations

from mailstack.smtp.checks.frame import Check, Opinion, Stage
from mailstack.smtp.facts import Facts
from mailstack.smtp.replies import DELIVERED_ALREADY
from mailstack.smtp.settings import Role, SmtpResources


async def delivered_already(facts: Facts, _: SmtpResources) -> Opinion:
    """554 5.4.6 when a Delivered-To field names each recipient of the message. If there are others, too, the
    message is delivered, since one reply would refuse it for all; should it go round again, it comes
    for one of them alone, or the number of Received fields ends it."""
    return DELIVERED_ALREADY if facts.delivered_already else None


# A user who sends a message of his mailbox once more means it.
CHECK = Check("delivered already", Stage.END_OF_DATA, delivered_already, frozenset({Role.RECEIVE, Role.LMTP}))
