"""All commands and capabilities: one row each, in one tuple."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from mailstack.imap.replies import Reply
from mailstack.imap.wire.append_grammar import Segment
from mailstack.imap.wire.cursor import Cursor, atom, sp
from mailstack.imap.wire.search_grammar import KeyRule, PrefixRule, ReturnRule
from mailstack.imap.wire.values import FetchItem, SequenceSet
from mailstack.ports import MailboxStatus

if TYPE_CHECKING:
    from mailstack.imap.core.search import Result
    from mailstack.imap.session import ImapSession

T = TypeVar("T")


class State(Enum):
    """RFC 9051 §3."""

    NOT_AUTHENTICATED = "not authenticated"
    AUTHENTICATED = "authenticated"
    SELECTED = "selected"
    LOGOUT = "logout"


NOT_AUTHENTICATED = frozenset({State.NOT_AUTHENTICATED})
AUTHENTICATED = frozenset({State.AUTHENTICATED, State.SELECTED})
SELECTED = frozenset({State.SELECTED})
ANY = NOT_AUTHENTICATED | AUTHENTICATED


@dataclass(frozen=True, slots=True)
class Row:
    """One command: the states in which it is legal, its arguments' rule, and what it does. The rule
    starts after the name. `keeps_numbers`: no EXPUNGE may be told while it runs. `too_long`: what is said when an
    argument is too long, unless BAD."""

    name: bytes
    states: frozenset[State]
    arguments: Callable[[Cursor], Any]
    act: Callable[[ImapSession, Any], Awaitable[Reply]]
    keeps_numbers: bool = False
    too_long: Reply | None = None


@dataclass(frozen=True, slots=True)
class StreamedRow:
    """A command whose literals are too long to be part of it. The rule starts after the name and ends where the
    first of them may come; what follows is given to the coroutine as a segment, and the next ones it asks for."""

    name: bytes
    states: frozenset[State]
    arguments: Callable[[Cursor], Any]
    act: Callable[[ImapSession, Any, Segment], Awaitable[Reply]]
    keeps_numbers: bool = False
    too_long: Reply | None = None


def command(
    name: bytes,
    states: frozenset[State],
    arguments: Callable[[Cursor], T],
    act: Callable[[ImapSession, T], Awaitable[Reply]],
    *,
    keeps_numbers: bool = False,
    too_long: Reply | None = None,
) -> Row:
    """A row whose rule and coroutine agree on the arguments' type."""
    return Row(name, states, arguments, act, keeps_numbers, too_long)


def streamed(
    name: bytes,
    states: frozenset[State],
    arguments: Callable[[Cursor], T],
    act: Callable[[ImapSession, T, Segment], Awaitable[Reply]],
    *,
    keeps_numbers: bool = False,
) -> StreamedRow:
    """As `command`, of a command whose literals are streamed."""
    return StreamedRow(name, states, arguments, act, keeps_numbers)


@dataclass(frozen=True, slots=True)
class Capability:
    """One word of CAPABILITY: offered in these states, and with `shown` only when that gives a word, which is
    said in its place."""

    name: str
    states: frozenset[State] = ANY
    shown: Callable[[ImapSession], str] | None = None


@dataclass(frozen=True, slots=True)
class Enable:
    """What ENABLE may name (RFC 5161), as it is written, and what it begins beside being in
    `ImapSession.enabled`. A name may enable others, as QRESYNC does CONDSTORE."""

    name: str
    act: Callable[[ImapSession], None] | None = None


@dataclass(frozen=True, slots=True)
class FetchWord:
    """A data item of FETCH. The rule starts after the name, and gives a ColumnItem or a ContentItem of that name.
    `act` is what asking for it begins."""

    name: bytes
    rule: Callable[[Cursor], FetchItem]
    act: Callable[[ImapSession], None] | None = None


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """What a FETCH is about, as modifiers change it. UIDs ascend; `wanted` is the set as the client gave it."""

    uids: Sequence[int]
    items: tuple[FetchItem, ...]
    by_uid: bool
    wanted: SequenceSet


Modifiers = Mapping[bytes, Any]
"""The modifiers that the client gave, by name in upper case."""


