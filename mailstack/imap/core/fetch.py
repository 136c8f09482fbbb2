"""FETCH and UID FETCH (RFC 9051 §6.4.5). What is said of one message is in `imap/fetch.py`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from mailstack.errors import BadSyntax, Refused
from mailstack.imap import replies
from mailstack.imap.ext.rfc9585_inprogress import working
from mailstack.imap.ext.rfc9738_messagelimit import limited
from mailstack.imap.fetch import FetchPlan, Piece, Slice, Trouble, plan, send_slice
from mailstack.imap.registry import SELECTED, Capability, Feature, FetchRequest, Modifiers, command, modifiers
from mailstack.imap.replies import Reply
from mailstack.imap.wire.cursor import Cursor, sp
from mailstack.imap.wire.fetch_grammar import fetch_items
from mailstack.imap.wire.search_grammar import numbers
from mailstack.imap.wire.values import ColumnItem, ContentItem, FetchAtt, FetchItem, SequenceSet
from mailstack.ports import Columns, Flag, FlagAction, Flags

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession

COLUMNS_AT_ONCE = 1000
"""Messages whose responses are made in one piece."""
DERIVED_AT_ONCE = 256
"""Messages whose envelopes or structures are made, or found in the index, in one visit to a worker."""
DERIVED_AT_MOST = 1024
"""The same as long as all of them are found in the index, so that it is quick."""
QUICK = 0.005
"""Seconds below which a visit was quick."""
CONTENTS_AT_ONCE = 64
"""Messages that are read in one visit to a worker."""
TOGETHER = 64 * 1024
"""Octets of messages that are put together before they are sent."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """FETCH's arguments."""

    wanted: SequenceSet
    items: tuple[FetchItem, ...]
    modifiers: Modifiers


def fetch_arguments(cur: Cursor) -> Fetch:
    # fetch = "FETCH" SP sequence-set SP ("ALL" / "FULL" / "FAST" / fetch-att / "(" … ")") [fetch-modifiers]
    from mailstack.imap.features import FETCH_ITEMS, FETCH_MODIFIERS

    wanted = numbers(cur)
    sp(cur)
    items = fetch_items(cur, {name: row.rule for name, row in FETCH_ITEMS.items()})
    return Fetch(wanted, items, modifiers(cur, FETCH_MODIFIERS, "a fetch modifier") if cur.skip(b" (") else {})


def check_numbers(session: ImapSession, wanted: SequenceSet, *, by_uid: bool) -> None:
    """Raises: BadSyntax for a message sequence number that no message has (RFC 9051 §9)."""
    if not by_uid and not session.view.valid_seqs(wanted):
        raise BadSyntax(f"message sequence numbers up to {len(session.view.uids)}")


async def fetch(session: ImapSession, asked: Fetch, *, by_uid: bool) -> Reply:
    from mailstack.imap.features import FETCH_ITEMS, FETCH_MODIFIERS

    check_numbers(session, asked.wanted, by_uid=by_uid)
    items = (FetchAtt.UID, *asked.items) if by_uid and not session.uid_only else asked.items
    for item in items:
        row = FETCH_ITEMS.get(item.name.encode()) if isinstance(item, ColumnItem | ContentItem) else None
        if row is not None and row.act is not None:
            row.act(session)
    request = FetchRequest(session.view.select(asked.wanted, by_uid=by_uid), items, by_uid, asked.wanted)
    for name, modifier in FETCH_MODIFIERS.items():
        if name in asked.modifiers:
            request = await modifier.act(session, request, asked.modifiers)
    return await respond(
        session, plan(request.items, utf8=session.utf8, uid_only=session.uid_only), limited(session, request.uids)
    )


async def respond(session: ImapSession, what: FetchPlan, uids: Sequence[int]) -> Reply:
    """A FETCH response for each of the messages, and what the command ends with."""
    if what.needs_measure:
        with working(session, len(uids)):
            await session.view.mailbox.measure(uids, dates=FetchAtt.INTERNALDATE in what.columns)
    if what.needs_content:
        if what.sets_seen and not session.view.read_only and "s" in session.view.mailbox.rights:
            await set_seen(session, uids, told=FetchAtt.FLAGS in what.columns)
        if what.kept:
            return await derived(session, what, uids)
        return await contents(session, what, uids)
    for start in range(0, len(uids), COLUMNS_AT_ONCE):
        await session.say_much(await columns(session, what, uids[start : start + COLUMNS_AT_ONCE]))
    return replies.ok("FETCH completed")


async def set_seen(session: ImapSession, uids: Sequence[int], *, told: bool) -> None:
    """Reading a body marks the message as read, and the client is told, unless its response says so."""
    mailbox = session.view.mailbox
    found = mailbox.columns(uids)
    bit = int(Flag.SEEN)
    unseen = [uid for uid, flags in zip(found.uids, found.flags, strict=True) if not flags & bit]
    if unseen:
        try:
            with working(session, len(unseen)):
                await mailbox.store_flags(unseen, FlagAction.ADD, Flags(Flag.SEEN), session.view)
        except Refused as refused:  # what cannot be marked can be read all the same
            session.log.warning("messages not marked as seen", count=len(unseen), reason=str(refused))
            return
        if not told:
            session.view.note_flags(unseen)


async def columns(session: ImapSession, what: FetchPlan, uids: Sequence[int]) -> bytes:
    """Whole responses of what is in memory; a message that is gone has none."""
    return await rendered(session, what, session.view.mailbox.columns(uids), None)


