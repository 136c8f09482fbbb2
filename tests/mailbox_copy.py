"""A client's copy of a mailbox, made from untagged responses alone, as one that uses QRESYNC keeps it (RFC 7162)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_VANISHED = re.compile(rb"\* VANISHED (\(EARLIER\) )?([\d:,]+)$")
_FETCH = re.compile(rb"\* (\d+) FETCH \((.*)\)$")
Cache = dict[int, frozenset[bytes]]
"""UID → flags."""


def numbers(text: bytes) -> list[int]:
    ranges = [tuple(map(int, piece.split(b":"))) for piece in text.split(b",")]
    return [number for pair in ranges for number in range(pair[0], pair[-1] + 1)]


@dataclass(slots=True)
class Entry:
    """What a client knows of one message; 0 and None for what it was not told."""

    uid: int = 0
    flags: frozenset[bytes] | None = None
    modseq: int = 0


@dataclass(slots=True)
class Copy:
    """A client's copy of the mailbox, made from untagged responses alone, and its HIGHESTMODSEQ by RFC 7162 §6."""

    qresync: bool
    entries: list[Entry] = field(default_factory=list)
    cache: Cache = field(default_factory=dict)
    """What it kept from an earlier session, while that is brought up to date."""
    highest: int = 0
    _seen: int = 0
    _said: int = 0

    def hear(self, lines: list[bytes]) -> None:
        for line in lines:
            if found := re.search(rb"\[HIGHESTMODSEQ (\d+)\]", line):
                self._said = int(found[1])
            if found := re.match(rb"\* (\d+) (EXISTS|EXPUNGE)$", line):
                self._count(int(found[1]), found[2])
            elif found := _VANISHED.match(line):
                self._vanished(numbers(found[2]), earlier=bool(found[1]))
            elif found := _FETCH.match(line):
                self._fetched(int(found[1]), found[2])
            if not line.startswith(b"* "):
                self.highest = self._said or max(self.highest, self._seen)
                self._said = self._seen = 0

    def _count(self, number: int, what: bytes) -> None:
        if what == b"EXISTS":
            assert number >= len(self.entries)
            self.entries += [Entry() for _ in range(number - len(self.entries))]
        else:
            assert not self.qresync, "EXPUNGE after ENABLE QRESYNC"
            del self.entries[number - 1]

    def _vanished(self, uids: list[int], *, earlier: bool) -> None:
        assert self.qresync
        if earlier:
            assert not any(entry.uid in uids for entry in self.entries if entry.uid), "it is still there"
            for uid in uids:
                self.cache.pop(uid, None)
            return
        for uid in uids:
            known = [entry.uid for entry in self.entries]
            if uid in known:
                del self.entries[known.index(uid)]
            else:  # one whose UID this client was never told; it stands before the first that has a higher one
                end = next((at for at, other in enumerate(known) if other > uid), len(known))
                assert end and not known[end - 1], f"UID {uid} is none of the client's"
                del self.entries[end - 1]

    def _fetched(self, number: int, items: bytes) -> None:
        entry = self.entries[number - 1]
        if found := re.search(rb"UID (\d+)", items):
            assert entry.uid in (0, int(found[1])), f"message {number} was UID {entry.uid}: {items!r}"
            entry.uid = int(found[1])
        if found := re.search(rb"FLAGS \(([^)]*)\)", items):
            entry.flags = frozenset(found[1].split()) - {b"\\Recent"}
        if found := re.search(rb"MODSEQ \((\d+)\)", items):
            entry.modseq = int(found[1])
            self._seen = max(self._seen, entry.modseq)

    def kept(self) -> Cache:
        """The messages up to the first that it does not know yet."""
        found: Cache = {}
        for entry in self.entries:
            if not entry.uid or entry.flags is None:
                break
            found[entry.uid] = entry.flags
        return found


@dataclass(frozen=True, slots=True)
class Moment:
    """What a client has when its connection breaks."""

    validity: int
    highest: int
    cache: Cache


def come_back(cache: Cache, lines: list[bytes]) -> Cache:
    """What a client makes of its copy from the answers to SELECT (QRESYNC …) and a UID FETCH of what is newer."""
    copy = Copy(qresync=True, cache=dict(cache))
    copy.hear(lines)
    told = {entry.uid: entry.flags for entry in copy.entries if entry.uid and entry.flags is not None}
    return {**copy.cache, **told}
