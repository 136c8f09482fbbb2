"""What a search key that an extension adds is made of: one class by where its answer comes from.

An extension makes frozen dataclasses of these, and names a rule for the word in its `Feature.search_keys`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from mailstack.imap.wire.values import And, ExtensionKey, Not, Or, SearchKey
from mailstack.ports import Columns, Mailbox, Octets

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession


@dataclass(frozen=True, slots=True)
class Rows:
    """Neighbouring messages of an open mailbox, as they are in memory. `numbered[n-1]` is the UID of message n of
    the whole mailbox; `recent` has the UIDs of messages that are \\Recent; `now` is in seconds since the epoch."""

    mailbox: Mailbox
    columns: Columns
    numbered: Sequence[int]
    recent: Collection[int]
    now: float


class Message(Protocol):
    """One message, taken apart as far as it is asked for. In a worker."""

    octets: Octets

    def fields(self) -> Mapping[bytes, Sequence[bytes]]:
        """The raw values (not unfolded) of the header by field name in lower case."""

    def body_has(self, folded: str) -> bool:
        """Whether a body text has this text (as `search_content.fold` makes it)."""


class ColumnKey(ExtensionKey, ABC):
    """Decided by what is in memory. `measures`: by sizes or internal dates, which have to be looked up."""

    __slots__ = ()
    measures: ClassVar[bool] = False

    @abstractmethod
    def decide(self, rows: Rows) -> Iterable[bool]:
        """Whether each of `rows.columns` matches, in their order. Called for thousands of rows at once, in the
        reactor's thread: best is a `map` over one column."""


class ContentKey(ExtensionKey, ABC):
    """Decided by a message's octets."""

    __slots__ = ()

    @abstractmethod
    def matches(self, message: Message) -> bool:
        """Pure."""


class SessionKey(ExtensionKey, ABC):
    """Stands for another key, which the session tells before the search begins."""

    __slots__ = ()

    @abstractmethod
    async def resolve(self, session: ImapSession) -> SearchKey:
        """Raises: Refused; BadSyntax."""


def leaves(key: SearchKey) -> Iterator[SearchKey]:
    """The keys that are not made of others."""
    match key:
        case And(keys):
            for inside in keys:
                yield from leaves(inside)
        case Or(left, right):
            yield from leaves(left)
            yield from leaves(right)
        case Not(inside):
            yield from leaves(inside)
        case _:
            yield key
