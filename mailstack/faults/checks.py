"""Answers of faults as checks of an SMTP session, which knows of which recipient or message it speaks, and goes on as
after any refusal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial

from mailstack.faults.connection import FaultyConnection
from mailstack.faults.rules import MESSAGE, Action, Answer, Moment, Protocol
from mailstack.mail.address import Address
from mailstack.ports import Connection
from mailstack.smtp.checks.frame import Check, Opinion, Stage
from mailstack.smtp.facts import Facts
from mailstack.smtp.replies import Reply
from mailstack.smtp.settings import SmtpResources

_ENHANCED = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}")
_STAGES = {
    Stage.HELO: "EHLO",
    Stage.MAIL: "MAIL",
    Stage.RCPT: "RCPT",
    Stage.DATA: "DATA",
    Stage.END_OF_DATA: MESSAGE,
}


def checks(connection: Connection) -> Sequence[Check]:
    """Those of one connection."""
    assert isinstance(connection, FaultyConnection), connection
    return [Check("fault", stage, partial(_ask, connection, name)) for stage, name in _STAGES.items()]


async def _ask(connection: FaultyConnection, stage: str, facts: Facts, _: SmtpResources) -> Opinion:
    if connection.book.is_empty and not connection.tap.names_fault:
        return None
    for action in connection.book.actions(_moment(connection, stage, facts), _is_answer):
        if isinstance(action, Answer):
            return reply_of(action.text)
    return None


def _is_answer(action: Action) -> bool:
    return isinstance(action, Answer)


def _moment(connection: FaultyConnection, stage: str, facts: Facts) -> Moment:
    asked = (_text(facts.recipient),) if facts.recipient else ()
    recipients = asked if stage == "RCPT" else connection.tap.recipients or asked
    return Moment(
        Protocol.SMTP, stage, facts.peer.host, facts.helo.lower(), _text(facts.sender), recipients,
        str(facts.login or "") or connection.tap.login,
    )  # fmt: skip


def _text(address: Address | None) -> str:
    return str(address).lower() if address else ""


def reply_of(text: str) -> Reply:
    """As "452 4.2.2 Mailbox full", whose second word need not be there."""
    code, _, rest = text.partition(" ")
    enhanced, _, words = rest.partition(" ")
    if not _ENHANCED.fullmatch(enhanced):
        enhanced, words = f"{code[0]}.0.0", rest
    return Reply(int(code), enhanced, words or "Fault on demand")
