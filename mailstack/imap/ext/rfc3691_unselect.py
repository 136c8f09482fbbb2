"""UNSELECT (RFC 3691; RFC 9051 §6.4.2): close without expunging."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailstack.imap import replies
from mailstack.imap.registry import SELECTED, Capability, Feature, command, nothing
from mailstack.imap.replies import Reply

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession


async def unselect(session: ImapSession, _: None) -> Reply:
    session.deselect()
    return replies.ok("UNSELECT completed")


FEATURE = Feature(
    commands=(command(b"UNSELECT", SELECTED, nothing, unselect),),
    capabilities=(Capability("UNSELECT"),),
)
