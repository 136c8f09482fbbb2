"""CONDSTORE (RFC 7162 §3.1): mod-sequences in FETCH, STORE, SEARCH, STATUS and SELECT.

HIGHESTMODSEQ at SELECT is said by `core/mailboxes.py`, mod-sequences in unsolicited FETCH responses by the view."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mailstack.imap import replies
from mailstack.imap.registry import (
    Capability,
    Enable,
    Feature,
    FetchModifier,
    FetchRequest,
    FetchWord,
    Modifiers,
    SelectParameter,
    State,
    StatusItem,
    StoreModifier,
    StoreRequest,
)
from mailstack.imap.wire.cursor import Cursor, number, sp
from mailstack.imap.wire.values import ColumnItem
from mailstack.ports import Columns, Mailbox, MailboxStatus

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession

AT_ONCE = 20_000
"""Messages whose mod-sequences are compared before others have their turn."""
MAX_MODSEQ = (1 << 63) - 1


def begin(session: ImapSession) -> None:
    """The client is CONDSTORE-aware from now on, and hears HIGHESTMODSEQ if that is new (RFC 7162 §3.1)."""
    if not session.condstore:
        session.enabled.add("CONDSTORE")
        tell_highest(session)


def tell_highest(session: ImapSession) -> None:
    """The selected mailbox's HIGHESTMODSEQ, if there is one."""
    if session.state is State.SELECTED:
        modseq = session.view.highest_modseq
        session.say(replies.ok("the highest mod-sequence", f"HIGHESTMODSEQ {modseq}").line(b"*"))


def mod_sequence(cur: Cursor) -> int:
    # SP mod-sequence-valzer ; from 0 to 9,223,372,036,854,775,807
    sp(cur)
    start = cur.position
    value = number(cur)
    if value > MAX_MODSEQ:
        raise cur.expected(f"a mod-sequence of at most {MAX_MODSEQ}", start)
    return value


async def modseqs(_: Mailbox, found: Columns) -> Iterable[bytes]:
    # fetch-mod-resp = "MODSEQ" SP "(" permsg-modsequence ")"
    return [b"(%d)" % modseq for modseq in found.modseqs]


MODSEQ = ColumnItem("MODSEQ", modseqs)


async def changed_after(session: ImapSession, uids: Sequence[int], modseq: int) -> list[int]:
    """Those of `uids` (ascending) whose mod-sequence is above this one."""
    changed: list[int] = []
    for start in range(0, len(uids), AT_ONCE):
        if start:
            await session.connection.drain()
        found = session.view.mailbox.columns(uids[start : start + AT_ONCE])
        changed += [uid for uid, value in zip(found.uids, found.modseqs, strict=True) if value > modseq]
    return changed


async def changed_since(session: ImapSession, request: FetchRequest, given: Modifiers) -> FetchRequest:
    """CHANGEDSINCE (RFC 7162 §3.1.4.1)."""
    begin(session)
    after = session.view.mailbox.since(given[b"CHANGEDSINCE"])
    return replace(
        request, uids=await changed_after(session, request.uids, after), items=(*request.items, MODSEQ)
    )  # fmt: skip


def unchanged_since(session: ImapSession, request: StoreRequest, modseq: int) -> StoreRequest:
    """UNCHANGEDSINCE (RFC 7162 §3.1.3)."""
    begin(session)
    return replace(request, unchanged_since=modseq)


def highest_modseq(session: ImapSession, found: MailboxStatus) -> str:
    """The status data item (RFC 7162 §3.1.7), to ask for which makes the client CONDSTORE-aware."""
    begin(session)
    return str(found.highest_modseq)


def select_condstore(session: ImapSession, _: None) -> None:
    """SELECT (CONDSTORE): every SELECT says HIGHESTMODSEQ, and that of the old mailbox is of no use any more."""
    session.enabled.add("CONDSTORE")


FEATURE = Feature(
    capabilities=(Capability("CONDSTORE"),),
    enables=(Enable("CONDSTORE", tell_highest),),
    fetch_items=(FetchWord(b"MODSEQ", lambda _: MODSEQ, begin),),
    fetch_modifiers=(FetchModifier(b"CHANGEDSINCE", mod_sequence, changed_since),),
    status_items=(StatusItem("HIGHESTMODSEQ", highest_modseq),),
    select_parameters=(SelectParameter(b"CONDSTORE", lambda _: None, select_condstore),),
    store_modifiers=(StoreModifier(b"UNCHANGEDSINCE", mod_sequence, unchanged_since),),
)
