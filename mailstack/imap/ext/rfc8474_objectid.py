"""OBJECTID (RFC 8474): EMAILID and THREADID. MAILBOXID is where mailboxes are made, selected and listed.

Both follow from the message: an EMAILID has a hash of its octets, and its internal date, since that must be
the same wherever the id is (RFC 8474 §5.1); a THREADID has a hash of the Message-ID that the thread began with."""

from __future__ import annotations

from collections.abc import Iterable

from mailstack.imap.registry import Feature, FetchWord
from mailstack.imap.wire.values import ColumnItem, ContentItem
from mailstack.mail.object_ids import content_id, thread_id
from mailstack.ports import Columns, Mailbox, Octets

AT_ONCE = 64
"""Messages that are read in one visit to a worker."""
GONE = b"(EXPUNGED)"
"""The id of a message that vanishes while it is asked for."""


async def email_ids(mailbox: Mailbox, found: Columns) -> Iterable[bytes]:
    # emailid-resp = "EMAILID" SP "(" objectid ")" ; objectid = 1*255(ALPHA / DIGIT / "_" / "-")
    await mailbox.measure(found.uids)
    made: list[bytes] = []
    for start in range(0, len(found.uids), AT_ONCE):
        uids = found.uids[start : start + AT_ONCE]
        for uid, content in zip(uids, await mailbox.derive(uids, "CONTENTID 1", content_id), strict=True):
            date = mailbox.internal_date(uid)
            made.append(GONE if content is None or date is None else b"(%b)" % email_id(content, date))
    return made


def email_id(content: bytes, internal_date: float) -> bytes:
    """The id of a message with this content id; the date in seconds since the epoch."""
    return b"E%b-%x" % (content, max(int(internal_date), 0))


def _thread(octets: Octets, _utf8: bool) -> bytes:
    # threadid-resp = "THREADID" SP ( "(" objectid ")" ) / nil
    return b"(T%b)" % thread_id(octets)


EMAIL_ID = ColumnItem("EMAILID", email_ids)
THREAD_ID = ContentItem("THREADID", _thread, kept="THREADID 1")

FEATURE = Feature(
    fetch_items=(
        FetchWord(b"EMAILID", lambda _: EMAIL_ID),
        FetchWord(b"THREADID", lambda _: THREAD_ID),
    ),
)
