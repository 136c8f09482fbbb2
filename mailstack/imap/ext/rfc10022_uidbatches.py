"""UIDBATCHES (RFC 10022): ranges of UIDs that part the mailbox into batches of so many messages, the newest first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mailstack.imap import replies
from mailstack.imap.ext.rfc9738_messagelimit import too_many
from mailstack.imap.registry import SELECTED, Capability, Feature, command
from mailstack.imap.replies import Reply
from mailstack.imap.wire.cursor import Cursor, number

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession

MIN_SIZE = 500
"""§3.1.3: smaller batches would be message sequence numbers again."""
MAX_NUMBER = (1 << 32) - 1

Arguments = tuple[int, tuple[int, int] | None]


def uidbatches_arguments(cur: Cursor) -> Arguments:
    # uidbatches = "UIDBATCHES" SP nz-number [SP nz-number ":" nz-number]
    size = _nz_number(cur)
    if not cur.skip(b" "):
        return size, None
    first = _nz_number(cur)
    cur.expect(b":")
    last = _nz_number(cur)
    return size, (min(first, last), max(first, last))


def _nz_number(cur: Cursor) -> int:
    start = cur.position
    found = number(cur)
    if not 0 < found <= MAX_NUMBER:
        raise cur.expected("a number from 1 to 4294967295", start)
    return found


def batches(uids: Sequence[int], size: int, wanted: tuple[int, int] | None) -> list[tuple[int, int]]:
    """The batches (highest UID, lowest UID) by their numbers from 1, or all of them. Each goes down to the UID above
    the next one's highest, the last to 1, so that together they are every UID; their number is that of the mailbox's
    messages by the size, rounded up."""
    count = -(-len(uids) // size)
    first, last = (1, count) if wanted is None else wanted
    found: list[tuple[int, int]] = []
    for batch in range(first, min(last, count) + 1):
        high = uids[len(uids) - 1 - (batch - 1) * size]
        below = len(uids) - 1 - batch * size
        found.append((high, uids[below] + 1 if below >= 0 else 1))
    return found


async def uidbatches(session: ImapSession, asked: Arguments) -> Reply:
    size, wanted = asked
    limit = session.settings.message_limit
    if limit and size > limit:  # no command could be about such a batch (RFC 9738)
        raise too_many(limit)
    if size < min(MIN_SIZE, limit or MIN_SIZE):
        return replies.no(f"a batch has at least {MIN_SIZE} messages", "TOOFEW")
    tag = session.tag.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    found = batches(session.view.uids, size, wanted)
    shown = b",".join(b"%d:%d" % (high, low) if high != low else b"%d" % high for high, low in found)
    session.say(b'* UIDBATCHES (TAG "%b")%b\r\n' % (tag, b" " + shown if shown else b""))
    return replies.ok("UIDBATCHES completed")


FEATURE = Feature(
    commands=(command(b"UIDBATCHES", SELECTED, uidbatches_arguments, uidbatches),),
    capabilities=(Capability("UIDBATCHES"),),
)
