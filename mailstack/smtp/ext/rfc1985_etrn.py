"""ETRN: try now what waits for a domain (RFC 1985)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailstack.errors import Problem, Refused
from mailstack.smtp import replies
from mailstack.smtp.facts import Facts
from mailstack.smtp.registry import Extension, State, command
from mailstack.smtp.replies import Reply
from mailstack.smtp.settings import Role, is_among
from mailstack.smtp.wire import grammar
from mailstack.smtp.wire.values import Etrn

if TYPE_CHECKING:
    from mailstack.smtp.session import SmtpSession

ROLES = frozenset({Role.RECEIVE, Role.SUBMISSION})


def _is_allowed(facts: Facts) -> bool:
    return facts.login is not None or is_among(facts.peer.host, facts.settings.etrn_allowed)


async def etrn(session: SmtpSession, args: Etrn) -> Reply:
    """ETRN (§5.1): 251 or 253 by what waits, 458 when the queue cannot, 459 for whom it is not."""
    if not _is_allowed(session.facts):
        return replies.node_not_allowed(args.node, "not from here")
    if args.option == "#":
        return replies.node_not_allowed(args.node, "there is no such queue")
    try:
        waiting = await session.resources.outbound.hasten(args.node, subdomains=args.option == "@")
    except Refused as refused:
        if refused.problem is not Problem.QUEUE_UNAVAILABLE:
            raise
        session.log.event("etrn refused", node=args.node, detail=refused.detail)
        return replies.node_unavailable(args.node)
    session.log.event("etrn", node=args.node, waiting=waiting)
    return replies.node_hastened(args.node, waiting)


ETRN = Extension(
    lambda facts: "ETRN" if _is_allowed(facts) else "",
    commands=(command("ETRN", frozenset({State.READY}), grammar.etrn, etrn, ROLES),),
    roles=ROLES,
)
