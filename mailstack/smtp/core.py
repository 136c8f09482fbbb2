"""The commands of RFC 5321 §4.1.1 itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mailstack.errors import Problem, Refused
from mailstack.mail.address import Address
from mailstack.mail.parameters import NOTHING_SAID_OF_RECIPIENT
from mailstack.ports import Local, Remote
from mailstack.smtp import replies
from mailstack.smtp.checks.frame import Stage
from mailstack.smtp.facts import Facts
from mailstack.smtp.registry import ALWAYS, Command, ParameterRule, State, command
from mailstack.smtp.replies import Reply
from mailstack.smtp.settings import ANY_ROLE, Role
from mailstack.smtp.transaction import Recipient
from mailstack.smtp.wire import grammar
from mailstack.smtp.wire.values import Helo, Mail, Nothing, Parameter, Rcpt

if TYPE_CHECKING:
    from mailstack.smtp.session import SmtpSession

SMTP_ROLES = ANY_ROLE - {Role.LMTP}
LASTING = frozenset({Problem.NO_SUCH_RECIPIENT, Problem.RELAY_DENIED, Problem.OVER_QUOTA, Problem.NOT_PERMITTED})
"""What the directory may say of a recipient; other problems are the directory's own."""


async def ehlo(session: SmtpSession, args: Helo) -> Reply:
    """EHLO (RFC 5321 §4.1.1.1), in LMTP LHLO (RFC 2033 §4.1): who the client is, and what we offer."""
    return await _greeted(session, args, extended=True)


async def helo(session: SmtpSession, args: Helo) -> Reply:
    """HELO: as before there were extensions."""
    return await _greeted(session, args, extended=False)


async def _greeted(session: SmtpSession, args: Helo, *, extended: bool) -> Reply:
    session.drop_transaction()
    facts = session.facts
    before = facts.helo, facts.extended, facts.helo_marks
    facts.helo, facts.extended, facts.helo_marks = args.domain, extended, []
    facts.now = session.resources.clock.now()
    if args.domain.startswith("["):
        facts.local = session.connection.local
    refusal = await session.opinion(Stage.HELO)
    if refusal is not None:
        facts.helo, facts.extended, facts.helo_marks = before  # RFC 5321 §4.1.4: as if nothing had been said
        return refusal
    session.state = State.READY
    hostname = session.settings.hostname
    offered = session.keywords() if extended else []
    return Reply(250, "", f"{hostname} greets {args.domain}" if extended else hostname, *offered)


async def mail(session: SmtpSession, args: Mail) -> Reply:
    """MAIL (RFC 5321 §4.1.1.2): a transaction begins."""
    facts, settings = session.facts, session.settings
    if settings.login_needed and facts.login is None:
        tls_first = not facts.tls and not settings.allow_plaintext_auth and settings.tls_available
        return replies.TLS_FIRST if tls_first else replies.AUTH_FIRST
    facts.forget_message()
    facts.sender, facts.now = args.reverse_path, session.resources.clock.now()
    facts.transaction_id, facts.arguments = session.next_id, args.parameters
    refusal = _parameters(session.table.mail_parameters, facts, args.parameters)
    if refusal is not None:
        return refusal
    if args.reverse_path is not None and not facts.smtputf8 and not args.reverse_path.is_ascii:
        return replies.BAD_ADDRESS_UTF8
    refusal = await session.opinion(Stage.MAIL)
    if refusal is not None:
        session.log.event("mail refused", sender=sender_text(args.reverse_path), reply=str(refusal))
        return refusal
    session.begin_transaction()
    return replies.priority_changed(facts.parameters.priority) if facts.priority_changed else replies.SENDER_OK


def _parameters(rules: dict[str, ParameterRule], facts: Facts, said: Sequence[Parameter]) -> Reply | None:
    """Take what was said into the facts, or refuse it. Raises: BadSyntax."""
    for parameter in said:
        rule = rules.get(parameter.keyword)
        if rule is None:
            return replies.UNKNOWN_PARAMETER
        refusal = rule(facts, parameter.value)
        if refusal is not None:
            return refusal
    return None


