"""What may be wrong with mail on disk, one word a kind, and what can be done about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path


class Mending(Enum):
    """Who mends it."""

    REPAIR = "repair"
    HAND = "hand"
    NOBODY = "nobody"
    """It is for information: nothing is wrong."""


class Kind(Enum):
    """Its word, who mends it, and what to do."""

    UIDLIST_MISSING = "uidlist-missing", Mending.REPAIR, "repair gives new UIDs; clients download the mailbox again"
    UIDLIST_BROKEN = "uidlist-broken", Mending.REPAIR, "repair keeps the UIDs of all lines that can be read"
    UIDLIST_TORN = "uidlist-torn", Mending.REPAIR, "repair cuts off the line that was not finished"
    UIDLIST_OLD = "uidlist-old", Mending.NOBODY, "it is written anew when the mailbox is next looked at"
    UID_TWICE = "uid-twice", Mending.REPAIR, "repair gives both new ones, since nobody knows which of them it meant"
    UID_ORDER = "uid-order", Mending.REPAIR, "repair writes the records in order"
    UID_NONE = "uid-none", Mending.REPAIR, "repair gives UIDs, as the next opening of the mailbox would"
    RECORD_GONE = "record-gone", Mending.NOBODY, "removed messages; the list is written anew when there are many"
    TWINS = "two-files", Mending.REPAIR, "repair keeps the younger file as a new message"
    SIZE_WRONG = "size-wrong", Mending.REPAIR, "repair keeps the file as a new message with a true name"
    SIZE_NONE = "size-none", Mending.NOBODY, "sizes are found by reading the files: slower, not wrong"
    UNREADABLE = "unreadable", Mending.REPAIR, "repair sets owner and mode; as root, if it belongs to somebody else"
    NO_MESSAGE = "no-message", Mending.HAND, "move it away: it is no plain file"
    DIRECTORY_MISSING = "directory-missing", Mending.REPAIR, "repair makes it"
    BAD_NAME = "bad-name", Mending.REPAIR, "repair gives it a name that a mailbox can have"
    LINK_OUT = "link-out", Mending.HAND, "move what it leads to here, or remove the link; it is not followed"
    KEYWORD_UNKNOWN = "keyword-unknown", Mending.REPAIR, "repair gives the letter a name"
    KEYWORD_LINE = "keyword-line", Mending.HAND, "remove the line, or give the keyword a number from 0 to 25"
    LOCK_LEFT = "lock-left", Mending.REPAIR, "repair removes it"
    TMP_OLD = "tmp-old", Mending.REPAIR, "repair removes it: nothing in it was ever acknowledged"
    TMP_DIRECTORY = "tmp-directory", Mending.HAND, "remove it, if nothing in it is missed"
    FILE_LEFT = "file-left", Mending.REPAIR, "repair removes it: half of a file that was to be replaced"
    UIDVALIDITY = "uidvalidity", Mending.REPAIR, "repair notes the highest that was used"
    ID_TWICE = "id-twice", Mending.REPAIR, "repair gives one of the two a mailbox id of its own"
    SUBSCRIPTION = "subscription", Mending.NOBODY, "clients may show it, or unsubscribe"
    SPECIAL_USE = "special-use", Mending.NOBODY, "a mailbox of that name will have that use"
    INDEX_BROKEN = "index-broken", Mending.REPAIR, "repair removes it: it is made again"
    INDEX_WRONG = "index-wrong", Mending.REPAIR, "repair removes the index: it is made again"
    STRANGER = "no-account", Mending.HAND, "move it away: it lies among the accounts and is none"
    QUEUE_ORPHAN = "queue-orphan", Mending.REPAIR, "repair removes it: it was never acknowledged, or is done"
    QUEUE_MESSAGE = "queue-message", Mending.NOBODY, "its sender hears of it when it is next tried"
    QUEUE_DATABASE = "queue-database", Mending.HAND, "restart: the server sets it aside and makes it anew of the files"
    QUEUE_ASIDE = "queue-aside", Mending.HAND, "look what can be read of it, and move it away"
    SPOOL_OLD = "spool-old", Mending.REPAIR, "repair removes it: half of a message that was never acknowledged"

    def __init__(self, word: str, mending: Mending, advice: str) -> None:
        self.word = word
        self.mending = mending
        self.advice = advice


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing. `account` and `mailbox` are "" where it is beside them. `what` says what is there; `path` is
    where to look."""

    account: str
    mailbox: str
    kind: Kind
    what: str
    path: Path

    @property
    def wrong(self) -> bool:
        """Whether something is to be done."""
        return self.kind.mending is not Mending.NOBODY
