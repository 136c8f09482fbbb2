"""SEARCH and UID SEARCH, with RETURN and saved results (RFC 9051 §6.4.4; RFC 4731, RFC 5182)."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING

from mailstack.imap import replies
from mailstack.imap.registry import SELECTED, Capability, Feature, command
from mailstack.imap.replies import Reply
from mailstack.imap.search import Open, Row, Search, matches
from mailstack.imap.wire import encode
from mailstack.imap.wire.search_grammar import SAVED, SearchProgram, search_program
from mailstack.imap.wire.values import And, InSequence, InUids, Not, Or, SearchKey

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession

CONTENTS_AT_ONCE = 50
"""Messages that are read in one visit to a worker."""


async def search(session: ImapSession, asked: SearchProgram, *, by_uid: bool) -> Reply:
    found = await matching(session, _with_saved(session, asked.key))
    returns = asked.returns
    if returns is None and session.rev2:
        returns = frozenset({b"ALL"})
    if returns is None:
        numbers = found if by_uid else [session.view.seq(uid) for uid in found]
        session.say(b"* SEARCH%s\r\n" % b"".join(b" %d" % number for number in numbers))
        return replies.ok("SEARCH completed")
    if b"SAVE" in returns:
        session.view.saved = _to_save(returns, found)
    if returns != {b"SAVE"}:
        session.say(esearch(session, found, returns, by_uid=by_uid))
    return replies.ok("SEARCH completed")


async def matching(session: ImapSession, key: SearchKey) -> list[int]:
    """UIDs of the messages that match, ascending."""
    view, mailbox = session.view, session.view.mailbox
    uids = view.uids
    run = Search(key, Open(len(uids), uids[-1] if uids else 0, mailbox.keywords))
    if run.needs_measure:
        await mailbox.measure(uids)
    found: list[int] = []
    open_keys: dict[SearchKey, list[int]] = defaultdict(list)
    for seq, uid in enumerate(uids, 1):
        flags = mailbox.flags(uid)
        if flags is None:
            continue
        verdict = run.on_columns(
            Row(seq, uid, flags, uid in view.recent, mailbox.size(uid) or 0, mailbox.internal_date(uid) or 0.0)
        )
        if verdict is True:
            found.append(uid)
        elif verdict is not False:
            open_keys[verdict].append(uid)
    for rest, candidates in open_keys.items():
        test = partial(matches, rest)
        for start in range(0, len(candidates), CONTENTS_AT_ONCE):
            batch = candidates[start : start + CONTENTS_AT_ONCE]
            answers = await mailbox.examine(batch, test)
            found += [uid for uid, answer in zip(batch, answers, strict=True) if answer]
    return sorted(found) if open_keys else found


def esearch(session: ImapSession, found: list[int], returns: frozenset[bytes], *, by_uid: bool) -> bytes:
    """ESEARCH (RFC 9051 §7.3.4)."""
    numbers = found if by_uid else [session.view.seq(uid) for uid in found]
    parts = [b'* ESEARCH (TAG "%s")' % session.tag.replace(b"\\", b"\\\\").replace(b'"', b'\\"')]
    if by_uid:
        parts.append(b"UID")
    if numbers and b"MIN" in returns:
        parts.append(b"MIN %d" % numbers[0])
    if numbers and b"MAX" in returns:
        parts.append(b"MAX %d" % numbers[-1])
    if b"COUNT" in returns:
        parts.append(b"COUNT %d" % len(numbers))
    if numbers and b"ALL" in returns:
        parts.append(b"ALL " + encode.sequence_set(numbers))
    return b" ".join(parts) + b"\r\n"


def _to_save(returns: frozenset[bytes], found: list[int]) -> tuple[int, ...]:
    # RFC 9051 §6.4.4.1: with MIN or MAX and neither ALL nor COUNT, only those are saved.
    if not found or b"ALL" in returns or b"COUNT" in returns or not returns & {b"MIN", b"MAX"}:
        return tuple(found)
    ends = {found[0]} if b"MIN" in returns else set()
    if b"MAX" in returns:
        ends.add(found[-1])
    return tuple(sorted(ends))


def _with_saved(session: ImapSession, key: SearchKey) -> SearchKey:
    """The same key with the saved UIDs in the place of "$"."""
    match key:
        case InSequence(numbers) | InUids(numbers) if numbers == SAVED:
            return InUids(tuple((uid, uid) for uid in session.view.saved))
        case And(keys):
            return And(tuple(_with_saved(session, inside) for inside in keys))
        case Or(left, right):
            return Or(_with_saved(session, left), _with_saved(session, right))
        case Not(inside):
            return Not(_with_saved(session, inside))
    return key


FEATURE = Feature(
    commands=(
        command(b"SEARCH", SELECTED, search_program, partial(search, by_uid=False), keeps_numbers=True),
        command(b"UID SEARCH", SELECTED, search_program, partial(search, by_uid=True)),
    ),
    capabilities=(Capability("ESEARCH"), Capability("SEARCHRES")),
)
