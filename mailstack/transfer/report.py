"""What was moved so far: counts, and what could not be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from mailstack.transfer.values import Trouble


@dataclass(slots=True)
class Count:
    """Messages of one mailbox: moved now with their octets, moved by an earlier run, not to be moved."""

    moved: int = 0
    octets: int = 0
    known: int = 0
    failed: int = 0


@dataclass(slots=True)
class Report:
    """`said` hears of each trouble when it comes, `advanced` after each message."""

    said: Callable[[Trouble], None] = lambda trouble: None
    advanced: Callable[[], None] = lambda: None
    mailboxes: dict[str, Count] = field(default_factory=dict)
    troubles: list[Trouble] = field(default_factory=list)
    total: int = 0
    weight: int = 0
    """How much of `total` is behind us."""

    def of(self, mailbox: str) -> Count:
        """The mailbox's own count."""
        return self.mailboxes.setdefault(mailbox, Count())

    def trouble(self, trouble: Trouble, mailbox: str = "") -> None:
        """Something was not as it should be."""
        self.troubles.append(trouble)
        self.weight += trouble.weight
        if mailbox and not trouble.taken:
            self.of(mailbox).failed += 1
        self.said(trouble)

    def sum(self) -> Count:
        """Of all mailboxes."""
        counts = self.mailboxes.values()
        return Count(
            sum(each.moved for each in counts), sum(each.octets for each in counts),
            sum(each.known for each in counts), sum(each.failed for each in counts),
        )  # fmt: skip
