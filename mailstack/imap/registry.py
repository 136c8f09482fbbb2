"""All commands and capabilities: one row each, in one tuple."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeVar

from mailstack.imap.replies import Reply
from mailstack.imap.wire.cursor import Cursor

if TYPE_CHECKING:
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
    starts after the name. `keeps_numbers`: no EXPUNGE may be told while it runs."""

    name: bytes
    states: frozenset[State]
    arguments: Callable[[Cursor], Any]
    act: Callable[[ImapSession, Any], Awaitable[Reply]]
    keeps_numbers: bool = False


def command(
    name: bytes,
    states: frozenset[State],
    arguments: Callable[[Cursor], T],
    act: Callable[[ImapSession, T], Awaitable[Reply]],
    *,
    keeps_numbers: bool = False,
) -> Row:
    """A row whose rule and coroutine agree on the arguments' type."""
    return Row(name, states, arguments, act, keeps_numbers)


@dataclass(frozen=True, slots=True)
class Capability:
    """One word of CAPABILITY: offered in these states."""

    name: str
    states: frozenset[State] = ANY


@dataclass(frozen=True, slots=True)
class Feature:
    """What one module adds."""

    commands: tuple[Row, ...] = ()
    capabilities: tuple[Capability, ...] = ()


def nothing(cur: Cursor) -> None:
    """The rule of commands without arguments."""
