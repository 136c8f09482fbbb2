"""CAPABILITY, NOOP, LOGOUT (RFC 9051 §6.1)."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from mailstack.auth import mechanisms
from mailstack.imap import replies
from mailstack.imap.hidden import shown
from mailstack.imap.registry import ANY, NOT_AUTHENTICATED, Capability, Enable, Feature, State, command, nothing
from mailstack.imap.replies import Reply

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession


def capability_words(session: ImapSession) -> str:
    """What is offered now, separated by spaces."""
    words = [*_words_of(session.state)]
    words += [word for row in _shown_of(session.state) if row.shown is not None and (word := row.shown(session))]
    words.append(f"APPENDLIMIT={session.settings.max_message_size}")
    if session.state is State.NOT_AUTHENTICATED:
        if session.settings.tls_available and session.connection.tls is None:
            words.append("STARTTLS")
        words += login_words(session)
    if session.settings.hidden:
        words = shown(words, session.settings.hidden, session.account, session.client_name)
    return " ".join(words)


@cache
def _words_of(state: State) -> tuple[str, ...]:
    from mailstack.imap.features import CAPABILITIES

    return tuple(word.name for word in CAPABILITIES if state in word.states and word.shown is None)


@cache
def _shown_of(state: State) -> tuple[Capability, ...]:
    from mailstack.imap.features import CAPABILITIES

    return tuple(word for word in CAPABILITIES if state in word.states and word.shown is not None)


def login_words(session: ImapSession) -> list[str]:
    """How one may log in now."""
    if not session.may_log_in:
        return ["LOGINDISABLED"]
    enabled, accounts = session.settings.mechanisms, session.resources.accounts
    words = [f"AUTH={mechanism.name}" for mechanism in mechanisms.offered(enabled, accounts, session.connection)]
    return words if mechanisms.takes_passwords(enabled, accounts) else [*words, "LOGINDISABLED"]


async def capability(session: ImapSession, _: None) -> Reply:
    session.say(f"* CAPABILITY {capability_words(session)}\r\n".encode())
    return replies.ok("CAPABILITY completed")


async def noop(session: ImapSession, _: None) -> Reply:
    return replies.ok("NOOP completed")


def literals(session: ImapSession) -> str:
    """RFC 7888 §5: one of the two, never both."""
    return "LITERAL-" if session.settings.literal_minus else "LITERAL+"


async def logout(session: ImapSession, _: None) -> Reply:
    session.stop_notifying()
    session.deselect()
    session.state = State.LOGOUT
    session.say(replies.bye("logging out, as you asked"))
    return replies.ok("LOGOUT completed")


FEATURE = Feature(
    commands=(
        command(b"CAPABILITY", ANY, nothing, capability),
        command(b"NOOP", ANY, nothing, noop),
        command(b"LOGOUT", ANY, nothing, logout),
    ),
    capabilities=(
        Capability("IMAP4rev1"),
        Capability("IMAP4rev2"),
        Capability("LITERAL+", shown=literals),
        Capability("SASL-IR", NOT_AUTHENTICATED),
    ),
    enables=(Enable("IMAP4rev2"),),
)
