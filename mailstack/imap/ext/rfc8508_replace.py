"""REPLACE and UID REPLACE (RFC 8508): APPEND of one message, and EXPUNGE of another of the selected mailbox, as one."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from mailstack.errors import BadSyntax, Problem, Refused
from mailstack.imap import replies
from mailstack.imap.core.append import Building, append_begins, appenduid
from mailstack.imap.core.copy import missing
from mailstack.imap.core.selected import writable
from mailstack.imap.registry import SELECTED, Capability, Feature, streamed
from mailstack.imap.replies import Reply
from mailstack.imap.wire.append_grammar import Segment
from mailstack.imap.wire.cursor import Cursor, sequence_set, sp
from mailstack.imap.wire.values import SequenceSet

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession


def replace_begins(cur: Cursor) -> tuple[SequenceSet, str]:
    # replace = "REPLACE" SP seq-number SP mailbox append-message
    start = cur.position
    wanted = sequence_set(cur)
    if len(wanted) > 1 or wanted[0][0] != wanted[0][1]:
        raise cur.expected("the number of one message", start)
    sp(cur)
    return wanted, append_begins(cur)


async def replace(session: ImapSession, asked: tuple[SequenceSet, str], segment: Segment, *, by_uid: bool) -> Reply:
    wanted, destination = asked
    try:
        uid = replaced(session, wanted, by_uid=by_uid)
    except (BadSyntax, Refused):
        if segment.literal is not None:
            await session.throw_away(segment.literal)
        raise
    # Room is asked for by the store, which knows what will be gone.
    async with Building(session, most=1, asks_room=False) as building:
        messages = await building.receive(segment)
        if session.view.gone:
            raise Refused(Problem.NO_SUCH_MESSAGE, "the mailbox is gone")
        try:
            appended = await session.view.mailbox.replace(uid, destination, messages[0], session.view)
        except Refused as refused:
            return missing(refused)
    session.log.event("mail replaced", mailbox=destination, uid=uid)
    session.say(replies.ok("the new message is there", appenduid(appended)).line(b"*"))  # §4.3: before the EXPUNGE
    return replies.ok("REPLACE completed")


def replaced(session: ImapSession, wanted: SequenceSet, *, by_uid: bool) -> int:
    """The UID of the message that is to go. Raises: BadSyntax, Refused(READ_ONLY | NO_SUCH_MESSAGE)."""
    view = session.view
    if not by_uid and not view.valid_seqs(wanted):
        raise BadSyntax(f"a message sequence number up to {len(view.uids)}")
    writable(session)
    found = view.select(wanted, by_uid=by_uid)
    if not len(found) or view.mailbox.flags(found[0]) is None:
        raise Refused(Problem.NO_SUCH_MESSAGE, "nothing to replace")
    return found[0]


FEATURE = Feature(
    commands=(
        streamed(b"REPLACE", SELECTED, replace_begins, partial(replace, by_uid=False)),
        streamed(b"UID REPLACE", SELECTED, replace_begins, partial(replace, by_uid=True)),
    ),
    capabilities=(Capability("REPLACE"),),
)
