"""USER and PASS: logging in with a password as it is (RFC 1939 §7, RFC 2449 §6.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailstack.auth import login, mechanisms, sasl
from mailstack.auth.login import Attempt
from mailstack.auth.saslprep import is_prohibited
from mailstack.errors import BadSyntax
from mailstack.pop3 import replies
from mailstack.pop3.registry import BEFORE, Extension, State, command
from mailstack.pop3.wire.arguments import anything

if TYPE_CHECKING:
    from mailstack.pop3.session import Pop3Session


def is_offered(session: Pop3Session) -> bool:
    """Whether a password may be sent as it is."""
    return mechanisms.takes_passwords(session.settings.mechanisms, session.resources.accounts)


def capability(session: Pop3Session) -> str:
    """Not where a password would travel in plain text."""
    private = session.may_log_in or session.state is State.TRANSACTION
    return "USER" if private and is_offered(session) else ""


def name_or_password(text: str) -> str:
    """In UTF-8; `Accounts` prepares it by the successor of SASLprep (RFC 8265). Raises: BadSyntax for what SASLprep
    prohibits (RFC 6856 §2.2)."""
    said = anything(text)
    if not said.isascii() and is_prohibited(said):
        raise BadSyntax("text without control and other special characters")
    return said


async def user(session: Pop3Session, name: str) -> None:
    """USER."""
    if session.demand_tls():
        return
    if not is_offered(session):
        session.say(replies.err("USER is not offered here: see SASL in CAPA", "SYS/PERM"))
        return
    session.user = name
    session.say(replies.ok("send PASS"))


async def password(session: Pop3Session, text: str) -> None:
    """PASS."""
    if session.demand_tls():
        return
    if not session.user:
        session.say(replies.err("USER first"))
        return
    name, session.user = session.user, ""
    attempt = Attempt("USER", session.connection.peer)
    credentials = sasl.Credentials(name, sasl.Secret(text))
    await session.log_in(login.password(credentials, session.resources.accounts, attempt), attempt)


USER = Extension(
    capability,
    commands=(
        command("USER", BEFORE, name_or_password, user),
        command("PASS", BEFORE, name_or_password, password),
    ),
)
