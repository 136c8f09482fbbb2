"""THREAD and UID THREAD (RFC 5256 §3), with the algorithms ORDEREDSUBJECT, REFERENCES and REFS
(draft-ietf-morg-inthread-01 §4), which are in `imap/threads.py`."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING
from zlib import crc32

from mailstack.imap import replies
from mailstack.imap.core import search
from mailstack.imap.ext.rfc9585_inprogress import working
from mailstack.imap.ext.rfc9738_messagelimit import whole
from mailstack.imap.orders import fill_dates, internal_dates, memory_key, records
from mailstack.imap.registry import SELECTED, Capability, Feature, command
from mailstack.imap.replies import Reply
from mailstack.imap.sort_keys import SUBJECT, ids_of, text_of
from mailstack.imap.threads import Algorithm, Forest, Messages, ordered_subject, references, refs
from mailstack.imap.wire.cursor import Cursor
from mailstack.imap.wire.sort_grammar import ThreadProgram, thread_program
from mailstack.ports import Mailbox

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession

MEMBERS_AT_ONCE = 5000
"""Messages of a response that are written in one piece."""

ALGORITHMS: dict[bytes, Algorithm] = {
    b"ORDEREDSUBJECT": ordered_subject,
    b"REFERENCES": references,
    b"REFS": refs,
}


def arguments(cur: Cursor) -> ThreadProgram:
    return thread_program(cur, search.vocabulary(), tuple(ALGORITHMS))


async def thread(session: ImapSession, asked: ThreadProgram, *, by_uid: bool) -> Reply:
    key = whole(session, await search.resolved(session, asked.key))
    found = await search.matching(session, key)
    with working(session, len(found)):
        forest = await threaded(session, found, asked.algorithm)
    await say_threads(session, forest, found if by_uid else session.view.numbers(found))
    return replies.ok("THREAD completed")


async def threaded(session: ImapSession, found: Sequence[int], algorithm: bytes) -> Forest:
    """The threads of messages (UIDs ascending), which are remembered: the same ones are asked for again."""
    uids, collation = array("I", found), session.comparator.collation.name
    memory, key = session.resources.memory, memory_key(session, algorithm, collation, len(uids), crc32(uids))
    known: tuple[array[int], Forest] | None = memory.get(key)
    if known is not None and known[0] == uids:
        return known[1]
    mailbox = session.view.mailbox
    messages = await _messages(mailbox, uids, collation)
    if algorithm == b"REFS":
        messages.arrivals = await internal_dates(mailbox, uids)
    forest = await mailbox.compute(partial(ALGORITHMS[algorithm], messages))
    memory.put(key, (uids, forest), 16 * len(uids))
    return forest


async def _messages(mailbox: Mailbox, uids: Sequence[int], collation: str) -> Messages:
    messages = Messages()
    async for made in records(mailbox, uids, collation):
        for value in made:
            messages.add(*ids_of(value), text_of(value, SUBJECT))
    await fill_dates(mailbox, uids, messages.dates)
    return messages


async def say_threads(session: ImapSession, forest: Forest, numbers: Sequence[int]) -> None:
    # thread-data = "THREAD" [SP 1*thread-list]
    session.say(b"* THREAD " if forest.marks else b"* THREAD")
    for start in range(0, len(forest.marks), MEMBERS_AT_ONCE):
        nodes = forest.nodes[start : start + MEMBERS_AT_ONCE]
        marks = forest.marks[start : start + MEMBERS_AT_ONCE]
        members = zip(marks, map(numbers.__getitem__, nodes), strict=True)
        await session.say_much(b"".join(map(b"%b%d".__mod__, members)))
    session.say(forest.end + b"\r\n")


FEATURE = Feature(
    commands=(
        command(b"THREAD", SELECTED, arguments, partial(thread, by_uid=False), keeps_numbers=True),
        command(b"UID THREAD", SELECTED, arguments, partial(thread, by_uid=True)),
    ),
    capabilities=tuple(Capability(f"THREAD={name.decode()}") for name in ALGORITHMS),
)