async def rendered(session: ImapSession, what: FetchPlan, found: Columns, contents: Iterable[bytes] | None) -> bytes:
    """Whole responses of the messages whose columns, and contents if any are wanted, are given."""
    view = session.view
    tell_keywords(session, what)
    if not len(found.uids):
        return b""
    flags = view.all_flag_bits(found.uids, found.flags, rev2=session.rev2)
    seqs = view.numbers(found.uids)
    more = [await item.values(view.mailbox, found) for item in what.extension_columns]
    return what.render_columns(
        seqs, found.uids, flags, found.sizes, found.dates, names=view.lists, contents=contents, more=more
    )  # fmt: skip


async def derived(session: ImapSession, what: FetchPlan, uids: Sequence[int]) -> Reply:
    """Responses whose content is small and is kept once it is made."""
    mailbox, now = session.view.mailbox, session.resources.clock.now
    start, vanished, at_once = 0, 0, DERIVED_AT_ONCE
    while start < len(uids):
        batch, begun = uids[start : start + at_once], now()
        made = await mailbox.derive_each(batch, what.kept)
        start += len(batch)
        at_once = min(2 * at_once, DERIVED_AT_MOST) if now() - begun < QUICK else DERIVED_AT_ONCE
        contents = made[0] if len(made) == 1 else map(joined, *made)
        whole = {uid: content for uid, content in zip(batch, contents, strict=True) if content is not None}
        vanished += len(batch) - await several(session, what, whole)
    if vanished:
        return incomplete(session, uids, vanished)
    return replies.ok("FETCH completed")


def joined(*contents: bytes | None) -> bytes | None:
    """The content items of one message; None if one is not to be had."""
    return None if None in contents else b" ".join(contents)  # type: ignore[arg-type]  # there is no None


async def several(session: ImapSession, what: FetchPlan, whole: Mapping[int, bytes]) -> int:
    """Responses of messages (UIDs ascending) whose content items are at hand; how many were there still."""
    if not whole:
        return 0
    found = session.view.mailbox.columns([*whole])
    await session.say_much(await rendered(session, what, found, [whole[uid] for uid in found.uids]))
    return len(found.uids)


async def contents(session: ImapSession, what: FetchPlan, uids: Sequence[int]) -> Reply:
    """Responses that need the messages' octets."""
    mailbox = session.view.mailbox
    told, unknown = 0, False
    for start in range(0, len(uids), CONTENTS_AT_ONCE):
        batch = uids[start : start + CONTENTS_AT_ONCE]
        for group in grouped(batch, await mailbox.examine(batch, what.render)):
            if isinstance(group, tuple):
                unknown |= await one(session, what, *group)
                told += 1
            else:
                told += await several(session, what, group)
    if unknown:
        return replies.no("a part's transfer encoding is not known", "UNKNOWN-CTE")
    if told < len(uids):
        return incomplete(session, uids, len(uids) - told)
    return replies.ok("FETCH completed")


def grouped(
    uids: Sequence[int], rendered: Sequence[list[Piece] | None]
) -> Iterator[dict[int, bytes] | tuple[int, Sequence[Piece]]]:
    """Messages whose content is one piece, some TOGETHER octets of them at once, and each other message by
    itself; those that have no content are left out."""
    whole: dict[int, bytes] = {}
    held = 0
    for uid, pieces in zip(uids, rendered, strict=True):
        if pieces is None:
            continue
        first = pieces[0] if len(pieces) == 1 else None
        if isinstance(first, bytes) and first:
            whole[uid] = first
            held += len(first)
            if held < TOGETHER:
                continue
            yield whole
        else:
            if whole:
                yield whole
            yield uid, pieces
        whole, held = {}, 0
    if whole:
        yield whole


def incomplete(session: ImapSession, uids: Sequence[int], missing: int) -> Reply:
    """The reply when some messages had no octets: somebody removed them, or they cannot be read."""
    removed = len(uids) - len(session.view.mailbox.columns(uids).uids)
    if removed >= missing:
        return replies.no(f"{missing} messages were removed meanwhile", "EXPUNGEISSUED")
    return replies.no(f"{missing - removed} messages cannot be read", "EXPUNGEISSUED" if removed else "CORRUPTION")


async def one(session: ImapSession, what: FetchPlan, uid: int, pieces: Sequence[Piece]) -> bool:
    """One response; whether an item had to be left out."""
    view, mailbox = session.view, session.view.mailbox
    unknown = Trouble.UNKNOWN_CTE in pieces
    said = [piece for piece in pieces if piece and not isinstance(piece, Trouble)]
    if not said and not what.columns:
        return unknown  # a response has at least one item (RFC 9051 §9: msg-att)
    tell_keywords(session, what)
    flags = view.lists[view.flag_bits(uid, rev2=session.rev2)]
    found = mailbox.columns([uid])
    if what.extension_columns and not len(found.uids):
        return unknown  # it vanished just now
    more = [next(iter(await item.values(mailbox, found))) for item in what.extension_columns]
    size, date = mailbox.size(uid) or 0, mailbox.internal_date(uid) or 0.0
    head = what.render_column(view.number(uid), uid, flags, size, date, more)
    session.say(head + (b" " if what.columns and said else b""))
    for piece in said:
        if isinstance(piece, Slice):
            await send_slice(session.connection, mailbox, uid, piece)
        else:
            await session.say_much(piece)
    session.say(b")\r\n")
    return unknown


def tell_keywords(session: ImapSession, what: FetchPlan) -> None:
    """Flags that the client never heard of are announced before they are shown."""
    if FetchAtt.FLAGS in what.columns and (new := session.view.new_keywords()):
        session.say(new)


FEATURE = Feature(
    commands=(
        command(b"FETCH", SELECTED, fetch_arguments, partial(fetch, by_uid=False), keeps_numbers=True),
        command(b"UID FETCH", SELECTED, fetch_arguments, partial(fetch, by_uid=True)),
    ),
    capabilities=(Capability("BINARY"),),
)
