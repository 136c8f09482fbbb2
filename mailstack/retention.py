"""Which rules of retention apply to a mailbox, and what they promise. The rules are `config.sections.Retention`."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import translate
from functools import lru_cache
from re import Pattern, compile

from mailstack.config.sections import Retention
from mailstack.mailboxes import AccountName

Rules = Sequence[Retention]


def matches(pattern: str, name: str) -> bool:
    """Whether a name is meant: * stands for any characters; nothing else is special."""
    return _pattern(pattern).match(name) is not None


@lru_cache(256)
def _pattern(pattern: str) -> Pattern[str]:
    return compile(translate(pattern.replace("[", "[[]").replace("?", "[?]")))


def rules_of_mailbox(rules: Rules, mailbox: str) -> Rules:
    """Those that apply to mailboxes of this name, whosever."""
    return [r for r in rules if matches("INBOX" if r.mailbox.upper() == "INBOX" else r.mailbox, mailbox)]


def rules_for(rules: Rules, account: AccountName, mailbox: str) -> Rules:
    """Those that apply to a mailbox."""
    return [rule for rule in rules_of_mailbox(rules, mailbox) if matches(rule.account.lower(), account)]


def days_kept(rules: Rules) -> int | None:
    """Days for which no message expires by rules that all apply: 0 if that is not known, because messages expire for
    the number of them. None if none expires ever."""
    days = [0 if rule.messages else rule.days for rule in rules if rule.messages or rule.days]
    return min(days, default=None)
