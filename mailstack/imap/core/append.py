"""APPEND, with several messages at once (RFC 9051 §6.3.12, RFC 3502). The messages are streamed into
the spool: the session hands over as soon as the first one's literal is announced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mailstack.errors import BadSyntax, Problem, Refused
from mailstack.imap import replies
from mailstack.imap.registry import AUTHENTICATED, Capability, Feature, command
from mailstack.imap.replies import Reply
from mailstack.imap.wire import encode
from mailstack.imap.wire.cursor import Cursor, date_time, flag_list, mailbox, sp, tag
from mailstack.imap.wire.framing import Command, LiteralAnnounced
from mailstack.mail.lines import CrlfStream
from mailstack.ports import Blob, Flags, NewMessage

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession

MAX_MESSAGES = 1000
"""Messages of one APPEND."""


@dataclass(frozen=True, slots=True)
class Options:
    """append-opts: what stands before a message."""

    flags: Flags
    internal_date: float | None


@dataclass(frozen=True, slots=True)
class Started:
    """An APPEND up to its first message."""

    tag: bytes
    mailbox: str
    options: Options


def starts(so_far: bytes, *, utf8: bool) -> Started | None:
    """What an announced literal belongs to, if it is an APPEND's message; None if it is anything
    else, as the mailbox's name."""
    cur = Cursor(so_far, utf8=utf8)
    try:
        found = tag(cur)
        sp(cur)
        cur.expect(b"APPEND ")
        name = mailbox(cur)
        sp(cur)
        options = append_opts(cur)
    except BadSyntax:
        return None
    return Started(found, name, options) if cur.at_end else None


def append_opts(cur: Cursor) -> Options:
    # append-opts = [SP flag-list] [SP date-time] ; here with the space behind, before the literal
    flags, internal_date = Flags(), None
    if cur.peek() == b"(":
        flags = flag_list(cur)
        sp(cur)
    if cur.peek() == b'"':
        internal_date = date_time(cur)
        sp(cur)
    return Options(flags, internal_date)


async def append(session: ImapSession, started: Started, announced: LiteralAnnounced) -> Reply:
    """Take the messages, then store all of them or none."""
    session.resources.counters.count("imap_commands", "APPEND")
    messages: list[NewMessage] = []
    try:
        options: Options | None = started.options
        while options is not None:
            if not announced.size:  # RFC 3502: an error, "can be used to cancel the append"
                await session.throw_away(announced)
                return replies.no("nothing is appended: a message has no octets")
            blob = await message(session, announced, sum(taken.blob.size for taken in messages))
            if blob is None:
                return replies.refused(Problem.TOO_BIG)
            messages.append(NewMessage(blob, options.flags, options.internal_date))
            event = await session.event()
            if isinstance(event, Command):
                if event.octets.strip(b" "):
                    raise BadSyntax("the end of the command after the message")
                options = None
            elif isinstance(event, LiteralAnnounced):
                announced, options = event, await another(session, event, len(messages))
            else:
                raise Refused(Problem.LIMIT, "the command is too long")
        return await store(session, started.mailbox, messages)
    finally:
        for taken in messages:
            taken.blob.discard()


async def another(session: ImapSession, announced: LiteralAnnounced, before: int) -> Options:
    """What stands before the next message, of which there were `before`. Raises: BadSyntax, Refused(LIMIT)."""
    cur = Cursor(announced.so_far)
    try:
        if before >= MAX_MESSAGES:
            raise Refused(Problem.LIMIT, "too many messages in one APPEND")
        sp(cur)
        options = append_opts(cur)
        if not cur.at_end:
            raise cur.expected("flags, a date-time or a message")
    except (BadSyntax, Refused):
        await session.throw_away(announced)
        raise
    return options


async def message(session: ImapSession, announced: LiteralAnnounced, before: int) -> Blob | None:
    """One message into the spool; None if it is too large. LF line ends become CRLF."""
    if before + announced.size > session.settings.max_message_size:
        await session.throw_away(announced)
        return None
    sink = session.resources.spool.sink()
    session.framer.stream()
    if announced.synchronising:
        session.say(b"+ go ahead\r\n")
    lines, refused = CrlfStream(), None
    try:
        while session.framer.streaming:
            chunk = await session.chunk()
            if refused is None:
                try:
                    await sink.write(lines.feed(chunk))
                except Refused as error:  # read on, so that the next command is found
                    refused = error
        if refused is not None:
            await session.throw_away(await session.event())
            raise refused
        await sink.write(lines.finish())
        return await sink.finish()
    except BaseException:
        sink.discard()
        raise


async def store(session: ImapSession, name: str, messages: list[NewMessage]) -> Reply:
    """All of them into the mailbox."""
    try:
        appended = await session.store.append(name, messages)
    except Refused as refused:
        if refused.problem is Problem.NO_SUCH_MAILBOX:
            return replies.no("no such mailbox", "TRYCREATE")
        raise
    uids = encode.sequence_set(appended.uids).decode()
    session.log.event("mail appended", mailbox=name, messages=len(messages))
    return replies.ok("APPEND completed", f"APPENDUID {appended.uid_validity} {uids}")


def no_message(cur: Cursor) -> None:
    """The rule of an APPEND that came without a literal."""
    mailbox(cur)
    if not cur.skip(b" "):
        raise cur.expected("a message as a literal")
    append_opts(cur)
    raise cur.expected("a message as a literal")


async def never(session: ImapSession, _: None) -> Reply:
    """Its rule has refused it."""
    raise BadSyntax("a message as a literal")


FEATURE = Feature(
    commands=(command(b"APPEND", AUTHENTICATED, no_message, never),),
    capabilities=(Capability("MULTIAPPEND", AUTHENTICATED),),
)
