"""LIST-METADATA: annotations in the answer to LIST (RFC 9590)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailstack.errors import Refused
from mailstack.imap.ext.rfc5464_metadata import Options, chosen, response
from mailstack.imap.registry import AUTHENTICATED, Capability, Feature

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession


async def tell_metadata(session: ImapSession, name: str, entries: tuple[str, ...]) -> None:
    """The METADATA response that follows a LIST response; none for a mailbox that has no annotations for this
    user (RFC 9590 §3)."""
    try:
        known = await session.store.annotations.of(name)
    except Refused:
        return
    shown, _ = chosen(known, entries, Options())
    await session.say_much(response(session, name, shown))


FEATURE = Feature(capabilities=(Capability("LIST-METADATA", AUTHENTICATED),))
