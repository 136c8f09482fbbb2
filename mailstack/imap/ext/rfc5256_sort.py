"""SORT and UID SORT (RFC 5256 §3), with RETURN as SEARCH has it (ESORT, RFC 5267 §3)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from mailstack.imap import replies
from mailstack.imap.core import search
from mailstack.imap.ext.rfc9585_inprogress import working
from mailstack.imap.ext.rfc9738_messagelimit import whole
from mailstack.imap.orders import in_order
from mailstack.imap.registry import SELECTED, Capability, Feature, command
from mailstack.imap.replies import Reply
from mailstack.imap.search_keys import leaves
from mailstack.imap.wire.cursor import Cursor
from mailstack.imap.wire.sort_grammar import SortProgram, sort_program
from mailstack.imap.wire.values import Criteria, InSequence

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession

NUMBERS_AT_ONCE = 5000
"""Numbers of a response that are written in one piece."""


@dataclass(frozen=True, slots=True)
class SortResult(search.Result):
    """What SORT found."""

    criteria: Criteria


def arguments(cur: Cursor) -> SortProgram:
    return sort_program(cur, search.vocabulary())


async def sort(session: ImapSession, asked: SortProgram, *, by_uid: bool) -> Reply:
    search.check_returns(asked.returns or {})
    key = whole(session, await search.resolved(session, asked.key))
    session.uses_numbers = any(isinstance(leaf, InSequence) for leaf in leaves(key))
    criteria = session.comparator.criteria(asked.criteria)
    matching = await search.matching(session, key)
    with working(session, len(matching)):
        found = await in_order(session, matching, criteria)
    result = SortResult(key, asked.returns, found, by_uid, criteria)
    await search.prepare(session, result)
    if asked.returns is None:
        await say_numbers(session, result)
    else:
        search.answer(session, result)
    return replies.ok("SORT completed")


async def say_numbers(session: ImapSession, result: SortResult) -> None:
    # sort-data = "SORT" [1*(SP nz-number) SP search-sort-mod-seq]   ; RFC 7162 §7
    uids = result.uids
    number = session.view.seq if result.by_uid else session.view.numbering(len(uids))
    session.say(b"* SORT")
    for start in range(0, len(uids), NUMBERS_AT_ONCE):
        piece: Iterable[int] = uids[start : start + NUMBERS_AT_ONCE]
        said = tuple(piece if result.by_uid else map(number, piece))
        await session.say_much((" %d" * len(said) % said).encode())
    session.say(b"".join(b" " + data for data in search.search_data(session, result)) + b"\r\n")


FEATURE = Feature(
    commands=(
        command(b"SORT", SELECTED, arguments, partial(sort, by_uid=False), keeps_numbers=True),
        command(b"UID SORT", SELECTED, arguments, partial(sort, by_uid=True)),
    ),
    capabilities=(Capability("SORT"),),
)
