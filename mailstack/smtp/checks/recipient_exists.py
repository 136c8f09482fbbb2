"""Refuses recipients that do not exist, in the session: never by a later bounce to a forged sender."""

from __future__ import annotations

from mailstack.errors import Problem
from mailstack.smtp.checks.frame import Check, Opinion, Stage
from mailstack.smtp.facts import Facts
from mailstack.smtp.replies import for_problem
from mailstack.smtp.settings import SmtpResources


async def recipient_exists(facts: Facts, _: SmtpResources) -> Opinion:
    """550 5.1.1 for an unknown user of ours, or the reply to whatever else the directory says."""
    return for_problem(facts.route) if isinstance(facts.route, Problem) else None


CHECK = Check("recipient exists", Stage.RCPT, recipient_exists)
