"""What was measured, and how it is shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil

BAR = 40
"""Characters of the longest bar."""
PERCENTILES = (50.0, 90.0, 99.0, 99.9)


@dataclass(slots=True)
class Figures:
    """Of one run. Times in seconds; `taken` has one of each operation that succeeded."""

    taken: list[float] = field(default_factory=list)
    octets: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    elapsed: float = 0.0

    @property
    def failed(self) -> int:
        """Operations."""
        return sum(self.errors.values())

    @property
    def rate(self) -> float:
        """Operations a second that succeeded."""
        return len(self.taken) / self.elapsed if self.elapsed else 0.0

    def document(self) -> dict[str, object]:
        """As JSON; times in milliseconds."""
        ordered = sorted(self.taken)
        return {
            "operations": len(ordered),
            "failed": self.failed,
            "seconds": round(self.elapsed, 3),
            "per_second": round(self.rate, 1),
            "octets": self.octets,
            "milliseconds": {f"p{each:g}": _ms(percentile(ordered, each)) for each in PERCENTILES}
            | {"min": _ms(ordered[0] if ordered else 0.0), "max": _ms(ordered[-1] if ordered else 0.0)},
            "errors": dict(self.errors.most_common()),
        }


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest value that so many per cent of all do not exceed (nearest rank); 0 of none. `ordered` ascends."""
    if not ordered:
        return 0.0
    return ordered[max(0, ceil(len(ordered) * percent / 100) - 1)]


def histogram(taken: Sequence[float]) -> list[str]:
    """A line for each doubling of the time."""
    if not taken:
        return []
    counts: Counter[int] = Counter()
    for seconds in taken:
        counts[max(0, ceil(seconds * 10_000) - 1).bit_length()] += 1  # buckets up to 0.1, 0.2, 0.4, ... ms
    most = max(counts.values())
    lines = []
    for bucket in range(min(counts), max(counts) + 1):
        count = counts[bucket]
        bar = "#" * ceil(BAR * count / most)
        lines.append(f"{2**bucket / 10:>10.1f} ms {count:>8}  {bar}".rstrip())
    return lines


def report(what: str, figures: Figures) -> list[str]:
    """Lines for people."""
    ordered = sorted(figures.taken)
    lines = [
        f"{len(ordered)} {what} in {figures.elapsed:.2f} s: {figures.rate:.1f} a second, "
        f"{figures.octets / 1e6 / (figures.elapsed or 1):.2f} MB/s, {figures.failed} failed"
    ]
    if ordered:
        shown = (f"p{each:g} {_ms(percentile(ordered, each))} ms" for each in PERCENTILES)
        lines += ["  ".join(shown) + f"  max {_ms(ordered[-1])} ms", "", "     up to    times"]
        lines += histogram(ordered)
    lines += [f"{count} times: {why}" for why, count in figures.errors.most_common(5)]
    return lines


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 2)
