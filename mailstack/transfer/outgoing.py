"""Messages of ours on their way out: what a target is given, and the forms in which it may want octets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from mailstack.ports import Flags, Octets

SLICE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Exported:
    """A mailbox of ours."""

    name: str
    mailbox_id: str
    uid_validity: int
    special_use: str
    subscribed: bool


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message of ours. `date` is the internal date in seconds since the epoch."""

    uid: int
    flags: Flags
    date: int
    octets: Octets


class Box(Protocol):
    """Where the messages of one mailbox go. Raises: OSError, Unusable."""

    @property
    def refused(self) -> list[tuple[int, str]]:
        """UIDs of messages that were put but not taken, and why; who reads it empties it."""

    def known(self, uid: int) -> bool:
        """Whether it is there already."""

    def put(self, message: Outgoing) -> None: ...

    def end(self) -> None:
        """All of them were put: what is there is whole."""

    def close(self) -> None:
        """Whatever happened. Idempotent."""


class Target(Protocol):
    """Where mail goes. Raises: OSError, Unusable."""

    def box(self, mailbox: Exported) -> Box:
        """Raises: Occupied too."""

    def close(self, *, whole: bool) -> None:
        """`whole`: the run came to its end."""


class Occupied(Exception):
    """What is there was not put there by us, or changed since: it is left alone. The message says what."""


def slices(octets: Octets) -> Iterator[bytes]:
    """All of the octets, in pieces."""
    for start in range(0, len(octets), SLICE):
        yield octets[start : start + SLICE]


def keeps_crlf(octets: Octets) -> bool:
    """Whether LF line ends would lose something: a CR before the line's own."""
    return octets.find(b"\r\r\n") >= 0


def with_lf(octets: Octets) -> Iterator[bytes]:
    """With the line ends of Unix, from which reading makes the same octets again."""
    if keeps_crlf(octets):
        yield from slices(octets)
        return
    held = b""
    for piece in slices(octets):
        piece = held + piece
        held = b"\r" if piece.endswith(b"\r") else b""
        yield (piece[:-1] if held else piece).replace(b"\r\n", b"\n")
    yield held


def size_with_lf(octets: Octets) -> int:
    """Octets of `with_lf`."""
    return len(octets) if keeps_crlf(octets) else len(octets) - octets.count(b"\r\n")
