"""The values that go between a mailbox's files and who has it open."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Hints:
    """What a watch saw since it was last asked: names that came (True) or went (False) in new/ and cur/,
    the latest word for each. `everything`: too much happened, or it could not look; only reading both
    directories tells."""

    new: dict[str, bool] = field(default_factory=dict)
    cur: dict[str, bool] = field(default_factory=dict)
    everything: bool = False

    def __bool__(self) -> bool:
        return self.everything or bool(self.new or self.cur)


@dataclass(slots=True)
class Differences:
    """What changed since the last look. `added` and `added_flags` are parallel, UIDs ascending; those in
    `recent` came out of new/ just now. `changed` has UID and flags. `modseq` is the mod-sequence of all of
    it (RFC 7162), 0 when nothing changed. `reset`: the UIDs mean other messages now. `gone`: the mailbox is."""

    added: array[int] = field(default_factory=lambda: array("I"))
    added_flags: array[int] = field(default_factory=lambda: array("I"))
    recent: set[int] = field(default_factory=set)
    changed: list[tuple[int, int]] = field(default_factory=list)
    vanished: list[int] = field(default_factory=list)
    modseq: int = 0
    reset: bool = False
    gone: bool = False
    others: list[int] = field(default_factory=list)
    """UIDs of messages in `changed` that others have changed, too."""
    failed: list[int] = field(default_factory=list)
    """UIDs of messages that a change left alone, since they did not pass its test."""
    error: Exception | None = None
    """What kept it from being everything: an OSError or Refused. The rest holds all the same."""

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.vanished or self.reset or self.gone)

    def add(self, uids: Iterable[int], flags: Iterable[int]) -> None:
        """More messages. They may be below those that were added before: another process gave the UIDs."""
        before = len(self.added)
        self.added.extend(uids)
        self.added_flags.extend(flags)
        if 0 < before < len(self.added) and self.added[before] < self.added[before - 1]:
            pairs = sorted(zip(self.added, self.added_flags, strict=True))
            self.added = array("I", [uid for uid, _ in pairs])
            self.added_flags = array("I", [bits for _, bits in pairs])

    def vanish(self, uids: list[int]) -> None:
        """Messages that are gone; those that came within the same look were never there."""
        self.vanished += uids
        gone = set(uids).intersection(self.added)
        if gone:
            pairs = [(uid, bits) for uid, bits in zip(self.added, self.added_flags, strict=True) if uid not in gone]
            self.added = array("I", [uid for uid, _ in pairs])
            self.added_flags = array("I", [bits for _, bits in pairs])
            self.recent -= gone

    def extend(self, later: Differences) -> None:
        """What a later look found, too."""
        self.vanish(later.vanished)
        self.add(later.added, later.added_flags)
        self.recent |= later.recent
        self.changed += later.changed
        self.modseq = max(self.modseq, later.modseq)
        self.reset, self.gone = self.reset or later.reset, self.gone or later.gone
        self.error = self.error or later.error
