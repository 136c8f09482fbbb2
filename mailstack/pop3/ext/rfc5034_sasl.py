"""AUTH: logging in by SASL (RFC 5034)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mailstack.auth import login, mechanisms
from mailstack.auth.login import Attempt, Cancelled
from mailstack.pop3 import replies
from mailstack.pop3.registry import BEFORE, Extension, State, command
from mailstack.pop3.wire.arguments import mechanism_and_response

if TYPE_CHECKING:
    from mailstack.pop3.session import Pop3Session


def capability(session: Pop3Session) -> str:
    """The mechanisms; nothing where a password would travel in plain text."""
    names = offered(session) if session.may_log_in or session.state is State.TRANSACTION else ()
    return " ".join(["SASL", *names]) if names else ""


def offered(session: Pop3Session) -> Sequence[str]:
    """Mechanisms, the one to prefer first."""
    enabled, accounts = session.settings.mechanisms, session.resources.accounts
    return [mechanism.name for mechanism in mechanisms.offered(enabled, accounts, session.connection)]


async def auth(session: Pop3Session, asked: tuple[str, bytes | None]) -> None:
    """AUTH; without an argument it lists the mechanisms (RFC 1734's draft, and Outlook)."""
    name, initial = asked
    accounts, connection = session.resources.accounts, session.connection
    if not name:
        names = offered(session) if session.may_log_in else ()
        session.say(replies.multi_line("mechanisms follow", "".join(f"{name}\r\n" for name in names)))
        return
    if name in mechanisms.NAMES and session.demand_tls():
        return
    exchange = login.begin(name, session.settings.mechanisms, accounts, connection)
    if exchange is None:
        session.say(replies.err(f"no mechanism {name[:20]!a}"))
        return

    async def ask(challenge: bytes) -> bytes:
        session.say(b"+ %s\r\n" % challenge)
        return await session.line()

    attempt = Attempt(name, connection.peer)
    try:
        await session.log_in(login.converse(exchange, initial, ask, accounts, connection, attempt), attempt)
    except Cancelled:
        session.say(replies.err("authentication cancelled"))


SASL = Extension(capability, commands=(command("AUTH", BEFORE, mechanism_and_response, auth),))
