"""BURL: a piece of the submitted message is fetched from our own IMAP mailboxes, by a URL of URLAUTH (RFC 4468)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from mailstack.errors import Refused
from mailstack.imap.url_content import UrlContent, open_authorized
from mailstack.imap.wire.url import Access
from mailstack.ports import AccountName
from mailstack.smtp import replies
from mailstack.smtp.checks.frame import Stage
from mailstack.smtp.facts import Facts
from mailstack.smtp.registry import Extension, State, command
from mailstack.smtp.replies import Reply
from mailstack.smtp.settings import Role
from mailstack.smtp.wire import grammar
from mailstack.smtp.wire.framing import NewlineRepair
from mailstack.smtp.wire.values import Burl

if TYPE_CHECKING:
    from mailstack.smtp.session import SmtpSession

ROLES = frozenset({Role.SUBMISSION})


def keyword(facts: Facts) -> str:
    """Without an argument until there is a login for whom URLs are resolved (RFC 4468 §3.1)."""
    return "BURL imap" if facts.login is not None else "BURL"


async def burl(session: SmtpSession, args: Burl) -> Reply:
    """BURL (RFC 4468 §3): as BDAT, with which it may take turns; one that fails ends the transaction."""
    first = session.state is State.RCPT
    refusal = await session.opinion(Stage.DATA) if first else None
    resources, login = session.resources, session.facts.login
    content = None
    if refusal is None:
        content = await open_authorized(resources.store, args.url, resources.clock.now(), partial(_may_use, login))
    if content is None:
        session.drop_transaction()
        return refusal or replies.BAD_URL
    transaction = session.current
    try:
        # A chunk of nothing: the line that a BDAT before this has begun ends here.
        session.framer.begin_bdat(0, first=first, last=True, binary=session.facts.binary)
        if first:
            transaction.begin_message(resources.spool)
            session.state = State.BDAT
        await session.read_message()
        await _take(session, content)
    except Refused:
        session.drop_transaction()
        return replies.BAD_URL
    finally:
        content.close()
    if args.last:
        return await session.end_of_data()
    if transaction.sink is None:
        return await session.end_of_data(whole=False)
    return replies.CHUNK_OK


async def _take(session: SmtpSession, content: UrlContent) -> None:
    transaction, lines = session.current, NewlineRepair()
    async for piece in content.pieces():
        if not piece.isascii():
            session.facts.body_8bit = True
        await transaction.take(lines.feed(piece))
    await transaction.take(lines.finish())


def _may_use(login: AccountName | None, access: Access) -> bool:
    """RFC 5092 §6.1.2, RFC 4467 §4: we are the submission entity, on behalf of the login."""
    if access.kind in ("submit", "user"):
        return login is not None and access.user == login
    return access.kind == "anonymous" or login is not None


BURL = Extension(
    keyword,
    commands=(command("BURL", frozenset({State.RCPT, State.BDAT}), grammar.burl, burl, ROLES),),
    roles=ROLES,
)
