"""STORE and UID STORE (RFC 9051 §6.4.6)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from mailstack.imap import replies
from mailstack.imap.core.fetch import check_numbers
from mailstack.imap.core.selected import writable
from mailstack.imap.ext.rfc9585_inprogress import working
from mailstack.imap.ext.rfc9738_messagelimit import limited
from mailstack.imap.registry import SELECTED, Feature, Modifiers, StoreRequest, command, modifiers
from mailstack.imap.replies import Reply
from mailstack.imap.wire import encode
from mailstack.imap.wire.cursor import Cursor, flag_list, flags_without_parentheses, sp
from mailstack.imap.wire.search_grammar import numbers
from mailstack.imap.wire.values import SequenceSet
from mailstack.ports import FlagAction, Flags

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailstack.imap.session import ImapSession


@dataclass(frozen=True, slots=True)
class Store:
    wanted: SequenceSet
    action: FlagAction
    silent: bool
    flags: Flags
    modifiers: Modifiers


def store_arguments(cur: Cursor) -> Store:
    # store = "STORE" SP sequence-set [SP "(" store-modifier *(SP store-modifier) ")"] SP store-att-flags ; RFC 4466 §6
    # store-att-flags = (["+" / "-"] "FLAGS" [".SILENT"]) SP (flag-list / (flag *(SP flag)))
    from mailstack.imap.features import STORE_MODIFIERS

    wanted = numbers(cur)
    sp(cur)
    given: Modifiers = {}
    if cur.skip(b"("):
        given = modifiers(cur, STORE_MODIFIERS, "a store modifier")
        sp(cur)
    action = FlagAction.REPLACE
    if cur.skip(b"+"):
        action = FlagAction.ADD
    elif cur.skip(b"-"):
        action = FlagAction.REMOVE
    cur.expect(b"FLAGS")
    silent = cur.skip(b".SILENT")
    sp(cur)
    flags = flag_list(cur) if cur.peek() == b"(" else flags_without_parentheses(cur)
    return Store(wanted, action, silent, flags, given)


async def store(session: ImapSession, asked: Store, *, by_uid: bool) -> Reply:
    from mailstack.imap.features import STORE_MODIFIERS

    check_numbers(session, asked.wanted, by_uid=by_uid)
    writable(session)
    view = session.view
    request = StoreRequest(limited(session, view.select(asked.wanted, by_uid=by_uid)))
    for name, value in asked.modifiers.items():
        request = STORE_MODIFIERS[name].act(session, request, value)
    uids = request.uids
    with working(session, len(uids)):
        failed = await view.mailbox.store_flags(
            uids, asked.action, asked.flags, view, unchanged_since=request.unchanged_since
        )
    view.note_flags(failed)
    if not asked.silent:
        view.note_flags(uids)
    elif request.unchanged_since is not None:
        view.note_modseqs(uids)
    code = f"MODIFIED {modified(session, failed, by_uid=by_uid)}" if failed else ""
    if len(view.mailbox.columns(uids).uids) < len(uids):
        return replies.no("some messages were removed meanwhile", code or "EXPUNGEISSUED")
    return replies.ok("some messages were changed meanwhile" if failed else "STORE completed", code)


def modified(session: ImapSession, failed: Sequence[int], *, by_uid: bool) -> str:
    """What MODIFIED lists: message numbers for STORE, UIDs for UID STORE (RFC 7162 §3.1.3)."""
    return encode.sequence_set(failed if by_uid else session.view.numbers(failed)).decode()


FEATURE = Feature(
    commands=(
        command(b"STORE", SELECTED, store_arguments, partial(store, by_uid=False), keeps_numbers=True),
        command(b"UID STORE", SELECTED, store_arguments, partial(store, by_uid=True)),
    ),
)
