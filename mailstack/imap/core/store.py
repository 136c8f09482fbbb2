"""STORE and UID STORE (RFC 9051 §6.4.6)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from mailstack.imap import replies
from mailstack.imap.core.fetch import check_numbers
from mailstack.imap.core.selected import writable
from mailstack.imap.ext.rfc9738_messagelimit import limited
from mailstack.imap.registry import SELECTED, Feature, command
from mailstack.imap.replies import Reply
from mailstack.imap.wire.cursor import Cursor, flag_list, flags_without_parentheses, sp
from mailstack.imap.wire.search_grammar import numbers
from mailstack.imap.wire.values import SequenceSet
from mailstack.ports import FlagAction, Flags

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession


@dataclass(frozen=True, slots=True)
class Store:
    wanted: SequenceSet
    action: FlagAction
    silent: bool
    flags: Flags


def store_arguments(cur: Cursor) -> Store:
    # store-att-flags = (["+" / "-"] "FLAGS" [".SILENT"]) SP (flag-list / (flag *(SP flag)))
    wanted = numbers(cur)
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
    return Store(wanted, action, silent, flags)


async def store(session: ImapSession, asked: Store, *, by_uid: bool) -> Reply:
    check_numbers(session, asked.wanted, by_uid=by_uid)
    writable(session)
    view = session.view
    uids = limited(session, view.select(asked.wanted, by_uid=by_uid))
    await view.mailbox.store_flags(uids, asked.action, asked.flags, view)
    if not asked.silent:
        view.note_flags(uids)
    if len(view.mailbox.columns(uids).uids) < len(uids):
        return replies.no("some messages were removed meanwhile", "EXPUNGEISSUED")
    return replies.ok("STORE completed")


FEATURE = Feature(
    commands=(
        command(b"STORE", SELECTED, store_arguments, partial(store, by_uid=False), keeps_numbers=True),
        command(b"UID STORE", SELECTED, store_arguments, partial(store, by_uid=True)),
    ),
)
