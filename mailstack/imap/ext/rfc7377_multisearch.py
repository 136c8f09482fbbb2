"""MULTISEARCH (RFC 7377): ESEARCH, which searches several mailboxes and answers in UIDs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mailstack.errors import BadSyntax, Problem, Refused
from mailstack.imap import replies
from mailstack.imap.core.search import Result, check_returns, esearch, matching, prepare, resolved, save, vocabulary
from mailstack.imap.notifier import normal
from mailstack.imap.registry import AUTHENTICATED, Capability, Feature, State, command
from mailstack.imap.replies import Reply
from mailstack.imap.view import View
from mailstack.imap.wire import encode
from mailstack.imap.wire.cursor import Cursor, atom, mailbox, sp
from mailstack.imap.wire.search_grammar import ReturnOptions, SearchProgram, search_program

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession

SELECTED = "SELECTED"
MAX_SOURCES = 1000
"""Names of mailboxes in one command; ours."""


@dataclass(frozen=True, slots=True)
class Source:
    """One of the filter-mailboxes of RFC 5465 §8: its word in upper case, and the names behind it."""

    word: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Arguments:
    sources: tuple[Source, ...]
    asked: SearchProgram


def arguments(cur: Cursor) -> Arguments:
    # esearch = "ESEARCH" [SP esearch-source-opts] [SP search-return-opts] SP search-program
    sources: tuple[Source, ...] = (Source(SELECTED),)
    if cur.skip(b"IN ("):
        sources = source_mailboxes(cur)
        cur.expect(b")")  # there are no scope-options yet
        sp(cur)
    return Arguments(sources, search_program(cur, vocabulary()))


def source_mailboxes(cur: Cursor) -> tuple[Source, ...]:
    # source-mbox = filter-mailboxes *(SP filter-mailboxes)
    sources: list[Source] = []
    left = MAX_SOURCES
    while not sources or cur.skip(b" "):
        start = cur.position
        word = atom(cur).decode("ascii").upper()
        if word not in _PLAIN and word not in _NAMED:
            raise cur.expected(f"{', '.join((*_PLAIN, *_NAMED))}", start)
        sources.append(Source(word, _names(cur, left) if word in _NAMED else ()))
        left -= 1 + len(sources[-1].names)
        if left < 0:
            raise cur.expected(f"at most {MAX_SOURCES} mailboxes", start)
    return tuple(sources)


def _names(cur: Cursor, limit: int) -> tuple[str, ...]:
    # SP one-or-more-mailbox ; mailbox / "(" mailbox *(SP mailbox) ")"
    sp(cur)
    if not cur.skip(b"("):
        return (mailbox(cur),)
    names = [mailbox(cur)]
    while not cur.skip(b")") and len(names) <= limit:
        sp(cur)
        names.append(mailbox(cur))
    return tuple(names)


_PLAIN = (SELECTED, "PERSONAL", "INBOXES", "SUBSCRIBED")
_NAMED: dict[str, Callable[[str, str], bool]] = {
    "SUBTREE": lambda name, top: name == top or name.startswith(top + "/"),
    "SUBTREE-ONE": lambda name, top: name == top or (name.startswith(top + "/") and "/" not in name[len(top) + 1 :]),
    "MAILBOXES": lambda name, top: name == top,
}
"""What stands before names, and whether it means a mailbox."""


async def multisearch(session: ImapSession, asked: Arguments) -> Reply:
    returns: ReturnOptions = asked.asked.returns or {b"ALL": None}
    check_returns(returns)
    selected_only = {source.word for source in asked.sources} == {SELECTED}
    if session.state is not State.SELECTED and (b"UPDATE" in returns or any(_is_selected(s) for s in asked.sources)):
        raise BadSyntax("a mailbox that is selected, or others")
    if b"SAVE" in returns and not selected_only:
        raise BadSyntax("SAVE with the selected mailbox alone (RFC 7377 §2.2)")
    for name in await _searched(session, asked.sources):
        if session.state is State.SELECTED and name == session.view.mailbox.name:
            await _one(session, name, asked.asked, returns)
        else:
            await _elsewhere(session, name, asked.asked, {word: returns[word] for word in returns if word != b"UPDATE"})
    return replies.ok("ESEARCH completed")


async def _elsewhere(session: ImapSession, name: str, asked: SearchProgram, returns: ReturnOptions) -> None:
    """A mailbox that was removed meanwhile, or may not be read, is passed over (RFC 7377 §2.2)."""
    view = View(lambda: None, read_only=True)
    try:
        view.begin(await session.store.open(name, view))
        with session.looking_at(view):
            await _one(session, name, asked, returns)
    except Refused as refused:
        if refused.problem not in (Problem.NO_SUCH_MAILBOX, Problem.NOT_PERMITTED):
            raise
    finally:
        view.close()


def _is_selected(source: Source) -> bool:
    return source.word == SELECTED


async def _searched(session: ImapSession, sources: Sequence[Source]) -> Sequence[str]:
    """The mailboxes that are meant, each once; those that are not there are not searched."""
    entries = await session.store.mailboxes()
    there = [entry.name for entry in entries if entry.selectable]
    others = session.store.access.other_users
    found: dict[str, None] = {}
    for source in sources:
        if source.word == SELECTED:
            found[session.view.mailbox.name] = None
        elif source.word in _NAMED:
            means = _NAMED[source.word]
            tops = list(map(normal, source.names))
            found.update(dict.fromkeys(name for name in there if any(means(name, top) for top in tops)))
        else:
            among: Collection[str] = [name for name in there if not others or not name.startswith(others)]
            if source.word == "SUBSCRIBED":
                among = await session.store.subscriptions()
            found.update(dict.fromkeys(name for name in there if name in among))
    return list(found)


async def _one(session: ImapSession, name: str, asked: SearchProgram, returns: ReturnOptions) -> None:
    key = await resolved(session, asked.key)
    result = Result(key, returns, await matching(session, key), True)
    await prepare(session, result)
    save(session, result)
    if result.uids and returns.keys() != {b"SAVE"}:
        more = b" MAILBOX %b UIDVALIDITY %d" % (
            encode.mailbox(name, utf8=session.rev2), session.view.mailbox.uid_validity
        )  # fmt: skip
        await session.say_much(esearch(session, result, correlators=more))


FEATURE = Feature(
    commands=(command(b"ESEARCH", AUTHENTICATED, arguments, multisearch),),
    capabilities=(Capability("MULTISEARCH"),),
)
