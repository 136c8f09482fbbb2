"""EXPIRE: for how many days messages stay that are left on the server (RFC 2449 §6.7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailstack.pop3.registry import Extension
from mailstack.retention import days_kept, rules_for, rules_of_mailbox

if TYPE_CHECKING:
    from mailstack.pop3.session import Pop3Session


def capability(session: Pop3Session) -> str:
    """What the rules of retention come to for INBOX. Nothing where messages expire for the number of them: they are
    not kept for any number of days then, and 0 would mean that none may be left here."""
    rules = rules_of_mailbox(session.settings.retention, "INBOX")
    if session.account is not None:
        days, differs = days_kept(rules_for(rules, session.account, "INBOX")), False
    else:
        days, differs = days_kept(rules), any(rule.account != "*" for rule in rules)
    if days == 0:
        return ""
    return f"EXPIRE {days or 'NEVER'}{' USER' if differs else ''}"


EXPIRE = Extension(capability)
