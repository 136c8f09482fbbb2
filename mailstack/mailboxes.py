"""What sessions and the store tell each other of mailboxes and messages: values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, IntFlag
from typing import NewType

Uid = NewType("Uid", int)
SeqNum = NewType("SeqNum", int)
AccountName = NewType("AccountName", str)
"""A user of the system: its primary address in lower case, or a bare name in development."""


class Flag(IntFlag):
    """System flags as bits (RFC 9051 §2.3.2). Bit FIRST_KEYWORD+i is keyword i of the mailbox."""

    SEEN = 1
    ANSWERED = 2
    FLAGGED = 4
    DELETED = 8
    DRAFT = 16


FIRST_KEYWORD = 6
MAX_KEYWORDS = 26
"""A Maildir name has one lower-case letter a keyword (as in `dovecot-keywords`)."""


class FlagAction(Enum):
    """What STORE does with the flags it names (RFC 9051 §6.4.6)."""

    REPLACE = "FLAGS"
    ADD = "+FLAGS"
    REMOVE = "-FLAGS"


@dataclass(frozen=True, slots=True)
class Flags:
    """Flags by name, for what is not yet bits of one mailbox."""

    system: Flag = Flag(0)
    keywords: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class MailboxEntry:
    """One mailbox of an account's list. `special_use` is an attribute of RFC 6154 as "\\Sent"."""

    name: str
    special_use: str = ""
    selectable: bool = True


@dataclass(frozen=True, slots=True)
class MailboxStatus:
    """Everything STATUS may ask for (RFC 9051 §6.3.11). `size` is in octets; `deleted_size` are those of
    messages with \\Deleted (RFC 9208 §4.1.4); `highest_modseq` is that of SELECT (RFC 7162 §3.1.7)."""

    messages: int
    recent: int
    unseen: int
    deleted: int
    size: int
    uid_next: int
    uid_validity: int
    mailbox_id: str
    deleted_size: int = 0
    highest_modseq: int = 1


@dataclass(frozen=True, slots=True)
class Appended:
    """The APPENDUID of RFC 4315."""

    uid_validity: int
    uids: tuple[Uid, ...]


@dataclass(frozen=True, slots=True)
class Copied:
    """The COPYUID of RFC 4315: `source[i]` became `destination[i]`; vanished ones are absent."""

    uid_validity: int
    source: tuple[Uid, ...]
    destination: tuple[Uid, ...]


@dataclass(frozen=True, slots=True)
class Added:
    """Messages came into the mailbox; UIDs ascend and are above all earlier ones, unless the mailbox cannot be
    written: then no other UID can be given to a message that came out of order."""

    uids: tuple[Uid, ...]


@dataclass(frozen=True, slots=True)
class FlagsChanged:
    """These messages have other flags now. `by` is the listener whose command did it, or None."""

    uids: tuple[Uid, ...]
    by: object | None


@dataclass(frozen=True, slots=True)
class Expunged:
    """These messages are gone. `by` as in FlagsChanged."""

    uids: tuple[Uid, ...]
    by: object | None


@dataclass(frozen=True, slots=True)
class MailboxGone:
    """The mailbox was deleted or renamed away, or its UIDVALIDITY changed: end the selection."""


@dataclass(frozen=True, slots=True)
class NameMade:
    """There is a mailbox of this name now; it had the name `old` if it was renamed, "" if it is new."""

    name: str
    old: str = ""


@dataclass(frozen=True, slots=True)
class NameGone:
    """The mailbox of this name was deleted."""

    name: str


@dataclass(frozen=True, slots=True)
class RightsChanged:
    """Somebody may do more or less with the mailbox than before."""

    name: str


@dataclass(frozen=True, slots=True)
class SubscriptionChanged:
    """The mailbox was subscribed or unsubscribed."""

    name: str


@dataclass(frozen=True, slots=True)
class Annotated:
    """These entries of a mailbox, or with "" as its name of the server, have other values."""

    name: str
    entries: tuple[str, ...]


AccountEvent = NameMade | NameGone | RightsChanged | SubscriptionChanged | Annotated
"""What happens to mailboxes beside their messages."""

Change = Added | FlagsChanged | Expunged | MailboxGone


@dataclass(frozen=True, slots=True)
class Columns:
    """Parallel columns of some messages, UIDs ascending: flag bits, mod-sequences (RFC 7162), sizes in
    octets with CRLF line ends, internal dates in seconds since the epoch. Sizes and dates count only
    after `Mailbox.measure`."""

    uids: Sequence[int]
    flags: Sequence[int]
    modseqs: Sequence[int]
    sizes: Sequence[int]
    dates: Sequence[int]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for among values that `Mailbox.derive` makes: those that begin with octets from `low` to
    `high` (of one length; both are in), have `needle` in them, and for which the pure `holds` is true. An index can
    tell the first two by itself."""

    needle: bytes = b""
    low: bytes = b""
    high: bytes = b""
    holds: Callable[[bytes], bool] | None = None

    def matches(self, value: bytes) -> bool:
        """Whether a value is wanted."""
        if not self.low <= value[: len(self.low)] <= self.high or self.needle not in value:
            return False
        return self.holds is None or self.holds(value)
