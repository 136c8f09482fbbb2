"""MOVE and UID MOVE (RFC 6851; RFC 9051 §6.4.8)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from mailstack.errors import Refused
from mailstack.imap import replies
from mailstack.imap.core.copy import Arguments, chosen, copy_arguments, copyuid, missing
from mailstack.imap.core.selected import writable
from mailstack.imap.ext.rfc9585_inprogress import working
from mailstack.imap.ext.rfc9738_messagelimit import limited
from mailstack.imap.registry import SELECTED, Capability, Feature, command
from mailstack.imap.replies import Reply

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession


async def move(session: ImapSession, asked: Arguments, *, by_uid: bool) -> Reply:
    wanted, destination = asked
    uids = limited(session, chosen(session, wanted, by_uid=by_uid))
    writable(session)
    try:
        with working(session, len(uids)):
            copied = await session.view.mailbox.move(uids, destination, session.view)
    except Refused as refused:
        return missing(refused)
    if copied.source:  # before the EXPUNGEs (RFC 6851 §4.3)
        session.say(replies.ok("moved", copyuid(copied)).line(b"*"))
    return replies.ok("MOVE completed")


FEATURE = Feature(
    commands=(
        command(b"MOVE", SELECTED, copy_arguments, partial(move, by_uid=False)),
        command(b"UID MOVE", SELECTED, copy_arguments, partial(move, by_uid=True)),
    ),
    capabilities=(Capability("MOVE"),),
)
