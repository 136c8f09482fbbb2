"""UTF8=ACCEPT and UTF8=ONLY (RFC 6855): strings and mailbox names in UTF-8, once the client enables it. What it does
is where strings are: `ImapSession.utf8`, `Cursor.utf8` and the `utf8` of `imap/wire/encode.py`.

A message with 8-bit octets in its header is appended whether or not the client enabled it, though §4 says that it is
refused: who moves his old mail in must not lose what was sent in Latin-1 or raw UTF-8 for thirty years."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailstack.imap import replies
from mailstack.imap.registry import AUTHENTICATED, Capability, Enable, Feature

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession

NEEDED = replies.no("this server needs ENABLE UTF8=ACCEPT first", "CANNOT")
WITH_NAMES = frozenset(
    {b"SELECT", b"EXAMINE", b"CREATE", b"DELETE", b"RENAME", b"SUBSCRIBE", b"UNSUBSCRIBE", b"LIST", b"LSUB", b"STATUS"}
    | {
        b"APPEND",
        b"NAMESPACE",
        b"GETACL",
        b"SETACL",
        b"DELETEACL",
        b"MYRIGHTS",
        b"LISTRIGHTS",
        b"NOTIFY",
        b"GETMETADATA",
        b"SETMETADATA",
        b"GETQUOTAROOT",
        b"ESEARCH",
    }
)
"""Commands of the authenticated state that have mailbox names in them, or in their responses."""


def offered(session: ImapSession) -> str:
    """§6: one of the two, never both."""
    return "UTF8=ONLY" if session.settings.utf8_only else "UTF8=ACCEPT"


def guard(session: ImapSession, name: bytes) -> None:
    """§6: no command that may need UTF-8 before it is enabled."""
    if session.settings.utf8_only and not session.utf8 and name in WITH_NAMES:
        raise replies.Declined(NEEDED)


FEATURE = Feature(
    capabilities=(Capability("UTF8=ACCEPT", AUTHENTICATED, offered),),
    enables=(Enable("UTF8=ACCEPT"),),
    guards=(guard,),
)
