"""STARTTLS, LOGIN, AUTHENTICATE (RFC 9051 §6.2, RFC 4959 for the initial response)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailstack.auth import sasl
from mailstack.auth.sasl import Credentials, Secret
from mailstack.errors import Problem, Refused
from mailstack.imap import replies
from mailstack.imap.core.any_state import capability_words
from mailstack.imap.registry import NOT_AUTHENTICATED, Feature, State, command, nothing
from mailstack.imap.replies import Reply
from mailstack.imap.wire.cursor import Cursor, atom, sp, text

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
    return await check(session, credentials, "LOGIN")


async def authenticate(session: ImapSession, asked: tuple[str, bytes | None]) -> Reply:
    name, initial = asked
    exchange = sasl.start(name)
    if exchange is None:
        return replies.no(f"no mechanism {name}", "CANNOT")
    if not session.may_log_in:
        return NEEDS_TLS
    step = exchange.respond(None if initial is None else sasl.decode_initial_response(initial))
    while isinstance(step, sasl.Challenge):
        session.say(b"+ %s\r\n" % sasl.encode_base64(step.data))
        line = await session.text_line()
        if line == b"*":
            return replies.bad("authentication cancelled")
        step = exchange.respond(sasl.decode_base64(line))
    return await check(session, step, name)


async def check(session: ImapSession, credentials: Credentials, mechanism: str) -> Reply:
    """Ask about the credentials, and count how often they are wrong."""
    user, peer = credentials.user, session.connection.peer
    try:
        if not credentials.acts_for_itself:
            raise Refused(Problem.BAD_CREDENTIALS, "acting for another user")
        account = await session.resources.accounts.log_in(user, credentials.password.reveal(), peer)
    except Refused as refused:
        session.resources.counters.count("logins", "failed")
        session.log.event("login failed", user=user, peer=peer.host, mechanism=mechanism, reason=str(refused))
        session.login_failures += 1
        if session.login_failures >= session.settings.max_login_failures:
            session.say(replies.bye("too many failed logins"))
            session.state = State.LOGOUT
        return replies.refused(refused.problem)
    await session.logged_in(account)
    session.resources.counters.count("logins", "accepted")
    session.log.event("login", user=user, peer=peer.host, mechanism=mechanism, tls=session.connection.tls is not None)
    return replies.ok("logged in", f"CAPABILITY {capability_words(session)}")


FEATURE = Feature(
    commands=(
        command(b"STARTTLS", NOT_AUTHENTICATED, nothing, starttls),
        command(b"LOGIN", NOT_AUTHENTICATED, login_arguments, login),
        command(b"AUTHENTICATE", NOT_AUTHENTICATED, authenticate_arguments, authenticate),
    ),
)
