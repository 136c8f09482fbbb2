"""Which of what waits somebody means. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from mailstack.queue.items import Waiting


@dataclass(frozen=True, slots=True)
class Selection:
    """Rows that fit all of it. In the texts * is any characters, and case does not matter; "" fits all. `destination`
    is all of one, its domain, or its route. `sender` is "<>" for the null reverse-path. `arrived_before` in seconds
    since the epoch."""

    items: tuple[str, ...] = ()
    sender: str = ""
    recipient: str = ""
    destination: str = ""
    account: str = ""
    held: bool = False
    arrived_before: float | None = None

    @property
    def is_everything(self) -> bool:
        """Whether nothing is said at all."""
        return self == Selection()

    def fits(self, waiting: Waiting) -> bool:
        envelope = waiting.item.envelope
        return (
            (not self.items or waiting.item.id in self.items)
            and (not self.held or bool(waiting.held))
            and (self.arrived_before is None or waiting.item.arrived < self.arrived_before)
            and _fits(self.account, envelope.account or "")
            and _fits(self.sender, str(envelope.sender or "<>"))
            and any(_fits(self.destination, name) for name in (waiting.destination, *waiting.destination.split(">")))
            and (
                not self.recipient
                or any(_fits(self.recipient, str(envelope.recipients[n])) for n in waiting.recipients)
            )
        )


def _fits(pattern: str, text: str) -> bool:
    return not pattern or fnmatchcase(text.lower(), pattern.lower().replace("[", "[[]").replace("?", "[?]"))
