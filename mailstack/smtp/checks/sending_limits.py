"""How much an account may send in an hour and a day ([sending]). What is counted are MAIL and RCPT: also those of
messages that do not come to their end."""

from __future__ import annotations

from datetime import UTC, datetime

from mailstack.ports import SendingLimit
from mailstack.smtp.checks.frame import Check, Opinion, Stage
from mailstack.smtp.facts import Facts
from mailstack.smtp.replies import Reply
from mailstack.smtp.settings import Role, SmtpResources


async def messages_sent(facts: Facts, resources: SmtpResources) -> Opinion:
    """450 4.7.1 for MAIL, with the limit and when it ends."""
    if facts.login is None or resources.sending is None:
        return None
    reached = await resources.sending.message(facts.login, resources.clock.now())
    return None if reached is None else Reply(450, "4.7.1", _text(reached))


async def recipients_sent(facts: Facts, resources: SmtpResources) -> Opinion:
    """550 5.7.1 for RCPT, with the limit and when it ends: no client tries again for a day."""
    if facts.login is None or facts.recipient is None or resources.sending is None:
        return None
    reached = await resources.sending.recipient(facts.login, facts.recipient, resources.clock.now())
    return None if reached is None else Reply(550, "5.7.1", _text(reached))


def _text(reached: SendingLimit) -> str:
    until = datetime.fromtimestamp(reached.until, UTC)
    return f"This account may send {reached.limit} {reached.what}; it can go on at {until:%H:%M UTC on %d %B %Y}"


MESSAGES = Check("sending limits", Stage.MAIL, messages_sent, frozenset({Role.SUBMISSION}))
RECIPIENTS = Check("sending limits", Stage.RCPT, recipients_sent, frozenset({Role.SUBMISSION}))
