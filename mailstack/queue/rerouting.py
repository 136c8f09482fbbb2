"""Recipients that wait find their way anew, after the routes have changed. Blocking, in pieces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mailstack.ports import Envelope
from mailstack.queue.database import QueueDatabase
from mailstack.queue.items import GIVEN_UP, Waiting

AT_ONCE = 500
"""Rows of one transaction."""
Choose = Callable[[Envelope, int], str]
"""The destination of the recipient with this number."""


def reroute(database: QueueDatabase, choose: Choose, after: tuple[str, str]) -> tuple[tuple[str, str] | None, int]:
    """The next rows after one (id, destination), within a transaction; returns the last of them, None if there were
    none, and how many rows have another destination now."""
    rows = database.all(after, AT_ONCE)
    moved = 0
    for row in rows:
        if row.held == GIVEN_UP:
            continue  # it goes nowhere
        places: dict[str, list[int]] = {}
        for number in row.recipients:
            places.setdefault(_where(database, row, choose(row.item.envelope, number)), []).append(number)
        if list(places) == [row.destination]:
            continue
        moved += 1
        database.remove_row(row)
        for destination, numbers in places.items():
            _put(database, replace(row, destination=destination, recipients=tuple(numbers)))
    return (rows[-1].item.id, rows[-1].destination) if rows else None, moved


def _where(database: QueueDatabase, row: Waiting, destination: str) -> str:
    """There, but not to what is given up there: then it stays."""
    if destination == row.destination:
        return destination
    there = database.row(row.item.id, destination)
    return destination if there is None or there.held != GIVEN_UP else row.destination


def _put(database: QueueDatabase, row: Waiting) -> None:
    """Beside what waits of the item there already."""
    there = database.row(row.item.id, row.destination)
    if there is None:
        database.replace(row)
        return
    together = replace(
        there,
        recipients=tuple(sorted({*there.recipients, *row.recipients})),
        due=min(there.due, row.due),
        last={**row.last, **there.last},
        held=there.held or row.held,
    )
    database.replace(together)
