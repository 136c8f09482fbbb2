"""NAMESPACE (RFC 2342; RFC 9051 §6.3.10): one personal namespace and that of other users, "/" between the levels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailstack.imap import replies
from mailstack.imap.registry import AUTHENTICATED, Capability, Feature, command, nothing
from mailstack.imap.replies import Reply
from mailstack.imap.wire import encode

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession


async def namespace(session: ImapSession, _: None) -> Reply:
    prefix = session.store.access.other_users
    others = b'((%s "/"))' % encode.string(prefix.encode()) if prefix else b"NIL"
    session.say(b'* NAMESPACE (("" "/")) %s NIL\r\n' % others)
    return replies.ok("NAMESPACE completed")


FEATURE = Feature(
    commands=(command(b"NAMESPACE", AUTHENTICATED, nothing, namespace),),
    capabilities=(Capability("NAMESPACE"),),
)
