"""When a session looks for what others did to the selected mailbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mailstack.imap.view import View

SOON = 0.05
"""Seconds for which a look tells enough to commands that had come before it."""


class Looks:
    """Commands that came in one piece had all been said before the first of them was answered: one look is enough
    for those that are answered soon."""

    __slots__ = ("_piece", "_time", "_view")

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Nothing is selected any more."""
        self._view: View | None = None
        self._piece = 0
        self._time = 0.0

    def due(self, view: View, piece: int, now: float) -> bool:
        """Whether to look after a command of the `piece`-th piece; if so, it is noted as done."""
        if view is self._view and piece == self._piece and 0 <= now - self._time < SOON:
            return False
        self._view, self._piece, self._time = view, piece, now
        return True
