"""Asks the filters beside us that the configuration names, last of all: what we refuse ourselves they need not see.
At the end of mail data they are asked by the session, since they may change the message."""

from __future__ import annotations

from functools import partial

from mailstack.smtp.checks.frame import Check, Opinion, Stage
from mailstack.smtp.facts import Facts
from mailstack.smtp.settings import SmtpResources


async def milters(stage: Stage, facts: Facts, _: SmtpResources) -> Opinion:
    """The refusal of the first milter that refuses."""
    return None if facts.milters is None else await facts.milters.opinion(stage)


CHECKS = tuple(
    Check("milters", stage, partial(milters, stage))
    for stage in (Stage.CONNECT, Stage.HELO, Stage.MAIL, Stage.RCPT, Stage.DATA)
)
