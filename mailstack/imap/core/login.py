"""STARTTLS, LOGIN, AUTHENTICATE (RFC 9051 §6.2, RFC 4959 for the initial response)."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from mailstack.auth import login as logins
from mailstack.auth import mechanisms
from mailstack.auth.login import Attempt, Cancelled
from mailstack.auth.sasl import Credentials, Secret
from mailstack.errors import Refused
from mailstack.imap import replies
from mailstack.imap.core.any_state import capability_words
from mailstack.imap.registry import NOT_AUTHENTICATED, Feature, State, command, nothing
from mailstack.imap.replies import Reply
from mailstack.imap.wire.cursor import Cursor, atom, sp, text
from mailstack.ports import AccountName

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession

NEEDS_TLS = replies.no("use STARTTLS first: no password without TLS", "PRIVACYREQUIRED")


def login_arguments(cur: Cursor) -> Credentials:
    # login = "LOGIN" SP userid SP password
    user = text(cur)
    sp(cur)
    return Credentials(user, Secret(text(cur)))


def authenticate_arguments(cur: Cursor) -> tuple[str, bytes | None]:
    # authenticate = "AUTHENTICATE" SP auth-type [SP initial-resp]
    name = atom(cur).decode("ascii").upper()
    if not cur.skip(b" "):
        return name, None
    rest = cur.octets[cur.position :]
    cur.position = len(cur.octets)
    return name, rest.strip(b" ")


async def starttls(session: ImapSession, _: None) -> Reply:
    if session.connection.tls is not None or not session.settings.tls_available:
        return replies.bad("TLS is active" if session.connection.tls is not None else "TLS is not available here")
    session.say(replies.ok("begin TLS").line(session.tag))
    await session.connection.start_tls()
    session.framer.clear()
    return replies.SAID


async def login(session: ImapSession, credentials: Credentials) -> Reply:
    if not session.may_log_in:
        return NEEDS_TLS
    accounts = session.resources.accounts
    if not mechanisms.takes_passwords(session.settings.mechanisms, accounts):
        return replies.no("LOGIN is not offered here: see AUTH= in CAPABILITY", "CANNOT")
    attempt = Attempt("LOGIN", session.connection.peer)
    return await finish(session, logins.password(credentials, accounts, attempt), attempt)


async def authenticate(session: ImapSession, asked: tuple[str, bytes | None]) -> Reply:
    name, initial = asked
    if not session.may_log_in:
        return NEEDS_TLS if name in mechanisms.NAMES else no_mechanism(name)
    accounts, connection = session.resources.accounts, session.connection
    exchange = logins.begin(name, session.settings.mechanisms, accounts, connection)
    if exchange is None:
        return no_mechanism(name)

    async def ask(challenge: bytes) -> bytes:
        session.say(b"+ %s\r\n" % challenge)
        return await session.text_line()

    attempt = Attempt(name, connection.peer)
    try:
        return await finish(session, logins.converse(exchange, initial, ask, accounts, connection, attempt), attempt)
    except Cancelled:
        return replies.bad("authentication cancelled")


def no_mechanism(name: str) -> Reply:
    return replies.no(f"no mechanism {name}", "CANNOT")


async def finish(session: ImapSession, work: Awaitable[AccountName], attempt: Attempt) -> Reply:
    """Await whose account it is, and count how often that is refused."""
    log, counters = session.log, session.resources.counters
    try:
        account = await work
    except Refused as refused:
        attempt.failed(refused, log, counters)
        session.login_failures += 1
        if session.login_failures >= session.settings.max_login_failures:
            session.say(replies.bye("too many failed logins"))
            session.state = State.LOGOUT
        return replies.refused(refused.problem)
    await session.logged_in(account)
    attempt.succeeded(account, log, counters, tls=session.connection.tls is not None)
    return replies.ok("logged in", f"CAPABILITY {capability_words(session)}")


FEATURE = Feature(
    commands=(
        command(b"STARTTLS", NOT_AUTHENTICATED, nothing, starttls),
        command(b"LOGIN", NOT_AUTHENTICATED, login_arguments, login),
        command(b"AUTHENTICATE", NOT_AUTHENTICATED, authenticate_arguments, authenticate),
    ),
)
