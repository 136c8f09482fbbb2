"""Who is often wrong is answered slowly: guessing addresses takes time then."""

from __future__ import annotations

from mailstack.smtp.checks.frame import Check, Delay, Opinion, Stage
from mailstack.smtp.checks.strangers import is_exempt
from mailstack.smtp.facts import Facts
from mailstack.smtp.settings import Role, SmtpResources

MAX_DOUBLINGS = 16


async def tarpit(facts: Facts, _: SmtpResources) -> Opinion:
    """A delay that doubles with each reply of 5xx beyond the first some."""
    policy = facts.settings.policy
    more = facts.errors - policy.tarpit_after
    if more <= 0 or not policy.tarpit_delay or is_exempt(facts):
        return None
    seconds = policy.tarpit_delay * 2 ** min(more - 1, MAX_DOUBLINGS)
    return Delay(min(seconds, policy.tarpit_limit), "errors")


CHECK = Check("tarpit", Stage.ERROR, tarpit, frozenset({Role.RECEIVE, Role.SUBMISSION}))
