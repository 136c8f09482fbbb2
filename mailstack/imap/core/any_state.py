"""CAPABILITY, NOOP, LOGOUT (RFC 9051 §6.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailstack.auth import sasl
from mailstack.imap import replies
from mailstack.imap.registry import ANY, NOT_AUTHENTICATED, Capability, Enable, Feature, State, command, nothing
from mailstack.imap.replies import Reply

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession


def capability_words(session: ImapSession) -> str:
    """What is offered now, separated by spaces."""
    from mailstack.imap.features import CAPABILITIES

    offered = [word for word in CAPABILITIES if session.state in word.states]
    words = [word.name if word.shown is None else word.shown(session) for word in offered]
    words.append(f"APPENDLIMIT={session.settings.max_message_size}")
    if session.state is State.NOT_AUTHENTICATED:
        if session.settings.tls_available and session.connection.tls is None:
            words.append("STARTTLS")
        if session.may_log_in:
            words += [f"AUTH={mechanism.name}" for mechanism in sasl.MECHANISMS]
        else:
            words.append("LOGINDISABLED")
    return " ".join(filter(None, words))


async def capability(session: ImapSession, _: None) -> Reply:
    session.say(f"* CAPABILITY {capability_words(session)}\r\n".encode())
    return replies.ok("CAPABILITY completed")


async def noop(session: ImapSession, _: None) -> Reply:
    return replies.ok("NOOP completed")


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
        Capability("LITERAL+"),
        Capability("SASL-IR", NOT_AUTHENTICATED),
    ),
    enables=(Enable("IMAP4rev2"),),
)
