"""What commands mean, once parsed: the values of the grammar (RFC 9051 §9)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import date
from enum import Enum

from mailstack.mail.collation import DEFAULT
from mailstack.ports import Columns, Flag, Mailbox, Octets

STAR = 1 << 32
"""The "*" of a sequence-set: the largest number in use. Above every real number."""

SequenceSet = tuple[tuple[int, int], ...]
"""Ranges (low, high) as the client gave them, either of them STAR; either order is legal."""


# --- FETCH (RFC 9051 §6.4.5) ------------------------------------------------------------------


class FetchAtt(Enum):
    """The data items that are one word. Macros are expanded by the grammar."""

    FLAGS = "FLAGS"
    UID = "UID"
    INTERNALDATE = "INTERNALDATE"
    RFC822_SIZE = "RFC822.SIZE"
    ENVELOPE = "ENVELOPE"
    BODY = "BODY"
    BODYSTRUCTURE = "BODYSTRUCTURE"
    RFC822 = "RFC822"
    RFC822_HEADER = "RFC822.HEADER"
    RFC822_TEXT = "RFC822.TEXT"


class SectionText(Enum):
    """What of a part is meant: all of it, or a section-text."""

    ALL = ""
    HEADER = "HEADER"
    HEADER_FIELDS = "HEADER.FIELDS"
    HEADER_FIELDS_NOT = "HEADER.FIELDS.NOT"
    TEXT = "TEXT"
    MIME = "MIME"


@dataclass(frozen=True, slots=True)
class Section:
    """section-spec: `part` numbers count from 1; `fields` are the header-list as given."""

    part: tuple[int, ...] = ()
    text: SectionText = SectionText.ALL
    fields: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Partial:
    """ "<" offset "." length ">", in octets."""

    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class BodySection:
    """BODY[section]<partial>, or BODY.PEEK."""

    section: Section
    partial: Partial | None = None
    peek: bool = False


@dataclass(frozen=True, slots=True)
class BinarySection:
    """BINARY[part]<partial>, or BINARY.PEEK."""

    part: tuple[int, ...]
    partial: Partial | None = None
    peek: bool = False


@dataclass(frozen=True, slots=True)
class BinarySize:
    """BINARY.SIZE[part]."""

    part: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ColumnItem:
    """A data item of an extension that is made from an open mailbox's columns, or from what it finds out of
    many messages at once: `values` gives that of each row, as it goes on the wire."""

    name: str
    values: Callable[[Mailbox, Columns], Awaitable[Iterable[bytes]]]


@dataclass(frozen=True, slots=True)
class ContentItem:
    """A data item of an extension that is made from a message's octets by the pure `render`, whose second
    argument says that strings may be UTF-8. `kept` is the name under which the index may keep it, to be
    changed when `render` is; "" for what is not kept."""

    name: str
    render: Callable[[Octets, bool], bytes]
    kept: str = ""


FetchItem = FetchAtt | BodySection | BinarySection | BinarySize | ColumnItem | ContentItem


# --- SEARCH (RFC 9051 §6.4.4) -----------------------------------------------------------------


class DateOrder(Enum):
    """How a message's day is to stand to the one given."""

    BEFORE = "BEFORE"
    ON = "ON"
    SINCE = "SINCE"


@dataclass(frozen=True, slots=True)
class All:
    """Every message."""


@dataclass(frozen=True, slots=True)
class And:
    """All of these keys match."""

    keys: tuple[SearchKey, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """One of the two matches."""

    left: SearchKey
    right: SearchKey


@dataclass(frozen=True, slots=True)
class Not:
    """The key does not match."""

    key: SearchKey


@dataclass(frozen=True, slots=True)
class InSequence:
    """sequence-set: by message sequence number."""

    numbers: SequenceSet


@dataclass(frozen=True, slots=True)
class InUids:
    """UID sequence-set."""

    uids: SequenceSet


@dataclass(frozen=True, slots=True)
class HasFlag:
    """SEEN and its like; the UN- forms are Not."""

    flag: Flag


@dataclass(frozen=True, slots=True)
class HasKeyword:
    """KEYWORD flag-keyword; in any case of letters."""

    keyword: str


@dataclass(frozen=True, slots=True)
class IsRecent:
    """RECENT; OLD is Not, NEW is And with Not(SEEN) (RFC 3501 §6.4.4)."""


@dataclass(frozen=True, slots=True)
class InternalDay:
    """BEFORE, ON, SINCE."""

    order: DateOrder
    day: date


@dataclass(frozen=True, slots=True)
class SentDay:
    """SENTBEFORE, SENTON, SENTSINCE."""

    order: DateOrder
    day: date


@dataclass(frozen=True, slots=True)
class Larger:
    """LARGER: RFC822.SIZE above this many octets."""

    octets: int


@dataclass(frozen=True, slots=True)
class Smaller:
    """SMALLER: RFC822.SIZE below this many octets."""

    octets: int


@dataclass(frozen=True, slots=True)
class HeaderHas:
    """HEADER, and FROM, TO, CC, BCC, SUBJECT. `field` in lower case; "" matches if the field is there."""

    field: bytes
    text: str


@dataclass(frozen=True, slots=True)
class BodyHas:
    """BODY."""

    text: str


@dataclass(frozen=True, slots=True)
class TextHas:
    """TEXT: header or body."""

    text: str


class ExtensionKey:
    """What an extension adds. Its classes are frozen dataclasses under one of `imap.search_keys`."""

    __slots__ = ()


SearchKey = (
    All
    | And
    | Or
    | Not
    | InSequence
    | InUids
    | HasFlag
    | HasKeyword
    | IsRecent
    | InternalDay
    | SentDay
    | Larger
    | Smaller
    | HeaderHas
    | BodyHas
    | TextHas
    | ExtensionKey
)


# --- SORT (RFC 5256) ---------------------------------------------------------------------------


class SortKey(Enum):
    """sort-key (RFC 5256 §5, RFC 5957 §5)."""

    ARRIVAL = "ARRIVAL"
    CC = "CC"
    DATE = "DATE"
    DISPLAYFROM = "DISPLAYFROM"
    DISPLAYTO = "DISPLAYTO"
    FROM = "FROM"
    SIZE = "SIZE"
    SUBJECT = "SUBJECT"
    TO = "TO"


@dataclass(frozen=True, slots=True)
class Criterion:
    """sort-criterion."""

    key: SortKey
    reverse: bool = False
    collation: str = DEFAULT.name
    """By which texts are compared."""


Criteria = tuple[Criterion, ...]
