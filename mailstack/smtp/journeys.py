"""What a session takes down of a message."""

from __future__ import annotations

import re
from collections.abc import Iterable

from mailstack.journeys import Event, Step
from mailstack.mail.address import Address
from mailstack.smtp.facts import Facts
from mailstack.smtp.settings import SmtpResources
from mailstack.smtp.transaction import Transaction

_MESSAGE_ID = re.compile(rb"(?im)^message-id:(?:[ \t]|\r\n[ \t])*(<[^\r\n>]{1,250}>)")


def note(
    step: Step,
    recipients: Iterable[Address],
    transaction: Transaction,
    facts: Facts,
    resources: SmtpResources,
    where: str = "",
    reason: str = "",
) -> None:
    """The same step for some of its recipients."""
    if resources.journal is None:
        return
    found = _MESSAGE_ID.search(transaction.tap.header)
    message_id = found[1].decode("ascii", "replace") if found else transaction.message_id
    now, sender = resources.clock.now(), str(facts.sender or "<>")
    for recipient in recipients:
        resources.journal.note(
            Event(now, transaction.id, step, str(recipient).lower(), sender, message_id, where, reason=reason)
        )
