"""UIDONLY (RFC 9586): once enabled, no message sequence number is said or taken: UIDFETCH stands for FETCH, VANISHED
for EXPUNGE. What is said differently is where it is said: in `View` and in the FetchPlan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailstack.imap import replies
from mailstack.imap.registry import AUTHENTICATED, Capability, Enable, Feature, State

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession

REQUIRED = replies.bad("message sequence numbers are off, use UIDs", "UIDREQUIRED")
BY_NUMBER = frozenset({b"FETCH", b"STORE", b"SEARCH", b"COPY", b"MOVE", b"SORT", b"THREAD", b"REPLACE"})
"""§3.2 and §3.8: commands that may not be used."""


def begin(session: ImapSession) -> None:
    if session.state is State.SELECTED:
        session.view.uid_only = True


def guard(session: ImapSession, name: bytes) -> None:
    if name in BY_NUMBER and session.uid_only:
        raise replies.Declined(REQUIRED)


FEATURE = Feature(
    capabilities=(Capability("UIDONLY", AUTHENTICATED),),
    enables=(Enable("UIDONLY", begin),),
    guards=(guard,),
)
