"""What happens to a message, from its arrival to each of its recipients: events that are taken down once, and asked
for by its Message-ID, by a recipient, or by its id here."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol


class Step(Enum):
    """What happened, to one recipient."""

    REFUSED = "refused"
    """At the end of its data; `where` is who brought it."""
    DELIVERED = "delivered"
    """It is in a mailbox of ours; `where` names it."""
    QUEUED = "queued"
    """For another server, or for later; `where` is the queue id."""
    FORWARDED = "forwarded"
    """Queued for where the recipient's mail is forwarded to; `where` is the queue id."""
    SENT = "sent"
    """Another server has it; `where` is which."""
    DEFERRED = "deferred"
    """It is tried again."""
    FAILED = "failed"
    """It is given up."""
    REPORTED = "reported"
    """The sender is told; `where` is the queue id of the report, `reason` its kind."""


@dataclass(frozen=True, slots=True)
class Event:
    """`at` in seconds since the epoch. `journey` is the id under which the message was accepted, as in its Received
    field; all that comes of it has the same. `message_id` is with its angle brackets, `status` an enhanced status
    code, "" where there is none."""

    at: float
    journey: str
    step: Step
    recipient: str
    sender: str = ""
    message_id: str = ""
    where: str = ""
    status: str = ""
    reason: str = ""


class Journal(Protocol):
    """Takes events down."""

    def note(self, event: Event) -> None:
        """Must not block or raise."""


class NoJournal:
    """Implements `Journal`: forgets."""

    def note(self, event: Event) -> None:
        pass
