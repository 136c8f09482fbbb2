"""QRESYNC (RFC 7162 §3.2): what a client missed while it was away, at SELECT or by UID FETCH.

VANISHED in the place of EXPUNGE is told by the view, HIGHESTMODSEQ after it by the session."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mailstack.errors import BadSyntax
from mailstack.imap.core.fetch import respond
from mailstack.imap.ext.rfc7162_condstore import AT_ONCE, MODSEQ, begin, changed_after, mod_sequence
from mailstack.imap.ext.rfc9586_uidonly import REQUIRED
from mailstack.imap.fetch import plan
from mailstack.imap.registry import (
    Capability,
    Enable,
    Feature,
    FetchModifier,
    FetchRequest,
    Modifiers,
    SelectParameter,
)
from mailstack.imap.replies import Declined
from mailstack.imap.wire import encode
from mailstack.imap.wire.cursor import Cursor, number, sequence_set, sp
from mailstack.imap.wire.values import STAR, FetchAtt, SequenceSet

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession
    from mailstack.imap.view import View

Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Run:
    """`count` messages of which the client says that their numbers count from `seq` and their UIDs from `uid`."""

    seq: int
    uid: int
    count: int


@dataclass(frozen=True, slots=True)
class Known:
    """The QRESYNC parameter's arguments; `uids` None for all."""

    uid_validity: int
    modseq: int
    uids: SequenceSet | None
    runs: tuple[Run, ...]


# --- the grammar


def qresync_parameter(cur: Cursor) -> Known:
    # SP "(" uidvalidity SP mod-sequence-value [SP known-uids] [SP seq-match-data] ")"
    sp(cur)
    cur.expect(b"(")
    uid_validity, modseq = number(cur), mod_sequence(cur)
    uids: SequenceSet | None = None
    runs: tuple[Run, ...] = ()
    while not runs and cur.skip(b" "):
        if cur.skip(b"("):
            runs = seq_match_data(cur)
        elif uids is None:
            uids = known_set(cur)
        else:
            raise cur.expected("'(' and message numbers")
    cur.expect(b")")
    return Known(uid_validity, modseq, uids, runs)


def known_set(cur: Cursor) -> SequenceSet:
    # known-uids = sequence-set ; "*" is not allowed
    start = cur.position
    found = sequence_set(cur)
    if any(STAR in pair for pair in found):
        raise cur.expected('a set without "*"', start)
    return found


def seq_match_data(cur: Cursor) -> tuple[Run, ...]:
    # seq-match-data = "(" known-sequence-set SP known-uid-set ")", after its first character ; both ascend
    start = cur.position
    seqs = _ascending(cur)
    sp(cur)
    uids = _ascending(cur)
    cur.expect(b")")
    runs: list[Run] = []
    left, right = list(reversed(seqs)), list(reversed(uids))
    while left and right:
        (seq, last_seq), (uid, last_uid) = left.pop(), right.pop()
        count = min(last_seq - seq, last_uid - uid) + 1
        runs.append(Run(seq, uid, count))
        if seq + count <= last_seq:
            left.append((seq + count, last_seq))
        if uid + count <= last_uid:
            right.append((uid + count, last_uid))
    if left or right:
        raise cur.expected("as many UIDs as message numbers", start)
    return tuple(runs)


def _ascending(cur: Cursor) -> SequenceSet:
    start = cur.position
    found = known_set(cur)
    bounds = [bound for low, high in found for bound in ((low,) if low == high else (low, high))]
    if any(low >= high for low, high in zip(bounds, bounds[1:], strict=False)):
        raise cur.expected("numbers in ascending order", start)
    return found


# --- which messages are gone


def known_up_to(uids: Sequence[int], runs: Sequence[Run]) -> int:
    """The highest UID of a pair of number and UID that is true of the mailbox: the client knows of everything that
    vanished below it (RFC 7162 §3.2.5.2). 0 if none is. `uids` are the mailbox's."""
    for run in reversed(runs):
        seqs = range(run.seq, min(run.seq + run.count - 1, len(uids)) + 1)
        # uid - seq never falls from one message to the next.
        below = bisect_right(seqs, run.uid - run.seq, key=lambda seq: uids[seq - 1] - seq)
        if below and uids[seqs[below - 1] - 1] - seqs[below - 1] == run.uid - run.seq:
            return uids[seqs[below - 1] - 1]
    return 0


