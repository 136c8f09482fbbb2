"""LIST-MYRIGHTS: what the user may do, in the answer to LIST (RFC 8440)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailstack.errors import Refused
from mailstack.imap.ext.rfc4314_acl import myrights_response
from mailstack.imap.registry import AUTHENTICATED, Capability, Feature

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession


async def tell_rights(session: ImapSession, name: str) -> None:
    """The MYRIGHTS response that follows a LIST response; none if they cannot be looked up (RFC 8440 §3)."""
    try:
        rights = await session.store.access.rights(name)
    except Refused:
        return
    await session.say_much(myrights_response(session, name, rights))


FEATURE = Feature(capabilities=(Capability("LIST-MYRIGHTS", AUTHENTICATED),))
