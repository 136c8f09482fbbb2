"""CHECK, CLOSE, EXPUNGE (RFC 9051 §6.4, RFC 3501 §6.4.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailstack.errors import Problem, Refused
from mailstack.imap import replies
from mailstack.imap.ext.rfc9585_inprogress import working
from mailstack.imap.registry import SELECTED, Feature, command, nothing
from mailstack.imap.replies import Reply
from mailstack.ports import Flag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailstack.imap.session import ImapSession


def deleted(session: ImapSession, uids: Sequence[int]) -> list[int]:
    """Those of `uids` (ascending) with \\Deleted."""
    found = session.view.mailbox.columns(uids)
    bit = int(Flag.DELETED)  # a plain number is ten times as fast
    return [uid for uid, flags in zip(found.uids, found.flags, strict=True) if flags & bit]


def writable(session: ImapSession) -> None:
    """Raises: Refused(READ_ONLY) in a mailbox opened by EXAMINE."""
    if session.view.read_only:
        raise Refused(Problem.READ_ONLY, "opened by EXAMINE")


async def expunged(session: ImapSession, uids: Sequence[int]) -> None:
    """Remove these messages (UIDs ascending)."""
    with working(session, len(uids)):
        await session.view.mailbox.expunge(uids, session.view)


async def check(session: ImapSession, _: None) -> Reply:
    return replies.ok("CHECK completed")


async def close(session: ImapSession, _: None) -> Reply:
    view = session.view
    if not view.read_only and "e" in view.mailbox.rights:  # RFC 4314 §4: without it, nothing is expunged
        await expunged(session, deleted(session, view.uids))
    session.deselect()
    return replies.ok("CLOSE completed")


async def expunge(session: ImapSession, _: None) -> Reply:
    writable(session)
    await expunged(session, deleted(session, session.view.uids))
    return replies.ok("EXPUNGE completed")


FEATURE = Feature(
    commands=(
        command(b"CHECK", SELECTED, nothing, check),
        command(b"CLOSE", SELECTED, nothing, close),
        command(b"EXPUNGE", SELECTED, nothing, expunge),
    ),
)
