"""What somebody does to the queue by hand, beside a server that may run: rows change in small transactions, each read
again within its own. Blocking.

The server sees it within a second. What it is sending at that time it finishes, and then takes down what came of it
as far as the rows still speak of it (`recording.py`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from mailstack.queue.content import Files
from mailstack.queue.database import QueueDatabase
from mailstack.queue.items import BY_HAND, GIVEN_UP, Waiting
from mailstack.queue.rerouting import Choose, reroute
from mailstack.queue.selection import Selection

AT_ONCE = 100
"""Rows of one transaction."""
REST = 0.01
"""Seconds between two transactions, in which the server may have its own."""
READ_AT_ONCE = 1000
"""Rows that are read at once."""
Key = tuple[str, str]
"""Of a row: item and destination."""


def selected(database: QueueDatabase, selection: Selection) -> Iterator[Waiting]:
    """In the order of arrival. Raises: apsw.Error."""
    if selection.items:
        for item in dict.fromkeys(selection.items):
            yield from filter(selection.fits, database.of_item(item))
        return
    after = ("", "")
    while rows := database.all(after, READ_AT_ONCE):
        after = rows[-1].item.id, rows[-1].destination
        yield from filter(selection.fits, rows)


class ByHand:
    """Changes rows; each method returns how many it has changed, and leaves out those that are gone meanwhile.
    `now` is the epoch's time, `sleep` waits seconds. Raises: apsw.Error, OSError."""

    def __init__(
        self, database: QueueDatabase, files: Files, now: Callable[[], float], sleep: Callable[[float], None]
    ) -> None:
        self._database = database
        self._files = files
        self._now = now
        self._sleep = sleep

    def hold(self, keys: Sequence[Key]) -> int:
        """Not to be tried until it is released. What is held already stays so for its own reason."""
        return self._each(keys, lambda row: None if row.held else replace(row, held=BY_HAND))

    def release(self, keys: Sequence[Key]) -> int:
        """What is held, or given up but not yet reported, is due now."""
        return self._each(keys, lambda row: replace(row, held="", due=self._now()) if row.held else None, reached=True)

    def retry(self, keys: Sequence[Key]) -> int:
        """Due now, as if nothing were known of the destination."""
        return self._each(keys, lambda row: None if row.held else replace(row, due=self._now()), reached=True)

    def fail(self, keys: Sequence[Key]) -> int:
        """Marked, for the server to report as if its time were over: one process alone takes it out, in the commit that
        brings the report."""
        return self._each(keys, lambda row: None if row.held == GIVEN_UP else replace(row, held=GIVEN_UP))

    def drop(self, keys: Sequence[Key]) -> int:
        """Out of the queue, without a report."""
        gone: list[str] = []

        def drop(row: Waiting) -> bool:
            if self._database.remove(row.item.id, row.destination):
                gone.append(row.item.id)
            return True

        def committed() -> None:
            for name in gone:
                self._files.remove(name)
            gone.clear()

        return self._in_pieces(keys, drop, committed)

    def place_anew(self, choose: Choose) -> int:
        """Everything goes where `choose` says."""
        after: Key | None = ("", "")
        moved = 0
        while after is not None:
            found: list[tuple[Key | None, int]] = []
            since = after
            self._database.transaction(lambda: found.append(reroute(self._database, choose, since)))  # noqa: B023
            after, some = found[0]
            moved += some
            self._sleep(REST)
        return moved

    def _each(self, keys: Sequence[Key], change: Callable[[Waiting], Waiting | None], *, reached: bool = False) -> int:
        def put(row: Waiting) -> bool:
            changed = change(row)
            if changed is None:
                return False
            self._database.replace(changed)
            if reached:
                self._database.clear_destination(row.destination)
            return True

        return self._in_pieces(keys, put)

    def _in_pieces(
        self, keys: Sequence[Key], change: Callable[[Waiting], bool], committed: Callable[[], None] = lambda: None
    ) -> int:
        changed = 0
        for start in range(0, len(keys), AT_ONCE):
            some: list[bool] = []

            def piece(keys: Sequence[Key] = keys[start : start + AT_ONCE], some: list[bool] = some) -> None:
                rows = (self._database.row(*key) for key in keys)
                some.extend(change(row) for row in rows if row is not None)

            self._database.transaction(piece)
            committed()
            changed += sum(some)
            self._sleep(REST)
        return changed
