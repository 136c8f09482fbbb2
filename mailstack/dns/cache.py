"""Outcomes that still hold. Pure: time is an argument."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

from mailstack.dns.outcomes import NOTHING_CACHED, Failed, Found, Nothing, Outcome
from mailstack.dns.wire import Question

LOWEST_TTL = 5
"""Seconds for which an answer holds at least: who says 0 is asked once, not for each recipient."""
HIGHEST_TTL = 86_400
"""Seconds for which an answer holds at most (RFC 8767 §4 allows a week)."""
HIGHEST_NEGATIVE_TTL = 600
"""Seconds for which it holds that there is nothing: mail bounces for it (RFC 2308 §5 allows hours)."""
FAILURE_TTL = 5
"""Seconds in which a question that failed is not asked again (RFC 9520 §3.2 allows 1 to 300)."""
MAX_RECORDS = 100_000
"""Records in the cache, in answers to any number of questions: some 20 MiB."""


class Cache:
    """Remembers at most `max_entries` outcomes, forgetting those that were not asked for the longest. 0 remembers
    none."""

    def __init__(self, max_entries: int) -> None:
        self.max_entries = max_entries
        self._entries: OrderedDict[Question, tuple[float, Outcome]] = OrderedDict()
        self._records = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, question: Question, now: float) -> Outcome | None:
        """What is known, its `ttl` being what is left of it. `now` in seconds that never go back."""
        entry = self._entries.get(question)
        if entry is None:
            return None
        expires, outcome = entry
        if expires <= now:
            self._forget(question)
            return None
        self._entries.move_to_end(question)
        return replace(outcome, ttl=int(expires - now))

    def put(self, question: Question, outcome: Outcome, now: float) -> Outcome:
        """Remember it for as long as it may be; the outcome with that as its `ttl`."""
        outcome = replace(outcome, ttl=_seconds(outcome))
        if question in self._entries:
            self._forget(question)
        if self.max_entries and outcome.ttl:
            self._entries[question] = (now + outcome.ttl, outcome)
            self._records += _size(outcome)
            while len(self._entries) > self.max_entries or self._records > MAX_RECORDS:
                self._forget(next(iter(self._entries)))
        return outcome

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._records = 0

    def _forget(self, question: Question) -> None:
        self._records -= _size(self._entries.pop(question)[1])


def _seconds(outcome: Outcome) -> int:
    match outcome:
        case Found():
            return min(max(outcome.ttl, LOWEST_TTL), HIGHEST_TTL)
        case Nothing(ttl=ttl):
            return min(max(ttl, LOWEST_TTL), HIGHEST_NEGATIVE_TTL) if ttl != NOTHING_CACHED else LOWEST_TTL
        case Failed():
            return FAILURE_TTL


def _size(outcome: Outcome) -> int:
    """Records, a long text being several."""
    if not isinstance(outcome, Found):
        return 1
    return 1 + sum(1 + len(record) // 200 if isinstance(record, bytes) else 1 for record in outcome.records)
