"""What is on its way, or about to be."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from mailstack.queue.items import Waiting


class InFlight:
    """Rows that a lane has, or that are being settled: nobody else may send to these recipients, at whatever
    destination they wait meanwhile."""

    def __init__(self) -> None:
        self._by_item: dict[str, list[Waiting]] = {}
        self._by_destination: dict[str, set[str]] = {}

    def add(self, waiting: Waiting) -> None:
        """It is on its way now."""
        self._by_item.setdefault(waiting.item.id, []).append(waiting)
        self._by_destination.setdefault(waiting.destination, set()).add(waiting.item.id)

    def discard(self, waiting: Waiting) -> None:
        """It is not any more. Idempotent."""
        item, destination = waiting.item.id, waiting.destination
        rows = [row for row in self._by_item.pop(item, ()) if row.destination != destination]
        if rows:
            self._by_item[item] = rows
        ids = self._by_destination.get(destination, set())
        ids.discard(item)
        if not ids:
            self._by_destination.pop(destination, None)

    def to(self, destination: str) -> Collection[str]:
        """The ids of items that are on their way there."""
        return self._by_destination.get(destination, ())

    def has(self, waiting: Waiting) -> bool:
        """Whether the row, or one of its recipients at another destination, is on its way."""
        return any(
            row.destination == waiting.destination or not set(row.recipients).isdisjoint(waiting.recipients)
            for row in self._by_item.get(waiting.item.id, ())
        )

    def free(self, rows: Iterable[Waiting]) -> list[Waiting]:
        """Those of which nothing is on its way."""
        return [row for row in rows if not self.has(row)]
