"""STARTTLS: from plain text to TLS (RFC 3207)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailstack.smtp import replies
from mailstack.smtp.facts import Facts
from mailstack.smtp.registry import Extension, State, command
from mailstack.smtp.replies import Reply
from mailstack.smtp.wire import grammar
from mailstack.smtp.wire.values import Nothing

if TYPE_CHECKING:
    from mailstack.smtp.session import SmtpSession


def keyword(facts: Facts) -> str:
    """Offered until TLS is active."""
    return "STARTTLS" if facts.settings.tls_available and not facts.tls else ""


async def starttls(session: SmtpSession, _: Nothing) -> Reply | None:
    """STARTTLS (RFC 3207 §4). What the client said before, and what it sent along in plain text, is
    forgotten (§4.2; CVE-2011-0411)."""
    if session.facts.tls:
        return replies.TLS_ACTIVE
    if not session.settings.tls_available:
        return replies.NO_TLS
    session.say(replies.START_TLS)
    session.framer.clear()
    await session.connection.start_tls()
    session.facts.forget_all()
    session.facts.tls = True
    session.state = State.CONNECTED
    return None


STARTTLS = Extension(
    keyword,
    commands=(command("STARTTLS", frozenset({State.CONNECTED, State.READY}), grammar.no_argument, starttls),),
)
