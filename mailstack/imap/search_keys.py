"""What a search key that an extension adds is made of: one class by where its answer comes from.

An extension makes frozen dataclasses of these, and names a rule for the word in its `Feature.search_keys`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from mailstack.errors import Problem, Refused
from mailstack.imap.wire.values import And, ExtensionKey, Not, Or, SearchKey
from mailstack.ports import Columns, Mailbox, Octets, Wanted

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

    def header_text(self) -> str:
        """The folded text of the header (`search_content.fold`)."""

    def body_texts(self) -> Sequence[str]:
        """The folded texts of the body, of a message up to MEMORY_LIMIT."""

    def body_has(self, folded: str) -> bool:
        """Whether a body text has this text."""


Source = tuple[str, Callable[[Octets], bytes], Wanted]
"""Where the store may have what decides a key: the arguments of `Mailbox.grep` but for the UIDs."""


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

    def sources(self, *, keeps_texts: bool) -> tuple[Source, ...]:
        """Where it may be found quicker than in the octets, if anywhere: it matches if it does so in one of these.
        `Mailbox.keeps_texts` is given."""
        return ()


class SessionKey(ExtensionKey, ABC):
    """Stands for another key, which the session tells before the search begins."""

    __slots__ = ()

    @abstractmethod
    async def resolve(self, session: ImapSession) -> SearchKey:
        """The key that it stands for. Raises: Refused; BadSyntax; replies.Declined."""

    def endless(self) -> Exception:
        """What is raised when it stands for too many others, one within another."""
        return Refused(Problem.LIMIT, "search keys that stand for one another")


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
