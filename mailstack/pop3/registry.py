"""What a command and an extension of POP3 are, and the states in which commands are legal."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from mailstack.pop3.session import Pop3Session

A = TypeVar("A")


class State(Enum):
    """RFC 1939 §3; UPDATE is what QUIT does."""

    AUTHORIZATION = "before login"
    TRANSACTION = "after login"
    ENDED = "closing"

    __hash__ = object.__hash__  # as identity: what Enum does instead costs a call for each command


BEFORE = frozenset({State.AUTHORIZATION})
AFTER = frozenset({State.TRANSACTION})
ALWAYS = BEFORE | AFTER


@dataclass(frozen=True, slots=True)
class Command:
    """One command: `parse` makes a value of what follows the keyword, `run` acts in a legal state and says the
    reply."""

    keyword: str
    states: frozenset[State]
    parse: Callable[[str], Any]
    run: Callable[[Pop3Session, Any], Awaitable[None]]


def command(
    keyword: str,
    states: frozenset[State],
    parse: Callable[[str], A],
    run: Callable[[Pop3Session, A], Awaitable[None]],
) -> Command:
    """A row whose parse and run fit together."""
    return Command(keyword, states, parse, run)


def _not_listed(session: Pop3Session) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Extension:
    """One capability (RFC 2449 §5): its line in the reply to CAPA as far as it is there now ("" if not), and its
    commands."""

    capability: Callable[[Pop3Session], str] = _not_listed
    commands: tuple[Command, ...] = ()


def always(line: str) -> Callable[[Pop3Session], str]:
    """A line of CAPA that is there in every state."""
    return lambda session: line
