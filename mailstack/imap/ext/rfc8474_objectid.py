"""OBJECTID (RFC 8474): EMAILID and THREADID. MAILBOXID is where mailboxes are made, selected and listed.

Both follow from the message: an EMAILID has a hash of its octets, and its internal date, since that must be
the same wherever the id is (RFC 8474 §5.1); a THREADID has a hash of the Message-ID that the thread began with."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from mailstack.imap.registry import Capability, Feature, FetchWord
from mailstack.imap.search_keys import SessionKey
from mailstack.imap.wire.cursor import Cursor, sp
from mailstack.imap.wire.values import ColumnItem, ContentItem, InUids, SearchKey
from mailstack.mail.object_ids import content_id, thread_id
from mailstack.ports import Columns, Mailbox, Octets

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession

AT_ONCE = 256
"""Messages that are read in one visit to a worker."""
_OBJECT_ID = re.compile(rb"[A-Za-z0-9_-]{1,255}")
CONTENT_NAME = "CONTENTID 1"
THREAD_NAME = "THREADID 1"
"""Under which the index keeps them."""
GONE = b"(EXPUNGED)"
"""The id of a message that vanishes while it is asked for."""


async def email_ids(mailbox: Mailbox, found: Columns) -> Iterable[bytes]:
    # emailid-resp = "EMAILID" SP "(" objectid ")" ; objectid = 1*255(ALPHA / DIGIT / "_" / "-")
    await mailbox.measure(found.uids)
    made: list[bytes] = []
    for start in range(0, len(found.uids), AT_ONCE):
        uids = found.uids[start : start + AT_ONCE]
        for uid, content in zip(uids, await mailbox.derive(uids, CONTENT_NAME, content_id), strict=True):
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
THREAD_ID = ContentItem("THREADID", _thread, kept=THREAD_NAME)


# --- SEARCH (RFC 8474 §6) -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EmailIs(SessionKey):
    """EMAILID: of the messages with the internal date that the id has, those with its content."""

    wanted: bytes

    async def resolve(self, session: ImapSession) -> SearchKey:
        content, _, date = self.wanted[1:].rpartition(b"-")
        mailbox, uids = session.view.mailbox, session.view.uids
        await mailbox.measure(uids)
        found = mailbox.columns(uids)
        dated = [uid for uid, when in zip(found.uids, found.dates, strict=True) if b"%x" % max(int(when), 0) == date]
        return await _those(mailbox, dated, CONTENT_NAME, content_id, content)


@dataclass(frozen=True, slots=True)
class ThreadIs(SessionKey):
    """THREADID."""

    wanted: bytes

    async def resolve(self, session: ImapSession) -> SearchKey:
        make = partial(_fetched, b"THREADID")
        return await _those(
            session.view.mailbox, session.view.uids, THREAD_NAME, make, b"THREADID (%b)" % self.wanted
        )  # fmt: skip


def _fetched(label: bytes, octets: Octets) -> bytes:
    """A ContentItem's value as FETCH keeps it."""
    return b"%b %b" % (label, _thread(octets, False))


async def _those(
    mailbox: Mailbox, uids: Sequence[int], name: str, make: Callable[[Octets], bytes], wanted: bytes
) -> SearchKey:
    """The messages for which `make` gives what is wanted."""
    chosen: list[int] = []
    for start in range(0, len(uids), AT_ONCE):
        piece = uids[start : start + AT_ONCE]
        values = await mailbox.derive(piece, name, make)
        chosen += [uid for uid, value in zip(piece, values, strict=True) if value == wanted]
    return InUids(tuple((uid, uid) for uid in chosen))


def object_id(cur: Cursor) -> bytes:
    # objectid = 1*255(ALPHA / DIGIT / "_" / "-")
    sp(cur)
    return cur.match(_OBJECT_ID, "an object id")[0]


FEATURE = Feature(
    capabilities=(Capability("OBJECTID"),),
    fetch_items=(
        FetchWord(b"EMAILID", lambda _: EMAIL_ID),
        FetchWord(b"THREADID", lambda _: THREAD_ID),
    ),
    search_keys={
        b"EMAILID": lambda cur: EmailIs(object_id(cur)),
        b"THREADID": lambda cur: ThreadIs(object_id(cur)),
    },
)
