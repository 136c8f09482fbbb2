"""Mod-sequences of messages whose flags were changed in the lane so lately that the sessions' columns may not
have them: so that UNCHANGEDSINCE (RFC 7162 §3.1.3) is tested together with the change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class Lately:
    """The lane notes and asks; the reactor's thread says how far the columns are, and who still asks."""

    __slots__ = ("_applied", "_asking", "_modseqs", "_needed")

    def __init__(self) -> None:
        self._modseqs: dict[int, int] = {}
        self._applied = 0
        self._asking: list[int] = []
        self._needed = 0
        """What is not above it, is known to all who ask."""

    # --- in the lane

    def note(self, uids: Iterable[int], modseq: int) -> None:
        """These have other flags, and this mod-sequence now."""
        needed = self._needed
        self._modseqs = {uid: number for uid, number in self._modseqs.items() if number > needed}
        self._modseqs.update(dict.fromkeys(uids, modseq))

    def modseq(self, uid: int) -> int:
        """The mod-sequence of a message; 0, or not above what the columns had when `asking` began, if that is known
        there."""
        return self._modseqs.get(uid, 0)

    # --- in the reactor's thread

    def applied(self, modseq: int) -> None:
        """The columns have every change up to this one."""
        self._applied = modseq
        self._needed = min([modseq, *self._asking])

    @contextmanager
    def asking(self) -> Iterator[None]:
        """What the columns do not have now is kept for as long as this lasts."""
        known = self._applied
        self._asking.append(known)
        try:
            yield
        finally:
            self._asking.remove(known)
