"""When each account has logged in last, for LOGIN-DELAY (RFC 2449 §6.5)."""

from __future__ import annotations

from collections import OrderedDict

from mailstack.ports import AccountName

MAX_TRACKED = 100_000
"""Accounts that are remembered, of some 200 octets each; those whose login is longest ago are forgotten."""


class LoginTimes:
    """In memory, over all connections of the process."""

    def __init__(self, max_tracked: int = MAX_TRACKED) -> None:
        self._max_tracked = max_tracked
        self._last: OrderedDict[AccountName, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._last)

    def take(self, account: AccountName, now: float, delay: float) -> bool:
        """Whether the account may log in at `now` (seconds), `delay` seconds after its last login; if so, this is the
        last one. A clock that was set back keeps nobody out."""
        if 0 <= now - self._last.get(account, float("-inf")) < delay:
            return False
        self._last[account] = now
        self._last.move_to_end(account)
        if len(self._last) > self._max_tracked:
            self._last.popitem(last=False)
        return True

    def give_back(self, account: AccountName) -> None:
        """The login came to nothing."""
        self._last.pop(account, None)
