"""What a command and an extension are, and the states between which commands move a session."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeVar

from mailstack.smtp.facts import Facts
from mailstack.smtp.replies import Reply
from mailstack.smtp.settings import ANY_ROLE, Role

if TYPE_CHECKING:
    from mailstack.smtp.session import SmtpSession

A = TypeVar("A")


class State(Enum):
    """Where a session is.

    CONNECTED --EHLO--> READY --MAIL--> MAIL --RCPT--> RCPT --DATA, BDAT LAST--> READY
                                                       RCPT --BDAT--> BDAT --BDAT LAST--> READY
    RSET and EHLO lead to READY from everywhere but CONNECTED, STARTTLS to CONNECTED, QUIT to ENDED."""

    CONNECTED = "nobody said EHLO yet"
    READY = "no transaction"
    MAIL = "a sender, no recipient"
    RCPT = "a sender and a recipient"
    BDAT = "some of the message"
    ENDED = "the connection is to be closed"

    __hash__ = object.__hash__  # as identity: what Enum does instead costs a call for each command


ALWAYS = frozenset(State) - {State.ENDED}
GREETED = ALWAYS - {State.CONNECTED}


@dataclass(frozen=True, slots=True)
class Command:
    """One command: `parse` makes a value of what follows the verb, `run` acts in a legal state.
    `run` returns the reply, or None when it has said everything itself. On ports of other `roles` it is unknown."""

    verb: str
    states: frozenset[State]
    parse: Callable[[bytes], Any]
    run: Callable[[SmtpSession, Any], Awaitable[Reply | None]]
    roles: frozenset[Role] = ANY_ROLE


def command(
    verb: str,
    states: frozenset[State],
    parse: Callable[[bytes], A],
    run: Callable[[SmtpSession, A], Awaitable[Reply | None]],
    roles: frozenset[Role] = ANY_ROLE,
) -> Command:
    """A row whose parse and run fit together."""
    return Command(verb, states, parse, run, roles)


ParameterRule = Callable[[Facts, str | None], Reply | None]
"""Takes the value of a parameter (None without "=") into the facts, or refuses it. Raises: BadSyntax."""


def _not_offered(facts: Facts) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Extension:
    """One service extension (RFC 5321 §2.2): its line in the reply to EHLO as far as it is offered
    now ("" if not), its commands, and the parameters that it gives to MAIL and RCPT. On ports of other `roles`
    there is nothing of it."""

    keyword: Callable[[Facts], str] = _not_offered
    commands: tuple[Command, ...] = ()
    mail_parameters: tuple[tuple[str, ParameterRule], ...] = ()
    rcpt_parameters: tuple[tuple[str, ParameterRule], ...] = ()
    roles: frozenset[Role] = ANY_ROLE
