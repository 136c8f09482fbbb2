"""Messages on their way to the client: whole when they are small, in pieces when they are large."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from mailstack.errors import Problem, Refused
from mailstack.mail.header import body_start
from mailstack.pop3 import replies
from mailstack.pop3.registry import State
from mailstack.pop3.wire.framing import DotStuffing, stuffed
from mailstack.ports import MEMORY_LIMIT, Octets

if TYPE_CHECKING:
    from mailstack.pop3.session import Pop3Session

End = Callable[[Octets], int]
"""Up to which octet a message is wanted."""


@dataclass(frozen=True, slots=True)
class Whole:
    """The reply as it is sent."""

    reply: bytes


@dataclass(frozen=True, slots=True)
class Large:
    """A message that is to be sent in pieces."""

    size: int


@dataclass(frozen=True, slots=True)
class NeedsUtf8:
    """Its header has UTF-8, which the client did not ask for (RFC 6856 §2.1)."""


async def send_whole(session: Pop3Session, number: int) -> None:
    """A whole message; in the same visit to a worker those are read that the client will ask for next.
    Raises: Refused(NO_SUCH_MESSAGE)."""
    drop = session.maildrop
    uids = drop.asked_for(number)
    found = await drop.opened.examine(uids, partial(look, end=len, ascii_only=session.ascii_only))
    for uid, ahead in zip(uids[1:], found[1:], strict=True):
        if isinstance(ahead, Whole):
            drop.ahead[uid] = ahead.reply
    await _say(session, uids[0], found[0])


async def send_part(session: Pop3Session, number: int, end: End) -> None:
    """A message up to where `end` says. Raises: Refused(NO_SUCH_MESSAGE)."""
    uid = session.maildrop.uid(number)
    (found,) = await session.maildrop.opened.examine([uid], partial(look, end=end, ascii_only=session.ascii_only))
    await _say(session, uid, found)


async def _say(session: Pop3Session, uid: int, found: Whole | Large | NeedsUtf8 | None) -> None:
    """What `look` came to."""
    if found is None:
        raise Refused(Problem.NO_SUCH_MESSAGE, f"UID {uid} was removed meanwhile")
    if isinstance(found, Whole):
        session.say(found.reply)
    elif isinstance(found, Large):
        await _stream(session, uid, found.size)
    else:
        session.say(replies.NEEDS_UTF8)


def look(octets: Octets, end: End, ascii_only: bool) -> Whole | Large | NeedsUtf8:
    """In a worker."""
    if ascii_only and not _header(octets).isascii():
        return NeedsUtf8()
    size = end(octets)
    if size > MEMORY_LIMIT:
        return Large(size)
    return Whole(replies.octets(size) + stuffed(octets[0:size]))


def _header(octets: Octets) -> bytes:
    """The header, or as much of it as may be in memory."""
    start = octets[0:MEMORY_LIMIT]
    return start[: body_start(start, 0, len(start))]


async def _stream(session: Pop3Session, uid: int, size: int) -> None:
    session.say(replies.octets(size))
    stuffing, position = DotStuffing(), 0
    while position < size:
        piece = await session.maildrop.opened.read(uid, position, min(position + MEMORY_LIMIT, size))
        if not piece:
            # The response is under way; cutting it is the only way to say that it is not whole.
            session.log.warning("message vanished while it was sent", uid=uid)
            session.state = State.ENDED
            return
        position += len(piece)
        session.say(stuffing.stuff(piece))
        await session.connection.drain()
    session.say(stuffing.end())
