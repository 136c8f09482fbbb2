"""What sessions remember of mailboxes together, so that asking again costs only the answer."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

MAX_OCTETS = 32 * 1024 * 1024
"""Octets that are remembered in all; the orders of some hundred mailboxes of ten thousand messages."""


class Memory:
    """Values by key, the least recently used of which are forgotten. In the reactor's thread."""

    def __init__(self, limit: int = MAX_OCTETS) -> None:
        self._limit = limit
        self._total = 0
        self._values: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()

    def get(self, key: Hashable) -> Any:
        """None if there is nothing, or nothing any more."""
        found = self._values.get(key)
        if found is None:
            return None
        self._values.move_to_end(key)
        return found[0]

    def put(self, key: Hashable, value: object, octets: int) -> None:
        """Remember a value that takes about so many octets, unless that is more than all may take."""
        _, before = self._values.pop(key, (None, 0))
        self._total -= before
        if octets > self._limit:
            return
        self._values[key] = value, octets
        self._total += octets
        while self._total > self._limit:
            _, (_, freed) = self._values.popitem(last=False)
            self._total -= freed
