"""What `mailstack queue` prints of items and destinations: lines for people, documents for programs. What others have
sent is in the lines as it is: whoever prints them has to see to it that no terminal obeys it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from mailstack.cli.progress import counted
from mailstack.cli.progress import size as size_text
from mailstack.handover import Outcome
from mailstack.queue.items import GIVEN_UP, Attempt, Census, DestinationLine, Item, Waiting

MOST = 3
"""Recipients that a line of the list names."""


def at(when: float) -> str:
    """A time as people read it, in the local time zone."""
    return f"{datetime.fromtimestamp(when):%Y-%m-%d %H:%M:%S}"


def span(seconds: float) -> str:
    """As "12 s", "5 min", "3 h", "2 d"."""
    for unit, length in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length or (unit == "min" and seconds >= length):
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def state(row: Waiting, now: float) -> str:
    """Whether and when it is tried."""
    if row.held == GIVEN_UP:
        return "given up: the server reports it"
    if row.held:
        return f"held: {row.held}"
    return "due now" if row.due <= now else f"next in {span(row.due - now)}"


def line(row: Waiting, now: float) -> str:
    """One of the list."""
    item = row.item
    names = [str(item.envelope.recipients[number]) for number in row.recipients]
    more = f", and {len(names) - MOST} more" if len(names) > MOST else ""
    parts = [
        f"{item.id} {span(now - item.arrived)} old, {size_text(item.size)}:"
        f" {item.envelope.sender or '<>'} -> {', '.join(names[:MOST])}{more}",
        f"at {row.destination}",
        state(row, now),
    ]
    if row.attempts:
        parts.append(counted(row.attempts, "attempt"))
    text = next((outcome.text for outcome in row.last.values()), "")
    return "; ".join(parts) + (f": {text}" if text else "")


def document(row: Waiting) -> dict[str, Any]:
    """As docs/commands.md says."""
    item = row.item
    return {
        "id": item.id,
        "arrived": item.arrived,
        "expires": item.expires,
        "size": item.size,
        "sender": str(item.envelope.sender or ""),
        "account": item.envelope.account,
        "destination": row.destination,
        "recipients": [_recipient(row, number) for number in row.recipients],
        "held": row.held or None,
        "due": row.due,
        "attempts": row.attempts,
        "last_attempt": row.last_at or None,
    }


def _recipient(row: Waiting, number: int) -> dict[str, Any]:
    last = row.last.get(number)
    found: dict[str, Any] = {"address": str(row.item.envelope.recipients[number])}
    return found if last is None else found | {"status": last.status, "reply": last.text, "mta": last.mta}


def item_lines(
    rows: Sequence[Waiting], attempts: Sequence[tuple[str, Attempt]], where: str, now: float
) -> Iterator[str]:
    """All about an item that waits."""
    item = rows[0].item
    account = f", submitted by {item.envelope.account}" if item.envelope.account else ""
    yield f"{item.id} from {item.envelope.sender or '<>'}{account}"
    yield f"  came {at(item.arrived)}, {span(now - item.arrived)} ago; comes back {at(item.expires)}"
    yield f"  {size_text(item.size)} in {where}"
    asked = _asked(item)
    if asked:
        yield f"  asked for {', '.join(asked)}"
    for row in rows:
        yield f"{row.destination}: {state(row, now)}; {counted(row.attempts, 'attempt')}, {_next(row)}"
        for number in row.recipients:
            yield f"  {item.envelope.recipients[number]}{_became(row.last.get(number))}"
    settled = _settled(rows)
    if settled:
        yield f"done with; `mailstack log trace {item.id}` says how:"
        yield from (f"  {name}" for name in settled)
    for destination, attempt in attempts:
        yield ""
        mta = f" with {attempt.mta}" if attempt.mta else ""
        yield f"attempt of {at(attempt.at)} at {destination}{mta}, {attempt.seconds:.1f} s"
        yield from (f"  {each}" for each in attempt.transcript.splitlines())


def _next(row: Waiting) -> str:
    return "not tried until it is released" if row.held else f"the next {at(row.due)}"


def _became(last: Outcome | None) -> str:
    if last is None:
        return ""
    return f"  {last.status} {last.text}" + (f" ({last.mta})" if last.mta else "")


def _asked(item: Item) -> list[str]:
    asked = item.envelope.parameters
    found = [
        ("REQUIRETLS", asked.require_tls),
        (f"ENVID {asked.envid}", asked.envid),
        (f"RET {asked.ret.value if asked.ret else ''}", asked.ret),
        (f"priority {asked.priority}", asked.priority),
        (f"hold until {at(asked.hold_until or 0)}", asked.hold_until),
        (f"deliver by {at(asked.deliver_by.time if asked.deliver_by else 0)}", asked.deliver_by),
    ]
    return [text for text, is_set in found if is_set]


def _settled(rows: Sequence[Waiting]) -> list[str]:
    waiting = {number for row in rows for number in row.recipients}
    recipients = rows[0].item.envelope.recipients
    return [str(recipient) for number, recipient in enumerate(recipients) if number not in waiting]


def item_document(rows: Sequence[Waiting], attempts: Sequence[tuple[str, Attempt]], where: str) -> dict[str, Any]:
    """As docs/commands.md says."""
    item = rows[0].item
    return {
        "id": item.id,
        "arrived": item.arrived,
        "expires": item.expires,
        "size": item.size,
        "sender": str(item.envelope.sender or ""),
        "account": item.envelope.account,
        "asked": _asked(item),
        "file": where,
        "waiting": [document(row) for row in rows],
        "done": _settled(rows),
        "transcripts": [
            {
                "destination": destination,
                "at": attempt.at,
                "seconds": attempt.seconds,
                "mta": attempt.mta,
                "lines": attempt.transcript.splitlines(),
            }
            for destination, attempt in attempts
        ],
    }


def census_line(census: Census, now: float) -> str:
    """Totals."""
    if not census.messages:
        return "the queue is empty"
    parts = [counted(census.messages, "message")]
    parts += [f"{census.waiting:,} waiting ({census.due:,} due)"]
    parts += [f"{census.held:,} held"] if census.held else []
    parts += [f"{census.given_up:,} given up, not reported yet"] if census.given_up else []
    parts += [f"{counted(census.failing, 'destination')} failing"] if census.failing else []
    parts += [f"the oldest {span(now - census.oldest)}"] if census.oldest is not None else []
    return ", ".join(parts)


def destination_lines(lines: Sequence[DestinationLine], now: float) -> Iterator[str]:
    """A table: how many there are, how many of these are held, the oldest, the next attempt, what is wrong."""
    if not lines:
        return
    yield f"{'all':>8} {'held':>6} {'oldest':>8} {'next':>8}  destination"
    for each in lines:
        due = "-" if each.next_due is None else "now" if each.next_due <= now else span(each.next_due - now)
        failing = f", failing for {span(now - each.failing.since)}" if each.failing else ""
        error = f": {each.error}" if each.error else ""
        oldest = span(now - each.oldest)
        yield f"{each.rows:>8,} {each.held:>6,} {oldest:>8} {due:>8}  {each.name}{failing}{error}"


def summary_document(census: Census, lines: Sequence[DestinationLine]) -> dict[str, Any]:
    """As docs/commands.md says."""
    return {
        "messages": census.messages,
        "waiting": census.waiting,
        "due": census.due,
        "held": census.held,
        "given_up": census.given_up,
        "failing": census.failing,
        "oldest": census.oldest,
        "destinations": [
            {
                "destination": each.name,
                "count": each.rows,
                "held": each.held,
                "oldest": each.oldest,
                "next": each.next_due,
                "failing_since": each.failing.since if each.failing else None,
                "tried_again": each.failing.until if each.failing else None,
                "error": each.error or None,
            }
            for each in lines
        ],
    }
