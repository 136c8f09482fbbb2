"""Counters to look at."""

from __future__ import annotations

from collections import Counter


class MemoryCounters:
    """Implements `ports.Counters`: `totals[name, label]`."""

    def __init__(self) -> None:
        self.totals: Counter[tuple[str, str]] = Counter()

    def count(self, name: str, /, label: str = "", amount: int = 1) -> None:
        self.totals[name, label] += amount

    def total(self, name: str) -> int:
        """The sum over all labels."""
        return sum(amount for (counted, _), amount in self.totals.items() if counted == name)
