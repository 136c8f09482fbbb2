"""Who talks first: a client has to wait for the greeting (RFC 5321 §3.1, §4.3.1). Programs that send spam
often do not."""

from __future__ import annotations

from mailstack.config.policy import Judgement
from mailstack.smtp.checks.frame import Check, Delay, Mark, Opinion, Stage
from mailstack.smtp.checks.strangers import is_exempt
from mailstack.smtp.facts import Facts
from mailstack.smtp.replies import Reply
from mailstack.smtp.settings import Role, SmtpResources

TALKED_FIRST = Reply(554, "5.5.0", "You talked before you were greeted; closing connection")


async def greeting_delay(facts: Facts, _: SmtpResources) -> Opinion:
    """A moment in which an honest client says nothing."""
    policy = facts.settings.policy
    if not policy.greeting_delay or policy.early_talker is Judgement.OFF or is_exempt(facts):
        return None
    return Delay(policy.greeting_delay, "greeting")


async def early_talker(facts: Facts, _: SmtpResources) -> Opinion:
    """554 5.5.0 instead of the greeting, or the mark "early-talker"."""
    judgement = facts.settings.policy.early_talker
    if not facts.talked_first or judgement is Judgement.OFF or is_exempt(facts):
        return None
    return TALKED_FIRST if judgement is Judgement.REJECT else Mark("early-talker")


DELAY = Check("greeting delay", Stage.CONNECT, greeting_delay, frozenset({Role.RECEIVE}))
CHECK = Check("early talker", Stage.GREETING, early_talker, frozenset({Role.RECEIVE}))
