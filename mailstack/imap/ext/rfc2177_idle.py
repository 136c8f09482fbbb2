"""IDLE (RFC 2177; RFC 9051 §6.3.13): the client is told of changes as they happen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailstack.errors import BadSyntax, Silence
from mailstack.imap import replies
from mailstack.imap.registry import AUTHENTICATED, Capability, Feature, State, command, nothing
from mailstack.imap.replies import Reply
from mailstack.imap.wire.framing import Command

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession


KEEP_ALIVE = 120.0
"""Seconds without a word after which an idling client is told that the connection lives: routers forget
connections that are silent for longer, some after a few minutes. A peer that is gone does not acknowledge it,
and the system ends the connection, so that the time-out for silent clients need not: many of them idle until
something happens, and do not come back when they are logged out meanwhile."""


async def idle(session: ImapSession, _: None) -> Reply:
    session.say(b"+ idling\r\n")
    session.idling = True
    try:
        while True:
            await tell(session)
            event = session.framer.next_event()
            if event is None:
                await more(session)
                continue
            if isinstance(event, Command) and event.octets.strip().upper() == b"DONE":
                return replies.ok("IDLE terminated")
            await session.throw_away(event)
            raise BadSyntax("DONE")
    finally:
        session.idling = False


async def more(session: ImapSession) -> None:
    """What the client says next, or a reason to look at the mailbox. Raises: SessionEnded."""
    try:
        session.framer.feed(await session.connection.receive(at_most=KEEP_ALIVE))
    except Silence:
        session.say(replies.ok("still here").line(b"*"))


async def tell(session: ImapSession) -> None:
    """What happened in the selected mailbox; after NOTIFY, exactly what the client asked for there (RFC 5465 §4)."""
    if session.notifier is not None:
        await session.notifier.tell(allow_expunge=True)
    elif session.state is State.SELECTED:
        await session.still_open()
        await session.flush(allow_expunge=True)
    if code := session.modseq_code():
        session.say(replies.ok("the highest mod-sequence", code).line(b"*"))


FEATURE = Feature(
    commands=(command(b"IDLE", AUTHENTICATED, nothing, idle),),
    capabilities=(Capability("IDLE"),),
)
