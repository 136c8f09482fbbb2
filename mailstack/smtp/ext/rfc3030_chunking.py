"""CHUNKING: the message in counted chunks (RFC 3030)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailstack.errors import BadSyntax, FramingLost
from mailstack.smtp import replies
from mailstack.smtp.checks.frame import Stage
from mailstack.smtp.registry import ALWAYS, Extension, State, command
from mailstack.smtp.replies import Reply
from mailstack.smtp.settings import Role
from mailstack.smtp.wire import grammar
from mailstack.smtp.wire.values import Bdat

if TYPE_CHECKING:
    from mailstack.smtp.session import SmtpSession


def arguments(argument: bytes) -> Bdat:
    """Without a size nobody knows where the chunk ends. Raises: FramingLost."""
    try:
        return grammar.bdat(argument)
    except BadSyntax as bad:
        raise FramingLost(f"expected {bad.expected}") from bad


async def bdat(session: SmtpSession, args: Bdat) -> Reply | None:
    """BDAT (RFC 3030 §2). Its octets follow whatever we think of the command, so they are read first.
    A chunk that is refused ends the transaction; those that follow it get 503."""
    expected = session.state in (State.RCPT, State.BDAT)
    first = session.state is not State.BDAT
    refusal = await session.opinion(Stage.DATA) if expected and first else None
    last = args.last or not expected or refusal is not None
    session.framer.begin_bdat(args.size, first=first, last=last, binary=session.facts.binary)
    if not expected:
        # The last chunk has a reply for each recipient, and here there is none (RFC 2033 §4.3).
        silent = session.settings.role is Role.LMTP and session.state is State.MAIL and args.last
        reply = await _swallow(session)
        return None if silent else reply
    if refusal is not None:
        await session.read_message()
        session.drop_transaction()
        return refusal
    transaction = session.current
    if first:
        transaction.begin_message(session.resources.spool)
        session.state = State.BDAT
    await session.read_message()
    if args.last:
        return await session.end_of_data()
    if transaction.sink is None:
        return await session.end_of_data(whole=False)  # it is lost already: say so now
    return replies.CHUNK_OK


async def _swallow(session: SmtpSession) -> Reply:
    reply = session.out_of_order("BDAT")
    transaction, session.transaction = session.transaction, None
    try:
        await session.read_message()
    finally:
        session.transaction = transaction
    return reply


CHUNKING = Extension(lambda facts: "CHUNKING", commands=(command("BDAT", ALWAYS, arguments, bdat),))
