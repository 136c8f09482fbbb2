"""VRFY and EXPN: who is here (RFC 5321 §3.5; RFC 6531 §3.7.4.2). Told only to whom the settings say (§7.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailstack.config.sections import Vrfy as Policy
from mailstack.errors import Problem, Refused
from mailstack.ports import Local
from mailstack.smtp import replies
from mailstack.smtp.facts import Facts
from mailstack.smtp.registry import GREETED, Extension, command
from mailstack.smtp.replies import Reply
from mailstack.smtp.wire import grammar
from mailstack.smtp.wire.values import Vrfy

if TYPE_CHECKING:
    from mailstack.smtp.session import SmtpSession


def _is_told(facts: Facts) -> bool:
    policy = facts.settings.vrfy
    return policy is Policy.EVERYBODY or (policy is Policy.USERS and facts.login is not None)


async def vrfy(session: SmtpSession, args: Vrfy) -> Reply:
    """VRFY (§4.1.1.6): 250 for a mailbox or an alias of ours, 550 for none, 252 for all that we do not tell."""
    if not _is_told(session.facts):
        return replies.CANNOT_VRFY
    route = await _route(session, args)
    if not isinstance(route, Local):
        return route
    return _shown([str(args.address)], args)


async def expn(session: SmtpSession, args: Vrfy) -> Reply:
    """EXPN (§4.1.1.7): the accounts behind an address."""
    if not _is_told(session.facts):
        return replies.NOT_IMPLEMENTED
    route = await _route(session, args)
    if not isinstance(route, Local):
        return route
    return _shown([*route.accounts, *map(str, route.forwards)], args)


async def _route(session: SmtpSession, args: Vrfy) -> Local | Reply:
    if args.address is None:
        return replies.CANNOT_VRFY
    try:
        route = await session.resources.directory.route(args.address)
    except Refused as refused:
        if refused.problem is Problem.NO_SUCH_RECIPIENT:
            return replies.NO_SUCH_USER
        if refused.problem is Problem.RELAY_DENIED:
            return replies.CANNOT_VRFY
        raise
    return route if isinstance(route, Local) else replies.CANNOT_VRFY


def _shown(addresses: list[str], args: Vrfy) -> Reply:
    """RFC 6531 §3.7.4.2: 252 when it would be UTF-8 and may not be."""
    if not args.smtputf8 and not all(address.isascii() for address in addresses):
        return replies.CANNOT_SAY_UTF8
    return replies.mailboxes(addresses)


VRFY = Extension(
    lambda facts: "VRFY" if _is_told(facts) else "", commands=(command("VRFY", GREETED, grammar.vrfy, vrfy),)
)
EXPN = Extension(
    lambda facts: "EXPN" if _is_told(facts) else "", commands=(command("EXPN", GREETED, grammar.vrfy, expn),)
)
