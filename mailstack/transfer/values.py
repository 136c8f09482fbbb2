"""What sources give and targets take, whatever they are made of."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from mailstack.ports import Flags

DELIMITER = "/"
INBOX = "INBOX"
_KEYWORD = re.compile(r"[!#$&'+,\-./0-9:;<=>?@A-Z^_`a-z|}~\[]+")
"""An atom of RFC 9051 §9: what a keyword may be."""


class Unusable(Exception):
    """A source or a target as a whole is not what was asked for; the message says why, in one line."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A mailbox at the source: its name in Unicode with "/" between levels, its special use (RFC 6154) if the
    source tells, and whether it is subscribed there (None: the source does not say)."""

    name: str
    special_use: str = ""
    subscribed: bool | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an IMAP server has a message: what makes it known without its octets."""

    validity: int
    uid: int


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a source. `place` tells a person where it is. `date` is the internal date in seconds since
    the epoch; `fallback_date` is used when it is None and the message has no Date either, and counts for nothing
    else. `pieces` are the octets in any line ends: read once, before the next message is asked for.
    Reading may raise OSError or Unreadable. `weight` counts towards the source's `total`."""

    folder: Folder
    place: str
    flags: Flags
    date: float | None
    pieces: Iterable[bytes]
    weight: int
    fallback_date: float = 0.0
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that could not be taken (`taken`: only in part), where it is, and why."""

    place: str
    reason: str
    taken: bool = False
    weight: int = 0


@dataclass(frozen=True, slots=True)
class KnownOnes:
    """So many messages of a folder that are not wanted again; each has the weight 1."""

    folder: Folder
    count: int


class Unreadable(Exception):
    """One message cannot be read; the message says why."""


Known = Callable[[Folder, int], Collection[int] | None]
"""The UIDs of a folder with this UIDVALIDITY that are not wanted again; None if nothing of the folder is wanted."""


class Source(Protocol):
    """Something that has mail."""

    identity: str
    """What makes it the same source at the next run, for those whose messages have an Origin."""
    total: int
    """The sum of all weights, as far as it is known; 0 when it is not."""

    def folders(self) -> Iterator[Folder]:
        """Mailboxes that are there even if no message is in them. Raises: Unusable."""

    def messages(self, known: Known) -> Iterator[Message | Trouble | KnownOnes]:
        """All messages that are not `known`. Raises: Unusable."""

    def close(self) -> None: ...


def usable_keywords(names: Iterable[str]) -> frozenset[str]:
    """Those that can be IMAP keywords."""
    return frozenset(name for name in names if _KEYWORD.fullmatch(name))
