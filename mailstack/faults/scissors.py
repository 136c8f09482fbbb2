"""Where a reply is cut."""

from __future__ import annotations

import re

from mailstack.faults.rules import Cut, Place

_LITERAL = re.compile(rb"\{([0-9]+)\}\r\n|^\+OK ([0-9]+) octets\r\n")


class Scissors:
    """Takes what a session writes, piece by piece, and gives what of it still leaves."""

    def __init__(self, cut: Cut) -> None:
        self._cut = cut
        self._left: int | None = cut.after if isinstance(cut.after, int) else None
        self.is_done = False
        """Nothing leaves any more."""

    def shorten(self, octets: bytes) -> bytes:
        """What of them leaves."""
        if self._left is None:
            self._left = self._middle(octets)
        if self._left is None:
            return octets
        leaves = octets[: self._left]
        self._left -= len(leaves)
        self.is_done = not self._left
        return leaves

    def _middle(self, octets: bytes) -> int | None:
        """How much of these, and of what follows them, leaves."""
        if self._cut.after is Place.LITERAL:
            found = _LITERAL.search(octets)
            return found and found.end() + int(found[1] or found[2]) // 2
        line = octets.partition(b"\r\n")[0]
        return (len(line) + 1) // 2
