"""AUTH: logging in (RFC 4954)."""

from __future__ import annotations

from collections.abc import Awaitable
from functools import partial
from typing import TYPE_CHECKING

from mailstack.auth import login as logins
from mailstack.auth import mechanisms
from mailstack.auth.login import Attempt, Cancelled
from mailstack.errors import BadSyntax, Problem, Refused
from mailstack.ports import AccountName
from mailstack.smtp import replies
from mailstack.smtp.facts import Facts
from mailstack.smtp.registry import Extension, State, command
from mailstack.smtp.replies import Reply
from mailstack.smtp.wire import grammar
from mailstack.smtp.wire.framing import TooLong
from mailstack.smtp.wire.values import Auth
from mailstack.smtp.wire.xtext import decode_xtext

if TYPE_CHECKING:
    from mailstack.smtp.session import SmtpSession


def _private(facts: Facts) -> bool:
    """Whether one may log in now."""
    return facts.tls or facts.settings.allow_plaintext_auth


def keyword(facts: Facts) -> str:
    """The mechanisms; nothing while a password would travel in plain text (RFC 4954 §4)."""
    if not facts.mechanisms or not facts.settings.auth_offered or not _private(facts):
        return ""
    return " ".join(["AUTH", *facts.mechanisms])


async def auth(session: SmtpSession, args: Auth) -> Reply:
    """AUTH (RFC 4954 §4)."""
    settings, connection, accounts = session.settings, session.connection, session.resources.accounts
    if not settings.auth_offered:
        return replies.NO_AUTH
    if session.facts.login is not None:
        return replies.ALREADY_LOGGED_IN
    if args.mechanism in mechanisms.NAMES and not _private(session.facts):
        return replies.AUTH_NEEDS_TLS
    exchange = logins.begin(args.mechanism, settings.mechanisms, accounts, connection)
    if exchange is None:
        return replies.UNKNOWN_MECHANISM
    attempt = Attempt(args.mechanism, session.facts.peer)
    ask = partial(_ask, session)
    try:
        return await _log_in(
            session, logins.converse(exchange, args.initial_response, ask, accounts, connection, attempt), attempt
        )
    except _LineTooLong:
        return replies.AUTH_TOO_LONG
    except BadSyntax:
        return replies.AUTH_BAD_RESPONSE
    except Cancelled:
        return replies.AUTH_CANCELLED


class _LineTooLong(BadSyntax):
    """A response of more octets than any mechanism has use for."""


async def _ask(session: SmtpSession, challenge: bytes) -> bytes:
    """Send a challenge; the client's line. Raises: BadSyntax."""
    session.say(Reply(334, "", challenge.decode("ascii")))
    line = await session.line()
    if isinstance(line, TooLong):
        raise _LineTooLong("a shorter response")
    return line


async def _log_in(session: SmtpSession, work: Awaitable[AccountName], attempt: Attempt) -> Reply:
    counters = session.resources.counters
    try:
        login = await work
    except Refused as refused:
        attempt.failed(refused, session.log, counters)
        if refused.problem not in (Problem.BAD_CREDENTIALS, Problem.NOT_PERMITTED):
            return replies.for_problem(refused.problem)
        session.login_failures += 1
        if session.login_failures < session.settings.max_login_failures:
            return replies.AUTH_FAILED
        session.state = State.ENDED
        return replies.TOO_MANY_FAILURES
    session.facts.login, session.facts.mechanism = login, attempt.mechanism
    attempt.succeeded(login, session.log, counters, tls=session.facts.tls)
    return replies.LOGGED_IN


def submitter(facts: Facts, value: str | None) -> None:
    """AUTH= of MAIL: who submitted it elsewhere (RFC 4954 §5). We trust nobody's word, so that whatever it is,
    it counts as AUTH=<>; it must be a mailbox in xtext all the same."""
    if value is None:
        raise BadSyntax("AUTH=mailbox or AUTH=<>")
    if value != "<>":
        cur = grammar.Cursor(decode_xtext(value))
        grammar.mailbox(cur)
        if not cur.at_end:
            raise BadSyntax("AUTH=mailbox or AUTH=<>")


AUTH = Extension(
    keyword,
    commands=(command("AUTH", frozenset({State.READY}), grammar.auth, auth),),
    mail_parameters=(("AUTH", submitter),),
)
