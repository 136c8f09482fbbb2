"""What waits: a message, and for each destination the recipients that it has not reached yet."""

from __future__ import annotations

from dataclasses import dataclass, field

from mailstack.handover import Outcome
from mailstack.ports import Envelope

LOCAL = "local"
"""The destination of recipients whose mailboxes are here."""
BY_HAND = "by hand"
"""Why an item is held that `mailstack queue hold` holds."""
GIVEN_UP = "given up by hand"
"""Why an item is held that `mailstack queue fail` gives up: the server takes it out and reports it, nobody else."""


@dataclass(frozen=True, slots=True)
class Item:
    """One message. `offset` is where it begins in its file, `size` its octets; times in seconds since the epoch."""

    id: str
    envelope: Envelope
    arrived: float
    expires: float
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """One item at one destination. `recipients` are indexes of the envelope's; `last` has what became of some of
    them in the attempt before. `held` says why it is not tried at all, "" if it is. `warn_at` is when the sender hears
    that it is late, None if not (any more)."""

    item: Item
    destination: str
    recipients: tuple[int, ...]
    due: float
    attempts: int = 0
    priority: int = 0
    held: str = ""
    warn_at: float | None = None
    last: dict[int, Outcome] = field(default_factory=dict)
    last_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Placed:
    """Where some recipients of a new item go. `held` as of Waiting."""

    destination: str
    recipients: tuple[int, ...]
    due: float
    held: str = ""


@dataclass(frozen=True, slots=True)
class DestinationState:
    """A destination that could not be reached. `since` is when that began, `tried` when it was tried last, `until` when
    it is tried again, `failures` how often it happened since."""

    name: str
    since: float
    tried: float
    until: float
    failures: int
    text: str


@dataclass(frozen=True, slots=True)
class DestinationLine:
    """What waits at a destination: `rows`, of which `held` are not tried; when the oldest came, and when something is
    due next, None if all is held. `error` is what went wrong last, "" for nothing; `failing` is its state."""

    name: str
    rows: int
    held: int
    oldest: float
    next_due: float | None
    error: str
    failing: DestinationState | None


@dataclass(frozen=True, slots=True)
class Census:
    """How much waits: messages; rows of those that are tried, that are due by now, that are held, that are given up but
    not reported yet; destinations that cannot be reached; and when the oldest message came, None for none."""

    messages: int = 0
    waiting: int = 0
    due: int = 0
    held: int = 0
    given_up: int = 0
    failing: int = 0
    oldest: float | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt, as people look at it. `seconds` is how long it took."""

    at: float
    seconds: float
    mta: str
    transcript: str
