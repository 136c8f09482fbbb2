"""SEARCH and UID SEARCH, with RETURN and saved results (RFC 9051 §6.4.4; RFC 4731, RFC 5182)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from mailstack.errors import Problem, Refused
from mailstack.imap import replies
from mailstack.imap.registry import SELECTED, Capability, Feature, command
from mailstack.imap.replies import Reply
from mailstack.imap.search import Searched, search
from mailstack.imap.search_keys import SessionKey
from mailstack.imap.wire import encode
from mailstack.imap.wire.cursor import Cursor
from mailstack.imap.wire.search_grammar import SAVED, ReturnOptions, SearchProgram, Vocabulary, search_program
from mailstack.imap.wire.values import And, InSequence, InUids, Not, Or, SearchKey

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession

MAX_RESOLVED = 20
"""Keys that stand for others, within one another."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a search found: UIDs in the order of the answer. `returns` is None if SEARCH is to answer as in
    RFC 3501; `key` is what was searched for, with nothing left to resolve."""

    key: SearchKey
    returns: ReturnOptions | None
    uids: Sequence[int]
    by_uid: bool


def arguments(cur: Cursor) -> SearchProgram:
    """The rule of SEARCH, with the words of all extensions."""
    return search_program(cur, vocabulary())


def vocabulary() -> Vocabulary:
    """What extensions add to the grammar."""
    # Late, since extensions' coroutines take a session.
    from mailstack.imap.features import SEARCH_WORDS

    return SEARCH_WORDS


async def run(session: ImapSession, asked: SearchProgram, *, by_uid: bool) -> Reply:
    returns = asked.returns
    if returns is None and session.rev2:
        returns = {b"ALL": None}
    key = await resolved(session, asked.key)
    result = Result(key, returns, await matching(session, key), by_uid)
    if returns is None:
        numbers = numbered(session, result)
        said = "".join(f" {number}" for number in numbers).encode()
        session.say(b"* SEARCH%s%s\r\n" % (said, b"".join(b" " + data for data in search_data(session, result))))
        return replies.ok("SEARCH completed")
    await answer(session, result)
    return replies.ok("SEARCH completed")


async def answer(session: ImapSession, result: Result) -> None:
    """What RETURN asks for, which is not None."""
    returns = result.returns or {}
    said = esearch(session, result)  # which may still refuse
    if b"SAVE" in returns:
        session.view.saved = _to_save(returns, result.uids)
    if returns.keys() != {b"SAVE"}:
        session.say(said)


async def matching(session: ImapSession, key: SearchKey) -> list[int]:
    """UIDs of the messages of the selected mailbox that match, ascending. The key has come from `resolved`."""
    view = session.view
    where = Searched(view.mailbox, view.uids, view.recent)
    return await search(key, where, session.resources.clock.now(), session.connection.drain)


async def resolved(session: ImapSession, key: SearchKey, depth: int = 0) -> SearchKey:
    """The key with nothing in it that the session has to tell: the saved UIDs are in the place of "$".
    Raises: Refused; BadSyntax."""
    match key:
        case InSequence(numbers) | InUids(numbers) if numbers == SAVED:
            return InUids(tuple((uid, uid) for uid in session.view.saved))
        case And(keys):
            return And(tuple([await resolved(session, inside, depth) for inside in keys]))
        case Or(left, right):
            return Or(await resolved(session, left, depth), await resolved(session, right, depth))
        case Not(inside):
            return Not(await resolved(session, inside, depth))
        case SessionKey():
            if depth == MAX_RESOLVED:
                raise Refused(Problem.LIMIT, "search keys that stand for one another")
            return await resolved(session, await key.resolve(session), depth + 1)
    return key


def numbered(session: ImapSession, result: Result) -> Sequence[int]:
    """The UIDs, or the message sequence numbers, that answer, in the result's order."""
    return result.uids if result.by_uid else session.view.numbers_of(result.uids)


def search_data(session: ImapSession, result: Result) -> list[bytes]:
    """What extensions have to say of a result."""
    from mailstack.imap.features import SEARCH_DATA

    return [said for data in SEARCH_DATA if (said := data(session, result))]


def esearch(session: ImapSession, result: Result) -> bytes:
    """ESEARCH (RFC 9051 §7.3.4)."""
    returns, numbers = result.returns or {}, numbered(session, result)
    parts = [b"* ESEARCH " + correlator(session.tag)]
    if result.by_uid:
        parts.append(b"UID")
    if numbers and b"MIN" in returns:
        parts.append(b"MIN %d" % numbers[0])
    if numbers and b"MAX" in returns:
        parts.append(b"MAX %d" % numbers[-1])
    if b"COUNT" in returns:
        parts.append(b"COUNT %d" % len(numbers))
    if numbers and b"ALL" in returns:
        parts.append(b"ALL " + encode.ordered_set(numbers))
    return b" ".join([*parts, *search_data(session, result)]) + b"\r\n"


def correlator(tag: bytes) -> bytes:
    # search-correlator = SP "(" "TAG" SP tag-string ")"
    return b'(TAG "%s")' % tag.replace(b"\\", b"\\\\").replace(b'"', b'\\"')


def _to_save(returns: ReturnOptions, found: Sequence[int]) -> tuple[int, ...]:
    # RFC 9051 §6.4.4.1: with MIN or MAX and neither ALL nor COUNT, only those are saved.
    if not found or b"ALL" in returns or b"COUNT" in returns or not returns.keys() & {b"MIN", b"MAX"}:
        return tuple(sorted(found))
    ends = {found[0]} if b"MIN" in returns else set()
    if b"MAX" in returns:
        ends.add(found[-1])
    return tuple(sorted(ends))


FEATURE = Feature(
    commands=(
        command(b"SEARCH", SELECTED, arguments, partial(run, by_uid=False), keeps_numbers=True),
        command(b"UID SEARCH", SELECTED, arguments, partial(run, by_uid=True)),
    ),
    capabilities=(Capability("ESEARCH"), Capability("SEARCHRES")),
)
