"""INPROGRESS (RFC 9585): a command that takes long says that it is not stuck, where its responses leave room for it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from mailstack.imap import replies
from mailstack.imap.registry import Capability, Feature

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession

INTERVAL = 10.0
"""Seconds between two of them; RFC 9585 §4 has 10 to 15 in mind, well below the time-outs of clients."""
FEW = 100
"""Messages with which nothing takes that long."""


def working(session: ImapSession, messages: int | None = None) -> AbstractContextManager[None]:
    """While something is done to so many messages, or to who knows how many, the client is told that it is."""
    if messages is not None and messages <= FEW:
        return nullcontext()
    return session.connection.saying(INTERVAL, lambda: _due(session))


async def turn(session: ImapSession) -> None:
    """Others have their turn; and the client is told, if it has heard nothing for a while."""
    session.say(_due(session))
    await session.connection.drain()


def _due(session: ImapSession) -> bytes:
    """The response, if the client has heard nothing for a while; or else b""."""
    now = session.resources.clock.now()
    if now - session.told < INTERVAL:
        return b""
    session.told = now
    return replies.ok("still working on it", inprogress(session.tag)).line(b"*")


def inprogress(tag: bytes) -> str:
    # resp-text-code =/ "INPROGRESS" [SP "(" quoted-tag SP number/nil SP nz-number/nil ")"]   ; RFC 9585 §5
    if b"]" in tag:  # which would end the response code
        return "INPROGRESS"
    return f'INPROGRESS ("{tag.decode("ascii")}" NIL NIL)'


FEATURE = Feature(capabilities=(Capability("INPROGRESS"),))
