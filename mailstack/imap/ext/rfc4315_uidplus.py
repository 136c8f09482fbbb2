"""UIDPLUS (RFC 4315; RFC 9051 §6.4.9): UID EXPUNGE. APPENDUID and COPYUID are where they belong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailstack.imap import replies
from mailstack.imap.core.selected import deleted, expunged, writable
from mailstack.imap.ext.rfc9738_messagelimit import limited
from mailstack.imap.registry import SELECTED, Capability, Feature, command
from mailstack.imap.replies import Reply
from mailstack.imap.wire.search_grammar import numbers
from mailstack.imap.wire.values import SequenceSet

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession


async def uid_expunge(session: ImapSession, wanted: SequenceSet) -> Reply:
    writable(session)
    await expunged(session, limited(session, deleted(session, session.view.select(wanted, by_uid=True))))
    return replies.ok("UID EXPUNGE completed")


FEATURE = Feature(
    commands=(command(b"UID EXPUNGE", SELECTED, numbers, uid_expunge),),
    capabilities=(Capability("UIDPLUS"),),
)
