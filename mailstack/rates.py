"""How often somebody did something of late: counters by key, bounded in memory. Pure."""

from __future__ import annotations

from collections import OrderedDict
from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network, ip_address

MAX_TRACKED = 20_000
"""Keys that one counter remembers, of some 200 octets each; those that were longest without an event are
forgotten. Who has that many addresses is not stopped by counting them."""


class RateCounter:
    """Counts events by key within a window that slides: of the span before the current one as much counts as the
    window still covers, as if its events had been spread evenly. O(1) in time, and three numbers a key."""

    def __init__(self, window: float, max_tracked: int = MAX_TRACKED) -> None:
        self.window = window
        self._max_tracked = max_tracked
        self._seen: OrderedDict[str, list[int]] = (
            OrderedDict()
        )  # the span's number, events in it, and in the one before

    def __len__(self) -> int:
        return len(self._seen)

    def take(self, key: str, limit: int, now: float, amount: int = 1) -> bool:
        """Count `amount` events of `key` at `now` (seconds, never less than before), if no more than `limit` are
        within the window then. What is refused does not count: who goes on asking is served at the rate of the
        limit."""
        number, elapsed = divmod(now, self.window)
        span = self._seen.get(key)
        if span is None:
            span = self._seen[key] = [int(number), 0, 0]
            if len(self._seen) > self._max_tracked:
                self._seen.popitem(last=False)
        else:
            self._seen.move_to_end(key)
            if span[0] != number:
                span[2] = span[1] if span[0] == number - 1 else 0
                span[0], span[1] = int(number), 0
        if span[1] + span[2] * (1.0 - elapsed / self.window) + amount > limit:
            return False
        span[1] += amount
        return True


@lru_cache(maxsize=1000)
def network_of(host: str) -> str:
    """An IPv4 address, or the /64 of an IPv6 address: what one customer has."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(IPv6Network((int(address) >> 64 << 64, 64)))
    return str(address)
