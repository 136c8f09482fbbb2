"""STLS: TLS begins (RFC 2595 §4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailstack.pop3 import replies
from mailstack.pop3.registry import BEFORE, Extension, State, command
from mailstack.pop3.wire.arguments import nothing

if TYPE_CHECKING:
    from mailstack.pop3.session import Pop3Session


def capability(session: Pop3Session) -> str:
    """As long as it would be taken."""
    legal = session.state is State.AUTHORIZATION and not session.utf8
    return "STLS" if legal and session.settings.tls_available and session.connection.tls is None else ""


async def stls(session: Pop3Session, _: None) -> None:
    """STLS."""
    if session.connection.tls is not None:
        session.say(replies.err("TLS is active"))
    elif not session.settings.tls_available:
        session.say(replies.err("TLS is not available here"))
    elif session.utf8:
        session.say(replies.err("STLS comes before UTF8"))  # RFC 6856 §2.1
    else:
        session.say(replies.ok("begin TLS"))
        await session.start_tls()


STLS = Extension(capability, commands=(command("STLS", BEFORE, nothing, stls),))
