"""INPROGRESS (RFC 9585): a command that takes long says that it is not stuck, where its responses leave room for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailstack.imap import replies
from mailstack.imap.registry import Capability, Feature

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession

INTERVAL = 10.0
"""Seconds between two of them; RFC 9585 §4 has 10 to 15 in mind, well below the time-outs of clients."""


async def turn(session: ImapSession) -> None:
    """Others have their turn; and the client is told, if it has heard nothing for a while."""
    now = session.resources.clock.now()
    if now - session.told >= INTERVAL:
        session.told = now
        session.say(replies.ok("still working on it", inprogress(session.tag)).line(b"*"))
    await session.connection.drain()


def inprogress(tag: bytes) -> str:
    # resp-text-code =/ "INPROGRESS" [SP "(" quoted-tag SP number/nil SP nz-number/nil ")"]   ; RFC 9585 §5
    if b"]" in tag:  # which would end the response code
        return "INPROGRESS"
    return f'INPROGRESS ("{tag.decode("ascii")}" NIL NIL)'


FEATURE = Feature(capabilities=(Capability("INPROGRESS"),))
