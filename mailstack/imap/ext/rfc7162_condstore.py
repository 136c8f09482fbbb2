"""CONDSTORE (RFC 7162 §3.1): mod-sequences in FETCH, STORE, SEARCH, STATUS and SELECT.

HIGHESTMODSEQ at SELECT is said by `core/mailboxes.py`, mod-sequences in unsolicited FETCH responses by the view."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
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
from mailstack.imap.search_keys import ColumnKey, Rows, SessionKey, leaves
from mailstack.imap.wire.cursor import Cursor, number, sp, string
from mailstack.imap.wire.values import ColumnItem, SearchKey
from mailstack.ports import Columns, Mailbox, MailboxStatus

if TYPE_CHECKING:
    from mailstack.imap.core.search import Result
    from mailstack.imap.session import ImapSession

AT_ONCE = 20_000
"""Messages whose mod-sequences are compared before others have their turn."""
_ENTRY_TYPE = re.compile(rb"(?i:priv|shared|all)\b")
MAX_MODSEQ = (1 << 63) - 1


def begin(session: ImapSession) -> None:
    """The client is CONDSTORE-aware from now on, and hears HIGHESTMODSEQ if that is new (RFC 7162 §3.1)."""
    known, session.condstore = session.condstore, True
    if not known and session.state is State.SELECTED:
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


# --- SEARCH


@dataclass(frozen=True, slots=True)
class ModifiedSince(SessionKey):
    """MODSEQ n: messages with this mod-sequence or a higher one (RFC 7162 §3.1.5)."""

    modseq: int

    async def resolve(self, session: ImapSession) -> SearchKey:
        begin(session)
        mailbox = session.view.mailbox
        if mailbox.since(self.modseq) == self.modseq:
            return ModifiedAfter(self.modseq - 1)
        return ModifiedAfter(mailbox.since(self.modseq - 1))


@dataclass(frozen=True, slots=True)
class ModifiedAfter(ColumnKey):
    """Messages with a higher mod-sequence."""

    modseq: int

    def decide(self, rows: Rows) -> Iterable[bool]:
        return map(self.modseq.__lt__, rows.columns.modseqs)


def search_modsequence(cur: Cursor) -> ModifiedSince:
    # search-modsequence = "MODSEQ" [SP entry-name SP entry-type-req] SP mod-sequence-valzer
    if cur.peek(2) == b' "':
        sp(cur)
        start = cur.position
        if not string(cur).startswith(b"/flags/"):
            raise cur.expected('"/flags/" and a flag', start)
        sp(cur)
        cur.match(_ENTRY_TYPE, "priv, shared or all")
    return ModifiedSince(mod_sequence(cur))  # one number a message: the entry is to be ignored (§3.1.5)


def searched_modseq(session: ImapSession, result: Result) -> bytes:
    """The highest mod-sequence of what a search by MODSEQ returns (RFC 7162 §3.1.6 and §3.1.10, RFC 4731 §3.2)."""
    if not result.uids or not any(isinstance(key, ModifiedAfter) for key in leaves(result.key)):
        return b""
    uids, returns = result.uids, result.returns
    if returns is not None and b"ALL" not in returns and b"COUNT" not in returns:
        ends = [uid for word, uid in ((b"MIN", uids[0]), (b"MAX", uids[-1])) if word in returns]
        uids = ends or uids
    modseq = max(session.view.mailbox.columns(sorted(set(uids))).modseqs, default=0)
    if not modseq:
        return b""  # they vanished just now
    return (b"(MODSEQ %d)" if returns is None else b"MODSEQ %d") % modseq


def select_condstore(session: ImapSession, _: None) -> None:
    """SELECT (CONDSTORE): every SELECT says HIGHESTMODSEQ, and that of the old mailbox is of no use any more."""
    session.condstore = True


FEATURE = Feature(
    capabilities=(Capability("CONDSTORE"),),
    enables=(Enable("CONDSTORE", begin),),
    fetch_items=(FetchWord(b"MODSEQ", lambda _: MODSEQ, begin),),
    fetch_modifiers=(FetchModifier(b"CHANGEDSINCE", mod_sequence, changed_since),),
    status_items=(StatusItem("HIGHESTMODSEQ", highest_modseq),),
    select_parameters=(SelectParameter(b"CONDSTORE", lambda _: None, select_condstore),),
    store_modifiers=(StoreModifier(b"UNCHANGEDSINCE", mod_sequence, unchanged_since),),
    search_keys={b"MODSEQ": search_modsequence},
    search_data=(searched_modseq,),
)
