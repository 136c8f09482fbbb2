"""IDLE (RFC 2177; RFC 9051 §6.3.13): the client is told of changes as they happen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailstack.errors import BadSyntax
from mailstack.imap import replies
from mailstack.imap.registry import AUTHENTICATED, Capability, Feature, State, command, nothing
from mailstack.imap.replies import Reply
from mailstack.imap.wire.framing import Command

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession


async def idle(session: ImapSession, _: None) -> Reply:
    session.say(b"+ idling\r\n")
    session.idling = True
    try:
        while True:
            await tell(session)
            event = session.framer.next_event()
            if event is None:
                session.framer.feed(await session.connection.receive())
                continue
            if isinstance(event, Command) and event.octets.strip().upper() == b"DONE":
                return replies.ok("IDLE terminated")
            await session.throw_away(event)
            raise BadSyntax("DONE")
    finally:
        session.idling = False


async def tell(session: ImapSession) -> None:
    """What happened in the selected mailbox; after NOTIFY, exactly what the client asked for there (RFC 5465 §4)."""
    if session.notifier is not None:
        await session.notifier.tell(allow_expunge=True)
    elif session.state is State.SELECTED:
        if session.view.gone:
            session.leave()
        else:
            await session.flush(allow_expunge=True)


FEATURE = Feature(
    commands=(command(b"IDLE", AUTHENTICATED, nothing, idle),),
    capabilities=(Capability("IDLE"),),
)
