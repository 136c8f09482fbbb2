"""Contexts (RFC 5267): news of results of SEARCH and SORT while the mailbox is selected.

ESORT, RETURN for SORT (§3), is in `rfc5256_sort.py`, as SORT gives its result to what answers SEARCH; PARTIAL (§4.4)
is in `rfc9394_partial.py`."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from mailstack.errors import BadSyntax
from mailstack.imap import replies
from mailstack.imap.core import search
from mailstack.imap.ext.rfc5256_sort import SortResult
from mailstack.imap.orders import in_order
from mailstack.imap.registry import SELECTED, Capability, Feature, command
from mailstack.imap.replies import Reply
from mailstack.imap.view import View
from mailstack.imap.wire import encode
from mailstack.imap.wire.cursor import Cursor, string
from mailstack.imap.wire.values import And, Criteria, InSequence, InUids, Not, Or, SearchKey, SequenceSet

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession

MAX_CONTEXTS = 10
"""Results of one connection of which news is told."""
MAX_MESSAGES = 250_000
"""Messages in all of them, unless there is only one (§4.3.1)."""
PAIRS_AT_ONCE = 1000
"""Pairs of a position and a set that are written in one piece."""


class Context:
    """A result that the client is told news of. Implements `view.Watcher`."""

    def __init__(self, tag: bytes, key: SearchKey, criteria: Criteria, shown: Sequence[int], *, by_uid: bool) -> None:
        self.shown = array("I", shown)
        """What the client has, in its order."""
        self._head = b"* ESEARCH %s%s" % (search.correlator(tag), b" UID" if by_uid else b"")
        self._key = key
        self._criteria = criteria
        self._by_uid = by_uid

    async def expunged(self, session: ImapSession, uids: Collection[int]) -> None:
        """§4.3.4: before EXPUNGE, while message sequence numbers are true."""
        await self._remove(session, frozenset(uids).intersection(self.shown))

    async def changed(self, session: ImapSession, uids: Sequence[int]) -> None:
        """These (UIDs ascending) are new or have other flags; the client was told so."""
        matching = frozenset(await search.matching(session, And((InUids(tuple(encode.runs(uids))), self._key))))
        session.stopped_at = 0  # no command was
        known = frozenset(self.shown)
        going = known.intersection(session.view.going())  # has no place any more when messages are ordered
        await self._remove(session, going | (known.intersection(uids) - matching))
        await self._add(session, matching - known)

    async def _remove(self, session: ImapSession, gone: Collection[int]) -> None:
        if not gone:
            return
        # The last ones first: then no removal moves what is to be removed after it.
        places = list(_runs_of(self.shown, gone)) if self._criteria else [(-1, sorted(gone))]
        await self._say(session, b"REMOVEFROM", reversed(places))
        self.shown = array("I", [uid for uid in self.shown if uid not in gone])

    async def _add(self, session: ImapSession, new: Collection[int]) -> None:
        if not new:
            return
        now = sorted([*self.shown, *new])
        if self._criteria:
            now = list(await in_order(session, now, self._criteria))
            await self._remove(session, frozenset(self.shown).difference(now))  # gone meanwhile
        # The first ones first: a place is where the message is when all before it are there.
        await self._say(session, b"ADDTO", list(_runs_of(now, new)) if self._criteria else [(-1, sorted(new))])
        self.shown = array("I", now)

    async def _say(self, session: ImapSession, word: bytes, places: Iterable[tuple[int, list[int]]]) -> None:
        # ret-data-addto = "ADDTO" SP "(" context-position SP sequence-set *(SP context-position SP sequence-set) ")"
        session.say(b"%s %s (" % (self._head, word))
        pieces: list[bytes] = []
        space = b""
        for place, uids in places:
            numbers = uids if self._by_uid else session.view.numbers_of(uids)
            pieces.append(b"%s%d %s" % (space, place + 1, encode.ordered_set(numbers)))
            space = b" "
            if len(pieces) == PAIRS_AT_ONCE:
                await session.say_much(b"".join(pieces))
                pieces.clear()
        session.say(b"".join(pieces) + b")\r\n")


def _runs_of(uids: Sequence[int], wanted: Collection[int]) -> Iterator[tuple[int, list[int]]]:
    """Neighbours in `uids` that are wanted, and where the first of them is."""
    run: list[int] = []
    for place, uid in enumerate(uids):
        if uid in wanted:
            run.append(uid)
        elif run:
            yield place - len(run), run
            run = []
    if run:
        yield len(uids) - len(run), run


# --- return options and data ----------------------------------------------------------------


def word(cur: Cursor) -> None:
    # modifier-context = "CONTEXT" ; modifier-update = "UPDATE"
    """Nothing more."""


async def check_tag(session: ImapSession, result: search.Result) -> None:
    """Raises: BadSyntax for a tag by which news of another result is told (§4.3)."""
    if b"UPDATE" in (result.returns or {}) and session.tag in session.view.watchers:
        raise BadSyntax("a tag that no search with UPDATE has")


def begin_update(session: ImapSession, result: search.Result) -> bytes:
    """§4.3: from now on the client is told news of the result, or that it will not be."""
    if b"UPDATE" not in (result.returns or {}):
        return b""
    view, tag = session.view, session.tag
    messages = sum(len(known.shown) for known in view.watchers.values() if isinstance(known, Context))
    if view.watchers and (len(view.watchers) >= MAX_CONTEXTS or messages + len(result.uids) > MAX_MESSAGES):
        session.say(replies.no("too many searches with UPDATE", f"NOUPDATE {_quoted(tag)}").line(b"*"))
        return b""
    criteria = result.criteria if isinstance(result, SortResult) else ()
    view.watchers[tag] = Context(tag, _fixed(view, result.key), criteria, result.uids, by_uid=result.by_uid)
    return b""


def _fixed(view: View, key: SearchKey) -> SearchKey:
    """The key with the messages that its message sequence numbers are of now (§4.3)."""
    match key:
        case InSequence(numbers):
            return InUids(_uids(view, numbers))
        case And(keys):
            return And(tuple([_fixed(view, inside) for inside in keys]))
        case Or(left, right):
            return Or(_fixed(view, left), _fixed(view, right))
        case Not(inside):
            return Not(_fixed(view, inside))
    return key


def _uids(view: View, numbers: SequenceSet) -> SequenceSet:
    return tuple(encode.runs(view.select(numbers, by_uid=False)))


# --- CANCELUPDATE -----------------------------------------------------------------------------


def tags(cur: Cursor) -> list[bytes]:
    # "CANCELUPDATE" 1*(SP quoted)
    found = [string(cur)]
    while cur.skip(b" ") and not cur.at_end:
        found.append(string(cur))
    return found


async def cancel_update(session: ImapSession, given: list[bytes]) -> Reply:
    watchers = session.view.watchers
    if not all(isinstance(watchers.get(tag), Context) for tag in given):
        raise BadSyntax("tags of searches with UPDATE")
    for tag in given:
        watchers.pop(tag, None)
    return replies.ok("no more updates")


def _quoted(tag: bytes) -> str:
    return encode.string(tag).decode("ascii", "replace")


FEATURE = Feature(
    commands=(command(b"CANCELUPDATE", SELECTED, tags, cancel_update),),
    capabilities=(Capability("ESORT"), Capability("CONTEXT=SEARCH"), Capability("CONTEXT=SORT")),
    search_returns={b"CONTEXT": word, b"UPDATE": word},
    search_preparations=(check_tag,),
    search_data=(begin_update,),
)
