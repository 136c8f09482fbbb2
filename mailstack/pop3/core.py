"""The commands that RFC 1939 §5 and §6 ask of every server."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mailstack.errors import Refused
from mailstack.pop3 import replies
from mailstack.pop3.registry import AFTER, ALWAYS, Command, State, command
from mailstack.pop3.sending import send_whole
from mailstack.pop3.wire.arguments import nothing, number, optional_number

if TYPE_CHECKING:
    from mailstack.pop3.session import Pop3Session


async def quit_(session: Pop3Session, _: None) -> None:
    """UPDATE (RFC 1939 §6): only here are messages removed."""
    deleted = session.maildrop.deleted
    session.state = State.ENDED
    if deleted:
        try:
            await session.maildrop.opened.expunge(sorted(deleted), session.maildrop)
        except Refused as refused:
            session.log.warning("deletion failed", reason=str(refused))
            session.say(replies.err("some deleted messages were not removed", "SYS/TEMP"))
            return
    session.say(replies.ok(f"{len(deleted)} messages removed" if deleted else "bye"))


async def stat(session: Pop3Session, _: None) -> None:
    """STAT."""
    present = session.maildrop.present()
    session.say(replies.ok(f"{len(present)} {sum(session.maildrop.size(uid) for _, uid in present)}"))


async def list_(session: Pop3Session, wanted: int | None) -> None:
    """LIST."""
    drop = session.maildrop
    await listing(session, wanted, lambda uid: str(drop.size(uid)))


async def listing(session: Pop3Session, wanted: int | None, text: Callable[[int], str]) -> None:
    """LIST and UIDL: one line, or all of them."""
    if wanted is not None:
        session.say(replies.ok(f"{wanted} {text(session.maildrop.uid(wanted))}"))
        return
    lines = [f"{number} {text(uid)}\r\n" for number, uid in session.maildrop.present()]
    session.say(replies.multi_line(f"{len(lines)} messages", "".join(lines)))


async def retr(session: Pop3Session, wanted: int) -> None:
    """RETR."""
    reply = session.maildrop.read_ahead(wanted)
    if reply is not None:
        session.say(reply)
    else:
        await send_whole(session, wanted)


async def dele(session: Pop3Session, wanted: int) -> None:
    """DELE."""
    session.maildrop.deleted.add(session.maildrop.uid(wanted))
    session.say(replies.ok("marked; it is removed at QUIT"))


async def rset(session: Pop3Session, _: None) -> None:
    """RSET."""
    session.maildrop.deleted.clear()
    session.say(replies.ok("no message is marked"))


async def noop(session: Pop3Session, _: None) -> None:
    """NOOP."""
    session.say(replies.ok(""))


COMMANDS: tuple[Command, ...] = (
    command("QUIT", ALWAYS, nothing, quit_),
    command("STAT", AFTER, nothing, stat),
    command("LIST", AFTER, optional_number, list_),
    command("RETR", AFTER, number, retr),
    command("DELE", AFTER, number, dele),
    command("RSET", AFTER, nothing, rset),
    command("NOOP", AFTER, nothing, noop),
)
