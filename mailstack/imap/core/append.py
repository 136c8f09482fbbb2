"""APPEND, with several messages at once and in parts (RFC 9051 §6.3.12, RFC 3502, RFC 4469). The messages are
streamed into the spool: the session hands over as soon as the first literal is announced."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from mailstack.errors import BadSyntax, Problem, Refused
from mailstack.imap import replies
from mailstack.imap.ext.rfc9738_messagelimit import all_or_nothing
from mailstack.imap.registry import AUTHENTICATED, Capability, Feature, streamed
from mailstack.imap.replies import Reply
from mailstack.imap.url_content import open_url
from mailstack.imap.wire import encode
from mailstack.imap.wire.append_grammar import AppendGrammar, Begin, End, IsPartOfCommand, Segment, Step, Text, Url
from mailstack.imap.wire.cursor import Cursor, mailbox
from mailstack.imap.wire.framing import Command, LiteralAnnounced
from mailstack.imap.wire.url import message_url
from mailstack.mail.binary import BinaryToBase64
from mailstack.mail.lines import CrlfStream
from mailstack.ports import Appended, Flags, NewMessage, Sink

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession

MAX_MESSAGES = 1000
"""Messages of one APPEND."""
MAX_STRING = 64 * 1024
"""Octets of a literal that is a string of the command: a URL."""
NOTHING = replies.no("nothing is appended: a message has no octets")
"""RFC 3502 §6.3.11: an error, by which a client may cancel the whole command."""
UNKNOWN_CTE = replies.no("a NUL stands where no part is in the binary encoding", "UNKNOWN-CTE")


def append_begins(cur: Cursor) -> str:
    # append = "APPEND" SP mailbox 1*append-message   ; up to the first append-message
    name = mailbox(cur)
    if not cur.skip(b" "):
        raise cur.expected("a message as a literal")
    return name


async def append(session: ImapSession, name: str, segment: Segment) -> Reply:
    """Take the messages, then store all of them or none."""
    others = session.store.access.other_users
    own = not others or not name.startswith(others)  # who has another's mailbox pays for it
    async with Building(session, most=MAX_MESSAGES, asks_room=own) as building:
        messages = await building.receive(segment)
        try:
            appended = await session.store.append(name, messages)
        except Refused as refused:
            if refused.problem is Problem.NO_SUCH_MAILBOX:
                return replies.no("no such mailbox", "TRYCREATE")
            raise
    session.log.event("mail appended", mailbox=name, messages=len(messages))
    return replies.ok("APPEND completed", appenduid(appended))


def appenduid(appended: Appended) -> str:
    """The response code (RFC 4315 §3)."""
    return f"APPENDUID {appended.uid_validity} {encode.sequence_set(appended.uids).decode()}"


class Building:
    """The messages of one command while they come. Used as a context, after which nothing of them is left."""

    def __init__(self, session: ImapSession, *, most: int, asks_room: bool = True) -> None:
        self.messages: list[NewMessage] = []
        self._session = session
        self._most = most
        self._asks_room = asks_room
        self._size = 0
        self._sink: Sink | None = None
        self._lines = CrlfStream()
        self._begin = Begin(Flags(), None)
        self._awaited: LiteralAnnounced | None = None

    async def __aenter__(self) -> Building:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._sink is not None:
            self._sink.discard()
        for message in self.messages:
            message.blob.discard()

    async def receive(self, segment: Segment) -> list[NewMessage]:
        """Everything from the first message to the command's end. When it raises, the rest of the command
        has been read over. Raises: BadSyntax, Refused, Declined, and what a session ends with."""
        grammar = AppendGrammar()
        while True:
            self._awaited, start = segment.literal, segment.cur.position
            try:
                for step in grammar.segment(segment):
                    await self._take(step)
            except IsPartOfCommand:
                await self._into_command()
                segment = await self._next(start)  # the same one, longer
                continue
            except (BadSyntax, Refused, replies.Declined):
                await self._read_over(segment)
                raise
            if segment.literal is None:
                return self.messages
            segment = await self._next(0)

    async def _next(self, start: int) -> Segment:
        event = await self._session.event(in_flight=True)
        if isinstance(event, Command):
            return Segment(Cursor(event.octets, start), None)
        if isinstance(event, LiteralAnnounced):
            return Segment(Cursor(event.so_far, start), event)
        if event.unasked:
            raise replies.Declined(replies.UNASKED)
        raise Refused(Problem.LIMIT, "the command is too long")

    async def _into_command(self) -> None:
        literal = self._awaited
        assert literal is not None
        if literal.size > MAX_STRING:
            await self._session.throw_away(literal)
            raise Refused(Problem.LIMIT, "a URL that is too long")
        self._session.take_into_command(literal)

    async def _read_over(self, segment: Segment) -> None:
        """To the end of a command that is refused."""
        if self._awaited is not None:
            await self._session.throw_away(self._awaited)
        elif segment.literal is not None:
            await self._session.throw_away(await self._session.event(in_flight=True))

    async def _take(self, step: Step) -> None:
        match step:
            case Begin():
                if len(self.messages) >= self._most:
                    raise Refused(Problem.LIMIT, "too many messages in one command")
                all_or_nothing(self._session, len(self.messages) + 1)
                self._begin, self._lines = step, CrlfStream()
                self._sink = self._session.resources.spool.sink()
            case Text():
                await self._text(step)
            case Url():
                await self._url(step.url)
            case End():
                await self._end()
            case _:
                assert_never(step)

    @property
    def _into(self) -> Sink:
        assert self._sink is not None, "a step before Begin"
        return self._sink

    async def _admit(self, octets: int) -> None:
        """Raises: Refused(TOO_BIG | OVER_QUOTA), before anything has to be uploaded."""
        self._size += octets
        if self._size > self._session.settings.max_message_size:
            raise Refused(Problem.TOO_BIG, f"{self._size} octets")
        store, account = self._session.resources.store, self._session.account
        if self._asks_room and not await store.has_room(account, self._size, delivery=False):
            raise Refused(Problem.OVER_QUOTA, f"{account} has no room for {self._size} octets")

    async def _text(self, step: Text) -> None:
        """The literal into the spool. LF line ends become CRLF, and what is in binary base64."""
        session, literal = self._session, step.literal
        if step.utf8 and not session.utf8:
            raise replies.Declined(replies.no("ENABLE UTF8=ACCEPT comes first", "CANNOT"))
        if not literal.size and not step.is_part:
            raise replies.Declined(NOTHING)
        await self._admit(literal.size)
        session.framer.stream()
        self._awaited = None
        if literal.synchronising:
            session.say(b"+ go ahead\r\n")
        binary = BinaryToBase64() if literal.binary else None
        refused = None
        while session.framer.streaming:
            chunk = await session.chunk()
            if refused is None:
                try:
                    await self._into.write(self._lines.feed(binary.feed(chunk) if binary is not None else chunk))
                except Refused as error:  # read on, so that the next command is found
                    refused = error
        if refused is not None:
            raise refused
        if binary is not None:
            await self._into.write(self._lines.feed(binary.finish()))
            if binary.has_nul:
                raise replies.Declined(UNKNOWN_CTE)

    async def _url(self, text: str) -> None:
        # RFC 4469 §3: a relative URL of a message or message part; the octets, unchanged
        try:
            url = message_url(text)
            if url.host is not None or url.access is not None:
                raise BadSyntax("a URL of this session", 0)
            content = await open_url(self._session.store, url)
        except (BadSyntax, Refused) as error:
            raise bad_url(text, error) from error
        try:
            await self._admit(content.size)
            async for piece in content.pieces():
                await self._into.write(self._lines.feed(piece))
        except Refused as error:
            if error.problem is Problem.NO_SUCH_MESSAGE:
                raise bad_url(text, error) from error
            raise
        finally:
            content.close()

    async def _end(self) -> None:
        sink = self._into
        await sink.write(self._lines.finish())
        blob = await sink.finish()
        self._sink = None
        self.messages.append(NewMessage(blob, self._begin.flags, self._begin.internal_date))


def bad_url(url: str, reason: BadSyntax | Refused) -> replies.Declined:
    """The reply of RFC 4469 §4.1; what a resp-text cannot have stands encoded in it."""
    why = f"the URL lacks {reason.expected}" if isinstance(reason, BadSyntax) else reason.problem.value
    shown = "".join(char if " " < char <= "~" and char not in "]\\" else f"%{ord(char):02X}" for char in url[:1000])
    return replies.Declined(replies.no(why, f"BADURL {shown}"))


FEATURE = Feature(
    commands=(streamed(b"APPEND", AUTHENTICATED, append_begins, append),),
    capabilities=(Capability("MULTIAPPEND", AUTHENTICATED), Capability("CATENATE", AUTHENTICATED)),
)
