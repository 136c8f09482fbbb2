"""What a tour is made of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scene:
    """A heading: `model` is "push" or "pull" or ""."""

    title: str
    model: str
    remark: str


@dataclass(frozen=True, slots=True)
class WireLine:
    """One line on one connection. `says` is True for the client's own. `at` is in milliseconds
    since the tour began."""

    who: str
    says: bool
    text: str
    at: float


@dataclass(frozen=True, slots=True)
class OnDisk:
    """The files of the mailbox at this moment, as (path below the Maildir, octets)."""

    files: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Remark:
    """What to notice."""

    text: str


Event = Scene | WireLine | OnDisk | Remark
