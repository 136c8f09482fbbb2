"""AUTH: logging in (RFC 4954)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailstack.auth import sasl
from mailstack.errors import BadSyntax, Problem, Refused
from mailstack.smtp import replies
from mailstack.smtp.facts import Facts
from mailstack.smtp.registry import Extension, State, command
from mailstack.smtp.replies import Reply
from mailstack.smtp.wire import grammar
from mailstack.smtp.wire.framing import TooLong
from mailstack.smtp.wire.values import Auth

if TYPE_CHECKING:
    from mailstack.smtp.session import SmtpSession


def _hidden(facts: Facts) -> bool:
    """Whether a password may be sent now."""
    return facts.tls or facts.settings.allow_plaintext_auth


def keyword(facts: Facts) -> str:
    """The mechanisms; nothing while a password would travel in plain text (RFC 4954 §4)."""
    if not facts.settings.auth_offered:
        return ""
    names = [mechanism.name for mechanism in sasl.MECHANISMS if _hidden(facts) or not mechanism.plaintext]
    return " ".join(["AUTH", *names]) if names else ""


async def auth(session: SmtpSession, args: Auth) -> Reply:
    """AUTH (RFC 4954 §4)."""
    if not session.settings.auth_offered:
        return replies.NO_AUTH
    if session.facts.login is not None:
        return replies.ALREADY_LOGGED_IN
    mechanism = next((known for known in sasl.MECHANISMS if known.name == args.mechanism), None)
    if mechanism is None:
        return replies.UNKNOWN_MECHANISM
    if mechanism.plaintext and not _hidden(session.facts):
        return replies.AUTH_NEEDS_TLS
    try:
        credentials = await _converse(session, mechanism.begin(), args.initial_response)
    except BadSyntax:
        return replies.AUTH_BAD_RESPONSE
    if credentials is None:
        return replies.AUTH_CANCELLED
    return await _log_in(session, credentials)


async def _converse(session: SmtpSession, exchange: sasl.Exchange, initial: bytes | None) -> sasl.Credentials | None:
    """Carry challenges and responses; None if the client gives up. Raises: BadSyntax."""
    step = exchange.respond(None if initial is None else sasl.decode_initial_response(initial))
    while isinstance(step, sasl.Challenge):
        session.say(Reply(334, "", sasl.encode_base64(step.data).decode("ascii")))
        line = await session.line()
        if isinstance(line, TooLong):
            raise BadSyntax("a shorter response")
        if line == b"*":
            return None
        step = exchange.respond(sasl.decode_base64(line))
    return step


async def _log_in(session: SmtpSession, credentials: sasl.Credentials) -> Reply:
    user, peer, resources = credentials.user, session.connection.peer, session.resources
    try:
        if not credentials.acts_for_itself:
            raise Refused(Problem.BAD_CREDENTIALS, "asks to act as another user")
        login = await resources.accounts.log_in(user, credentials.password.reveal(), peer)
    except Refused as refused:
        resources.counters.count("logins", "failed")
        session.log.event("login failed", user=user, peer=peer.host, problem=refused.problem.value)
        if refused.problem is not Problem.BAD_CREDENTIALS:
            return replies.for_problem(refused.problem)
        session.login_failures += 1
        if session.login_failures < session.settings.max_login_failures:
            return replies.AUTH_FAILED
        session.state = State.ENDED
        return replies.TOO_MANY_FAILURES
    session.facts.login = login
    resources.counters.count("logins", "accepted")
    session.log.event("login", user=user, account=login, peer=peer.host)
    return replies.LOGGED_IN


def submitter(facts: Facts, value: str | None) -> None:
    """AUTH= of MAIL: who submitted it elsewhere. We trust nobody's word, as RFC 4954 §5 allows."""
    if value is None:
        raise BadSyntax("AUTH=mailbox or AUTH=<>")


AUTH = Extension(
    keyword,
    commands=(command("AUTH", frozenset({State.READY}), grammar.auth, auth),),
    mail_parameters=(("AUTH", submitter),),
)
