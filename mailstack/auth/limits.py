"""How often one may be wrong: by address, and by account without letting a stranger lock the owner out."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable

from mailstack.errors import Problem, Refused
from mailstack.rates import network_of

MAX_TRACKED = 20_000
"""Addresses, accounts, and pairs of them that are remembered; the oldest are forgotten."""


class LoginLimits:
    """Counts failures within `window` seconds. An address from which an account's owner has logged in
    is not held up by what others do to the account."""

    def __init__(self, per_address: int, per_account: int, window: float, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.set(per_address, per_account, window)
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()
        self._good: OrderedDict[tuple[str, str], None] = OrderedDict()

    def set(self, per_address: int, per_account: int, window: float) -> None:
        """Other limits; failures that were counted stay counted."""
        self._per_address = per_address
        self._per_account = per_account
        self._window = window

    def check(self, host: str, account: str) -> None:
        """`account` is "" while nobody knows which it is. Raises: Refused(TOO_MANY_FAILURES)."""
        network = network_of(host)
        if (network, account) in self._good:
            return
        if self._recent(f"a {network}") >= self._per_address:
            raise Refused(Problem.TOO_MANY_FAILURES, f"from {network}")
        if account and self._recent(f"n {account}") >= self._per_account:
            raise Refused(Problem.TOO_MANY_FAILURES, f"for {account}")

    def failed(self, host: str, account: str) -> None:
        """A wrong password, or what else was to show who somebody is. It takes away what the pair had earned
        after as many as an address may have."""
        network = network_of(host)
        for key in (f"a {network}", f"n {account}") if account else (f"a {network}",):
            times = self._failures.setdefault(key, deque())
            times.append(self._clock())
            while len(times) > max(self._per_address, self._per_account):
                times.popleft()
            self._failures.move_to_end(key)
        if self._recent(f"a {network}") >= self._per_address:
            self._good.pop((network, account), None)
        while len(self._failures) > MAX_TRACKED:
            self._failures.popitem(last=False)

    def succeeded(self, host: str, account: str) -> None:
        """A right password."""
        pair = (network_of(host), account)
        self._good[pair] = None
        self._good.move_to_end(pair)
        if len(self._good) > MAX_TRACKED:
            self._good.popitem(last=False)

    def _recent(self, key: str) -> int:
        times = self._failures.get(key)
        if times is None:
            return 0
        oldest = self._clock() - self._window
        while times and times[0] < oldest:
            times.popleft()
        if not times:
            del self._failures[key]
        return len(times)