def wanted_ranges(view: View, wanted: SequenceSet, above: int = 0) -> list[Range]:
    """UIDs above `above` that a client's set names and that may have been given, as ranges in order. Messages above
    the last may have vanished, too: "*" is taken for the highest UID that was given."""
    given, last = view.mailbox.uid_next - 1, view.uids[-1] if len(view.uids) else 0
    ranges: list[Range] = []
    for pair in wanted:
        if pair == (-1, -1):  # "$"
            ranges += [(uid, uid) for uid in view.saved]
            continue
        low, high = min(pair), max(pair)
        if high == STAR:
            low, high = min(low, last or low), given
        ranges.append((low, high))
    merged: list[Range] = []
    for low, high in sorted(ranges):
        low, high = max(low, above + 1), min(high, given)
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(merged[-1][1], high)
        elif low <= high:
            merged.append((low, high))
    return merged


async def tell_vanished(session: ImapSession, ranges: Sequence[Range], after: int) -> None:
    """VANISHED (EARLIER) for messages in `ranges` that vanished above a mod-sequence, but for those that the view
    still has: of these VANISHED is told (RFC 7162 §3.2.10)."""
    view = session.view
    gone = view.mailbox.vanished(after)
    if gone is not None:
        uids = [uid for low, high in ranges for uid in gone[bisect_left(gone, low) : bisect_right(gone, high)]]
        known = encode.sequence_set([uid for uid in uids if not view.withholds(uid)])
    else:
        known = b",".join(
            b"%d" % low if low == high else b"%d:%d" % (low, high) for low, high in await gaps(session, ranges)
        )
    for response in encode.vanished(known, earlier=True):
        await session.say_much(response)


async def gaps(session: ImapSession, ranges: Sequence[Range]) -> list[Range]:
    """The UIDs in `ranges` that no message has, neither one that the client was told of nor a newer one."""
    view = session.view
    uids = array("I", view.uids)
    newer = view.mailbox.uids
    uids.extend(newer[bisect_right(newer, uids[-1]) if uids else 0 :])
    found: list[Range] = []
    for low, high in ranges:
        before, first, end = low - 1, bisect_left(uids, low), bisect_right(uids, high)
        for start in range(first, end, AT_ONCE):
            if start > first:
                await session.connection.drain()
            piece = uids[start : min(start + AT_ONCE, end)]
            if piece[-1] - before == len(piece):  # nothing is missing
                before = piece[-1]
                continue
            for uid in piece:
                if uid != before + 1:
                    found.append((before + 1, uid - 1))
                before = uid
        if before < high:
            found.append((before + 1, high))
    return found


# --- what the client asks


def enabled(session: ImapSession) -> None:
    """Raises: BadSyntax unless the client has said ENABLE QRESYNC (RFC 7162 §3.2.3)."""
    if not session.qresync:
        raise BadSyntax("ENABLE QRESYNC before it is used")


def begin_select(session: ImapSession, known: Known) -> None:
    """Raises: BadSyntax as `enabled`; Declined for message numbers from a client that wants none (RFC 9586)."""
    enabled(session)
    if known.runs and session.uid_only:
        raise Declined(REQUIRED)


async def resynchronise(session: ImapSession, known: Known) -> None:
    """SELECT (QRESYNC …) (RFC 7162 §3.2.5), after the untagged responses of every SELECT."""
    view, mailbox = session.view, session.view.mailbox
    if known.uid_validity != mailbox.uid_validity:
        return
    after = mailbox.since(known.modseq)
    wanted = known.uids or ((1, STAR),)
    ranges = wanted_ranges(view, wanted, known_up_to(view.uids, known.runs))
    await tell_vanished(session, ranges, after)
    uids = await changed_after(session, view.select(wanted, by_uid=True), after)
    items = (FetchAtt.FLAGS, MODSEQ) if session.uid_only else (FetchAtt.UID, FetchAtt.FLAGS, MODSEQ)
    await respond(session, plan(items, utf8=session.utf8, uid_only=session.uid_only), uids)


async def vanished(session: ImapSession, request: FetchRequest, given: Modifiers) -> FetchRequest:
    """UID FETCH … (CHANGEDSINCE n VANISHED) (RFC 7162 §3.2.6)."""
    enabled(session)
    if not request.by_uid:
        raise BadSyntax("UID FETCH, not FETCH, with VANISHED")
    if b"CHANGEDSINCE" not in given:
        raise BadSyntax("CHANGEDSINCE with VANISHED")
    after = session.view.mailbox.since(given[b"CHANGEDSINCE"])
    await tell_vanished(session, wanted_ranges(session.view, request.wanted), after)
    return request


FEATURE = Feature(
    capabilities=(Capability("QRESYNC"),),
    enables=(Enable("QRESYNC", begin),),
    fetch_modifiers=(FetchModifier(b"VANISHED", lambda _: None, vanished),),
    select_parameters=(SelectParameter(b"QRESYNC", qresync_parameter, begin_select, resynchronise),),
)