async def rcpt(session: SmtpSession, args: Rcpt) -> Reply:
    """RCPT (RFC 5321 §4.1.1.3): one recipient."""
    facts, transaction = session.facts, session.current
    facts.rcpt_parameters, facts.arguments = NOTHING_SAID_OF_RECIPIENT, args.parameters
    refusal = _parameters(session.table.rcpt_parameters, facts, args.parameters)
    if refusal is not None:
        return refusal
    address = args.forward_path
    if not facts.smtputf8 and not address.is_ascii:
        return replies.BAD_ADDRESS_UTF8
    facts.recipient = address
    facts.route = route = await _route(session, address)
    refusal = await session.opinion(Stage.RCPT)
    if refusal is not None or isinstance(route, Problem):
        refusal = refusal or replies.for_problem(Problem.NO_SUCH_RECIPIENT)
        transaction.refused += 1
        session.resources.counters.count("smtp_recipients", "refused")
        sender = sender_text(facts.sender)
        session.log.event("mail refused", id=transaction.id, sender=sender, to=str(address), reply=str(refusal))
        return refusal
    transaction.recipients.append(Recipient(address, route, facts.rcpt_parameters))
    facts.recipients += 1
    session.resources.counters.count("smtp_recipients", "accepted")
    session.state = State.RCPT
    return replies.RECIPIENT_OK


async def _route(session: SmtpSession, address: Address) -> Local | Remote | Problem:
    try:
        return await session.resources.directory.route(address)
    except Refused as refused:
        if refused.problem not in LASTING:
            raise
        return refused.problem


async def data(session: SmtpSession, _: Nothing) -> Reply:
    """DATA (RFC 5321 §4.1.1.4): the message, and the end of the transaction."""
    if session.facts.binary:
        return replies.BINARY_NEEDS_BDAT
    refusal = await session.opinion(Stage.DATA)
    if refusal is not None:
        session.drop_transaction()
        return refusal
    session.current.begin_message(session.resources.spool)
    session.say(replies.GO_AHEAD)
    session.framer.begin_data()
    await session.read_message()
    return await session.end_of_data()


async def rset(session: SmtpSession, _: Nothing) -> Reply:
    """RSET (RFC 5321 §4.1.1.5): no transaction."""
    session.drop_transaction()
    return replies.RESET


async def noop(session: SmtpSession, _: Nothing) -> Reply:
    """NOOP (RFC 5321 §4.1.1.9)."""
    return replies.OK


async def help_(session: SmtpSession, _: Nothing) -> Reply:
    """HELP (RFC 5321 §4.1.1.8): what this port knows, whatever the topic."""
    known = [row.verb for row in session.table.commands.values() if row.run is not not_implemented]
    return replies.help_(known)


async def quit_(session: SmtpSession, _: Nothing) -> Reply:
    """QUIT (RFC 5321 §4.1.1.10)."""
    session.drop_transaction()
    session.state = State.ENDED
    return replies.BYE


async def not_implemented(session: SmtpSession, _: Nothing) -> Reply:
    """Commands of the RFCs that we do not have (RFC 5321 §4.2.4)."""
    return replies.NOT_IMPLEMENTED


def sender_text(sender: Address | None) -> str:
    """The reverse-path for the log."""
    return "<>" if sender is None else str(sender)


COMMANDS: tuple[Command, ...] = (
    command("EHLO", ALWAYS, grammar.helo, ehlo, SMTP_ROLES),
    command("HELO", ALWAYS, grammar.helo, helo, SMTP_ROLES),
    command("LHLO", ALWAYS, grammar.helo, ehlo, frozenset({Role.LMTP})),
    command("MAIL", frozenset({State.READY}), grammar.mail_from, mail),
    command("RCPT", frozenset({State.MAIL, State.RCPT}), grammar.rcpt_to, rcpt),
    command("DATA", frozenset({State.RCPT}), grammar.no_argument, data),
    command("RSET", ALWAYS, grammar.no_argument, rset),
    command("NOOP", ALWAYS, grammar.any_argument, noop),
    command("HELP", ALWAYS, grammar.any_argument, help_),
    command("QUIT", ALWAYS, grammar.no_argument, quit_),
    command("TURN", ALWAYS, grammar.any_argument, not_implemented),
    command("SEND", ALWAYS, grammar.any_argument, not_implemented),
    command("SOML", ALWAYS, grammar.any_argument, not_implemented),
    command("SAML", ALWAYS, grammar.any_argument, not_implemented),
)