@dataclass(frozen=True, slots=True)
class FetchModifier:
    """A fetch-modifier (RFC 4466 §2.4). The rule starts after the name. `act` makes the request that is left,
    and may say something before; it is called in the order of the features, whatever the client's."""

    name: bytes
    rule: Callable[[Cursor], Any]
    act: Callable[[ImapSession, FetchRequest, Modifiers], Awaitable[FetchRequest]]


@dataclass(frozen=True, slots=True)
class SelectParameter:
    """A select-param (RFC 4466 §2.1). The rule starts after the name. `begin` is called before any mailbox is
    closed or opened, and may raise BadSyntax; `act` after the untagged responses that every SELECT has."""

    name: bytes
    rule: Callable[[Cursor], Any]
    begin: Callable[[ImapSession, Any], None]
    act: Callable[[ImapSession, Any], Awaitable[None]] | None = None


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """What a STORE is about, as modifiers change it. UIDs ascend; `unchanged_since` as for `Mailbox.store_flags`."""

    uids: Sequence[int]
    unchanged_since: int | None = None


@dataclass(frozen=True, slots=True)
class StoreModifier:
    """A store-modifier (RFC 4466 §2.5). The rule starts after the name; `act` makes the request that is left of
    it and what the rule gave."""

    name: bytes
    rule: Callable[[Cursor], Any]
    act: Callable[[ImapSession, StoreRequest, Any], StoreRequest]


@dataclass(frozen=True, slots=True)
class StatusItem:
    """A data item of STATUS (RFC 9051 §6.3.11), and its value as it goes on the wire."""

    name: str
    value: Callable[[ImapSession, MailboxStatus], str]


AnnotationCheck = Callable[["ImapSession", str, Mapping[str, bytes | None]], Awaitable[None]]
"""Asked before SETMETADATA sets entries (names in lower case) of a mailbox, or of the server as "".
Raises: replies.Declined."""


@dataclass(frozen=True, slots=True)
class Feature:
    """What one module adds."""

    commands: tuple[Row | StreamedRow, ...] = ()
    capabilities: tuple[Capability, ...] = ()
    enables: tuple[Enable, ...] = ()
    guards: tuple[Callable[[ImapSession, bytes], None], ...] = ()
    """Asked before each command, by its name. Raise: Declined, for one that may not be used now."""
    fetch_items: tuple[FetchWord, ...] = ()
    fetch_modifiers: tuple[FetchModifier, ...] = ()
    status_items: tuple[StatusItem, ...] = ()
    select_parameters: tuple[SelectParameter, ...] = ()
    store_modifiers: tuple[StoreModifier, ...] = ()
    annotation_checks: tuple[AnnotationCheck, ...] = ()
    search_keys: Mapping[bytes, KeyRule] = field(default_factory=dict)
    """Words of SEARCH; the keys that the rules make are of a class of `imap.search_keys`."""
    search_prefixes: Mapping[bytes, PrefixRule] = field(default_factory=dict)
    """Words of SEARCH before another key."""
    search_returns: Mapping[bytes, ReturnRule] = field(default_factory=dict)
    """Options of RETURN; what they return is said by one of `search_data`."""
    search_preparations: tuple[Callable[[ImapSession, Result], Awaitable[None]], ...] = ()
    """Done with each result before `search_data`: what takes time. Raises: Refused, BadSyntax."""
    search_data: tuple[Callable[[ImapSession, Result], bytes], ...] = ()
    """Asked once for each result, for what is to be said of it: one search-return-data as b"MODSEQ 917" of the
    ESEARCH response, or with `returns` None what follows the numbers of SEARCH as b"(MODSEQ 917)"; b"" for nothing."""


class Named(Protocol):
    """A row of modifiers or parameters."""

    @property
    def rule(self) -> Callable[[Cursor], Any]: ...


def modifiers(cur: Cursor, known: Mapping[bytes, Named], what: str) -> Modifiers:
    # "(" modifier *(SP modifier) ")", after its first character   ; RFC 4466 §6: fetch-, store-modifiers, select-params
    found: dict[bytes, Any] = {}
    while True:
        start = cur.position
        name = atom(cur).upper()
        if name not in known or name in found:
            raise cur.expected(f"{what}, each once", start)
        found[name] = known[name].rule(cur)
        if cur.skip(b")"):
            return found
        sp(cur)


def nothing(cur: Cursor) -> None:
    """The rule of commands without arguments."""
