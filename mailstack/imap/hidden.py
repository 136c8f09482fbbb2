"""Capabilities that some clients are not told of. The commands stay: what is hidden is the announcement, which is
what clients go by."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Hidden:
    """These capabilities, in upper case, are hidden from whom both patterns fit; "*" in them is any characters.
    What is not known yet (the account before the login, the client before ID) fits "*" only."""

    capabilities: frozenset[str]
    account: str = "*"
    client: str = "*"

    def applies(self, account: str, client: str) -> bool:
        return _fits(self.account, account) and _fits(self.client, client)


def shown(words: Iterable[str], rules: Iterable[Hidden], account: str, client: str) -> list[str]:
    """What of `words` is announced."""
    names = frozenset(name for rule in rules if rule.applies(account, client) for name in rule.capabilities)
    return [word for word in words if word.upper() not in names and word.upper().partition("=")[0] not in names]


def _fits(pattern: str, text: str) -> bool:
    if pattern == "*":
        return True
    expression = ".*".join(re.escape(piece) for piece in pattern.split("*"))
    return bool(text) and re.fullmatch(expression, text, re.IGNORECASE | re.DOTALL) is not None
