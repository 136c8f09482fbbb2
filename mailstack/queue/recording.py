"""What is taken down of an attempt, in the rows as they are by then: whoever looks after the queue may have changed
them while the message was on its way. Blocking, within a transaction.

What an attempt has found out holds for recipients, wherever they wait now. Whether they are held, given up, or wait at
another destination is as somebody has said meanwhile. Of whom nobody speaks any more nothing is taken down or
reported."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from mailstack.handover import Outcome
from mailstack.queue.database import QueueDatabase
from mailstack.queue.items import Attempt, Waiting


class Settling(Protocol):
    """As `queue.Settled`."""

    @property
    def waiting(self) -> Waiting: ...

    @property
    def rest(self) -> Waiting | None: ...

    @property
    def attempt(self) -> Attempt | None: ...


@dataclass(slots=True)
class Recorded:
    """`holds` False: nobody waits any more, or the row is another one; then no report goes either. `gone`: nobody waits
    for the item anywhere. `left` are the rows that were changed, as they are now."""

    holds: bool = True
    gone: bool = False
    left: list[Waiting] = field(default_factory=list)


def record(database: QueueDatabase, settled: Settling) -> Recorded:
    """Take it down."""
    before, rest = settled.waiting, settled.rest
    if rest is None and settled.attempt is not None:
        # As most attempts end: everybody is done, and the row speaks of nobody else. Then it need not be read.
        gone = database.remove_done(before)
        if gone is not None:
            return Recorded(gone=gone)
    here = database.row(before.item.id, before.destination)
    rows = [] if here is None else [here]
    if here is None or not set(before.recipients) <= set(here.recipients):
        rows = database.of_item(before.item.id)  # some of them have moved
    concerned = [row for row in rows if set(row.recipients) & set(before.recipients)]
    if not concerned or (settled.attempt is None and _is_another(here, before)):
        return Recorded(holds=False)
    finished = set(before.recipients) - set(rest.recipients if rest is not None else ())
    recorded = Recorded()
    for row in concerned:
        left = tuple(number for number in row.recipients if number not in finished)
        if not left:
            recorded.gone = database.remove(row.item.id, row.destination) or recorded.gone
            continue
        now = _as_it_is(row, rest, left) if row.destination == before.destination else replace(row, recipients=left)
        database.replace(now)
        recorded.left.append(now)
    if settled.attempt is not None and recorded.left:
        database.add_attempt(before.item.id, before.destination, settled.attempt)
    return recorded


def _is_another(here: Waiting | None, before: Waiting) -> bool:
    """Whether somebody has tried it since."""
    return here is None or (here.attempts, here.last_at) != (before.attempts, before.last_at)


def _as_it_is(here: Waiting, rest: Waiting | None, left: Sequence[int]) -> Waiting:
    """The row after the attempt: `rest`, with what others have done to it."""
    if rest is None:
        return replace(here, recipients=tuple(left), last=_of(here, left))
    came: Collection[int] = set(left) - set(rest.recipients)
    return replace(
        rest,
        recipients=tuple(left),
        due=min(rest.due, here.due) if came else rest.due,
        held=here.held,
        last={**_of(here, left), **_of(rest, left)},
    )


def _of(row: Waiting, left: Sequence[int]) -> dict[int, Outcome]:
    return {number: outcome for number, outcome in row.last.items() if number in left}
