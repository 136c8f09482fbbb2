"""What an attempt comes to: who is done, who has to hear of it, and when the rest is tried again. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from mailstack.handover import Outcome, Verdict
from mailstack.queue.items import Waiting
from mailstack.queue.schedule import Schedule

TOO_MANY = frozenset({"4.5.3"})
"""Too many recipients for one transaction (RFC 5321 §4.5.3.1.10): those that are left go in the next."""
_UNKNOWN = Outcome(Verdict.LATER, "4.3.0", "nothing was said of this recipient", remote=False)


@dataclass(frozen=True, slots=True)
class Settlement:
    """`rest` is the row as it is now, None if nobody waits any more. The others are recipients by their index: who has
    it, who will never have it, and of whom the sender hears now that they wait."""

    rest: Waiting | None
    done: dict[int, Outcome]
    failed: dict[int, Outcome]
    late: dict[int, Outcome]


def settlement(waiting: Waiting, outcomes: Mapping[int, Outcome], now: float, schedule: Schedule) -> Settlement:
    """After an attempt at `now`."""
    done: dict[int, Outcome] = {}
    failed: dict[int, Outcome] = {}
    later: dict[int, Outcome] = {}
    for number in waiting.recipients:
        outcome = outcomes.get(number, _UNKNOWN)
        if outcome.verdict is Verdict.DONE:
            done[number] = outcome
        elif outcome.verdict is Verdict.NEVER:
            failed[number] = outcome
        elif now >= waiting.item.expires:
            failed[number] = expired(outcome)
        else:
            later[number] = outcome
    if not later:
        return Settlement(None, done, failed, {})
    attempts = waiting.attempts + 1
    at_once = bool(done) and all(outcome.status in TOO_MANY for outcome in later.values())
    rest = replace(
        waiting,
        recipients=tuple(later),
        due=now if at_once else min(now + schedule.interval(attempts), max(waiting.item.expires, now)),
        attempts=attempts,
        last=later,
        last_at=now,
    )
    return _late(rest, done, failed, now)


def lateness(waiting: Waiting, now: float) -> Settlement:
    """Without an attempt: whether the sender hears now that it is late."""
    return _late(waiting, {}, {}, now)


def _late(rest: Waiting, done: dict[int, Outcome], failed: dict[int, Outcome], now: float) -> Settlement:
    if rest.warn_at is None or now < rest.warn_at:
        return Settlement(rest, done, failed, {})
    late = {number: rest.last.get(number, _UNKNOWN) for number in rest.recipients}
    return Settlement(replace(rest, warn_at=None), done, failed, late)


def unreadable(*, final: bool) -> Outcome:
    """Of a message that cannot be read, now or ever."""
    if final:
        return Outcome(Verdict.NEVER, "5.3.0", "the message was damaged on our disk", remote=False)
    return Outcome(Verdict.LATER, "4.3.0", "the message could not be read from our disk", remote=False)


def unreported(waiting: Waiting, settled: Settlement, now: float, schedule: Schedule) -> Settlement:
    """No report could be made of it: who has the message is done, who will never have it waits on, so that the sender
    hears of him one day."""
    if not settled.failed:
        return replace(settled, late={})
    attempts = waiting.attempts + 1
    rest = settled.rest or replace(waiting, recipients=(), attempts=attempts, last={}, last_at=now)
    last = {number: replace(outcome, verdict=Verdict.LATER) for number, outcome in settled.failed.items()}
    rest = replace(
        rest,
        recipients=tuple(sorted((*rest.recipients, *last))),
        due=now + schedule.interval(attempts),
        last={**rest.last, **last},
    )
    return Settlement(rest, settled.done, {}, {})


def expired(last: Outcome) -> Outcome:
    """The time is over: what went wrong last is why (RFC 3463 §3.5, X.4.7)."""
    return replace(last, verdict=Verdict.NEVER, status="4.4.7", cause=last.status)
