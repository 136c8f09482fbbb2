"""UNAUTHENTICATE (RFC 8437): the connection, and its TLS, for another login."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailstack.imap import replies
from mailstack.imap.registry import AUTHENTICATED, Capability, Feature, command, nothing
from mailstack.imap.replies import Reply

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession


async def unauthenticate(session: ImapSession, _: None) -> Reply:
    """§3: everything is as after the greeting, but for TLS and what the client said by ID; never NO."""
    session.log.event("login ended", account=session.account)
    session.logged_out()
    return replies.ok("you may log in again")


FEATURE = Feature(
    commands=(command(b"UNAUTHENTICATE", AUTHENTICATED, nothing, unauthenticate),),
    capabilities=(Capability("UNAUTHENTICATE", AUTHENTICATED),),
)
