"""Refuses what is too large: when it is announced, and when it is there (RFC 1870 §6)."""

from __future__ import annotations

from mailstack.smtp.checks.frame import Check, Opinion, Stage
from mailstack.smtp.facts import Facts
from mailstack.smtp.replies import TOO_BIG
from mailstack.smtp.settings import SmtpResources


async def declared_size(facts: Facts, _: SmtpResources) -> Opinion:
    """552 5.3.4 by the SIZE parameter."""
    return TOO_BIG if facts.declared_size > facts.settings.max_size else None


async def true_size(facts: Facts, _: SmtpResources) -> Opinion:
    """552 5.3.4 by what came. The session keeps nothing beyond the limit."""
    return TOO_BIG if facts.size > facts.settings.max_size else None


DECLARED = Check("declared size", Stage.MAIL, declared_size)
TRUE = Check("size", Stage.END_OF_DATA, true_size)
