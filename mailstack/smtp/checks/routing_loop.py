"""Stops messages that go round in circles (RFC 5321 §6.3)."""

from __future__ import annotations

from mailstack.smtp.checks.frame import Check, Opinion, Stage
from mailstack.smtp.facts import Facts
from mailstack.smtp.replies import ROUTING_LOOP
from mailstack.smtp.settings import SmtpResources


async def routing_loop(facts: Facts, _: SmtpResources) -> Opinion:
    """554 5.4.6 by the number of Received fields."""
    return ROUTING_LOOP if facts.received_fields > facts.settings.max_received else None


CHECK = Check("routing loop", Stage.END_OF_DATA, routing_loop)
