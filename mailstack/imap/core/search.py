"""SEARCH and UID SEARCH, with RETURN and saved results (RFC 9051 §6.4.4; RFC 4731, RFC 5182)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from mailstack.errors import BadSyntax, Problem, Refused
from mailstack.imap import replies
from mailstack.imap.ext.rfc9585_inprogress import turn, working
from mailstack.imap.ext.rfc9586_uidonly import REQUIRED
from mailstack.imap.ext.rfc9738_messagelimit import narrowed
from mailstack.imap.registry import SELECTED, Capability, Feature, command
from mailstack.imap.replies import Reply
from mailstack.imap.search import Searched, search
from mailstack.imap.search_keys import SessionKey, leaves
from mailstack.imap.wire import encode
from mailstack.imap.wire.cursor import Cursor
from mailstack.imap.wire.search_grammar import MAX_KEYS, SAVED, ReturnOptions, SearchProgram, Vocabulary, search_program
from mailstack.imap.wire.values import And, InSequence, InUids, Not, Or, SearchKey

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession

MAX_RESOLVED = 10
"""Keys that stand for others, within one another."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a search found: UIDs in the order of the answer. `returns` is None if SEARCH is to answer as in
    RFC 3501; `key` is what was searched for, with nothing left to resolve."""

    key: SearchKey
    returns: ReturnOptions | None
    uids: Sequence[int]
    by_uid: bool
    scores: dict[int, int] = field(default_factory=dict, kw_only=True)
    """By UID: how relevant messages are, from 1 to 100, if that is asked for (RFC 6203)."""


class ResultPart(ABC):
    """The argument of a RETURN option that asks for some of the result: it excludes ALL, and SAVE keeps those."""

    __slots__ = ()

    @abstractmethod
    def of(self, uids: Sequence[int]) -> Sequence[int]:
        """Those of the result, or of the numbers of its messages."""


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
    check_returns(returns or {})
    key = await resolved(session, asked.key)
    # RFC 9051 §6.4.9: UID SEARCH, too, may name messages by their numbers.
    session.uses_numbers = any(isinstance(leaf, InSequence) for leaf in leaves(key))
    result = Result(key, returns, await matching(session, key), by_uid)
    await prepare(session, result)
    if returns is None:
        numbers = numbered(session, result)
        said = "".join(f" {number}" for number in numbers).encode()
        session.say(b"* SEARCH%s%s\r\n" % (said, b"".join(b" " + data for data in search_data(session, result))))
        return replies.ok("SEARCH completed")
    answer(session, result)
    return replies.ok("SEARCH completed")


def answer(session: ImapSession, result: Result) -> None:
    """What RETURN asks for, which is not None."""
    save(session, result)
    returns = result.returns or {}
    if returns.keys() != {b"SAVE"}:
        session.say(esearch(session, result))


def check_returns(returns: ReturnOptions) -> None:
    """Raises: BadSyntax for options that exclude each other (RFC 9394 §3.1)."""
    for word, option in returns.items():
        if isinstance(option, ResultPart) and b"ALL" in returns:
            raise BadSyntax(f"either ALL or {word.decode()}")


async def matching(session: ImapSession, key: SearchKey) -> list[int]:
    """UIDs of the messages of the selected mailbox that match, ascending. The key has come from `resolved`."""
    view = session.view
    where = Searched(view.mailbox, view.uids, view.recent)
    with working(session, len(view.uids)):
        return await search(narrowed(session, key), where, session.resources.clock.now(), partial(turn, session))


async def resolved(session: ImapSession, key: SearchKey) -> SearchKey:
    """The key with nothing in it that the session has to tell: the saved UIDs are in the place of "$".
    Raises: Refused; BadSyntax; replies.Declined."""
    return await _Resolving(session).key(key, 0)


class _Resolving:
    """Counts what keys stand for."""

    def __init__(self, session: ImapSession) -> None:
        self._session = session
        self._left = MAX_KEYS

    async def key(self, key: SearchKey, depth: int) -> SearchKey:
        match key:
            case InSequence(numbers) | InUids(numbers) if numbers == SAVED:
                return InUids(tuple((uid, uid) for uid in self._session.view.saved))
            case InSequence() if self._session.uid_only:
                raise replies.Declined(REQUIRED)
            case And(keys):
                return And(tuple([await self.key(inside, depth) for inside in keys]))
            case Or(left, right):
                return Or(await self.key(left, depth), await self.key(right, depth))
            case Not(inside):
                return Not(await self.key(inside, depth))
            case SessionKey():
                if depth == MAX_RESOLVED:
                    raise key.endless()
                found = await key.resolve(self._session)
                self._left -= sum(1 for _ in leaves(found))
                if self._left < 0:
                    raise Refused(Problem.LIMIT, "search keys that stand for too many others")
                return await self.key(found, depth + 1)
        return self._session.comparator.key(key)


def numbered(session: ImapSession, result: Result) -> Sequence[int]:
    """The UIDs, or the message sequence numbers, that answer, in the result's order."""
    return result.uids if result.by_uid else session.view.numbers_of(result.uids)


async def prepare(session: ImapSession, result: Result) -> None:
    """What has to come before `search_data`. Raises: Refused, BadSyntax."""
    from mailstack.imap.features import SEARCH_PREPARATIONS

    for each in SEARCH_PREPARATIONS:
        await each(session, result)


def search_data(session: ImapSession, result: Result) -> list[bytes]:
    """What extensions have to say of a result."""
    from mailstack.imap.features import SEARCH_DATA

    return [said for data in SEARCH_DATA if (said := data(session, result))]


def esearch(session: ImapSession, result: Result, *, correlators: bytes = b"") -> bytes:
    """ESEARCH (RFC 9051 §7.3.4). `correlators` stand behind the tag."""
    returns, numbers = result.returns or {}, numbered(session, result)
    parts = [b"* ESEARCH " + correlator(session.tag, correlators)]
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


def correlator(tag: bytes, more: bytes = b"") -> bytes:
    # search-correlator = SP "(" one-correlator *(SP one-correlator) ")"
    return b'(TAG "%s"%s)' % (tag.replace(b"\\", b"\\\\").replace(b'"', b'\\"'), more)


def save(session: ImapSession, result: Result) -> None:
    """Let "$" be what SAVE asks for, if it is asked for."""
    if result.returns is not None and b"SAVE" in result.returns:
        session.view.saved = _to_save(result.returns, result.uids)


def _to_save(returns: ReturnOptions, found: Sequence[int]) -> tuple[int, ...]:
    # RFC 9051 §6.4.4.1: with MIN or MAX and neither ALL nor COUNT, only those are saved; RFC 9394 §3.2.
    parts = [option for option in returns.values() if isinstance(option, ResultPart)]
    if not found or b"ALL" in returns or b"COUNT" in returns or not (parts or returns.keys() & {b"MIN", b"MAX"}):
        return tuple(sorted(found))
    kept = {uid for part in parts for uid in part.of(found)}
    if b"MIN" in returns:
        kept.add(found[0])
    if b"MAX" in returns:
        kept.add(found[-1])
    return tuple(sorted(kept))


FEATURE = Feature(
    commands=(
        command(b"SEARCH", SELECTED, arguments, partial(run, by_uid=False), keeps_numbers=True),
        command(b"UID SEARCH", SELECTED, arguments, partial(run, by_uid=True)),
    ),
    capabilities=(Capability("ESEARCH"), Capability("SEARCHRES")),
)
