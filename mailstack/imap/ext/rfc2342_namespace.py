"""NAMESPACE (RFC 2342; RFC 9051 §6.3.10): one personal namespace, "/" between the levels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailstack.imap import replies
from mailstack.imap.registry import AUTHENTICATED, Capability, Feature, command, nothing
from mailstack.imap.replies import Reply

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession


async def namespace(session: ImapSession, _: None) -> Reply:
    session.say(b'* NAMESPACE (("" "/")) NIL NIL\r\n')
    return replies.ok("NAMESPACE completed")


FEATURE = Feature(
    commands=(command(b"NAMESPACE", AUTHENTICATED, nothing, namespace),),
    capabilities=(Capability("NAMESPACE"),),
)
