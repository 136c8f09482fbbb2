"""MESSAGELIMIT and SAVELIMIT (RFC 9738): how many messages one command may be about, if the configuration says so.

A command that may do a part does it to the messages with the highest UIDs, and says where it stopped (§3.1); COPY,
APPEND, SORT and THREAD, which do all or nothing, are refused. SAVELIMIT is for the first two alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mailstack.imap import replies
from mailstack.imap.registry import AUTHENTICATED, Capability, Feature
from mailstack.imap.wire.cursor import Cursor, number, sp
from mailstack.imap.wire.values import And, InSequence, InUids, SearchKey

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession

MAX_UID = (1 << 32) - 1


def limited(session: ImapSession, uids: Sequence[int]) -> Sequence[int]:
    """Those of these messages (UIDs ascending) that the command is about."""
    limit = session.settings.message_limit
    if not limit or len(uids) <= limit:
        return uids
    kept = uids[len(uids) - limit :]
    session.stopped_at = kept[0]
    return kept


def narrowed(session: ImapSession, key: SearchKey) -> SearchKey:
    """The key, for no more messages than are searched at once; those that it names at its top level count."""
    if not session.settings.message_limit:
        return key
    view = session.view
    uids: Sequence[int] = view.uids
    for part in key.keys if isinstance(key, And) else (key,):
        if isinstance(part, InSequence | InUids):
            named = part.numbers if isinstance(part, InSequence) else part.uids
            among = set(view.select(named, by_uid=isinstance(part, InUids)))
            uids = [uid for uid in uids if uid in among]
    kept = limited(session, uids)
    return key if len(kept) == len(uids) else And((key, InUids(((kept[0], MAX_UID),))))


def whole(session: ImapSession, key: SearchKey) -> SearchKey:
    """The key of SORT or THREAD, which put all messages in order or none (§3.3). Raises: Declined."""
    if narrowed(session, key) is key:
        return key
    session.stopped_at = 0
    raise too_many(session.settings.message_limit)


def too_many(limit: int) -> replies.Declined:
    return replies.Declined(replies.no(f"at most {limit} messages at once", f"MESSAGELIMIT {limit}"))


def all_or_nothing(session: ImapSession, count: int) -> None:
    """Raises: Declined, for more messages than may be copied or appended at once."""
    limit = session.settings.message_limit or session.settings.save_limit
    if limit and count > limit:
        raise too_many(limit)


def stopped(session: ImapSession, reply: replies.Reply) -> replies.Reply:
    """The reply of a command that was about the first of its messages only. One that has a code already keeps it."""
    at, session.stopped_at = session.stopped_at, 0
    code = f"MESSAGELIMIT {session.settings.message_limit} {at}"
    if reply.status == b"OK" and not reply.code:
        return replies.ok(f"{reply.text}, for some of the messages", code)
    session.say(replies.no("not for all of the messages", code).line(b"*"))
    return reply


def uid_after(cur: Cursor) -> SearchKey:
    # search-key =/ "UIDAFTER" SP uniqueid / "UIDBEFORE" SP uniqueid   ; RFC 9738 §3.2
    sp(cur)
    uid = number(cur)
    return InUids(((uid + 1, MAX_UID),) if uid < MAX_UID else ())


def uid_before(cur: Cursor) -> SearchKey:
    sp(cur)
    uid = number(cur)
    return InUids(((1, uid - 1),) if uid > 1 else ())


def message_limit(session: ImapSession) -> str:
    limit = session.settings.message_limit
    return f"MESSAGELIMIT={limit}" if limit else ""


def save_limit(session: ImapSession) -> str:
    """§3: not beside the other."""
    limit = 0 if session.settings.message_limit else session.settings.save_limit
    return f"SAVELIMIT={limit}" if limit else ""


FEATURE = Feature(
    capabilities=(
        Capability("MESSAGELIMIT=", AUTHENTICATED, message_limit),
        Capability("SAVELIMIT=", AUTHENTICATED, save_limit),
    ),
    search_keys={b"UIDAFTER": uid_after, b"UIDBEFORE": uid_before},
)
