"""One IMAP connection: octets to commands, commands to rows, untagged responses before tagged ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mailstack.errors import (
    BadSyntax,
    ConnectionClosed,
    FramingLost,
    IdleTimeout,
    Problem,
    Refused,
    SessionEnded,
    ShuttingDown,
)  # fmt: skip
from mailstack.imap import replies
from mailstack.imap.registry import Row, State
from mailstack.imap.replies import Reply, bye
from mailstack.imap.settings import ImapResources, ImapSettings
from mailstack.imap.view import View, permanent_flags
from mailstack.imap.wire.cursor import Cursor, sp, tag
from mailstack.imap.wire.framing import Command, Event, Framer, LiteralAnnounced, Oversized
from mailstack.imap.wire.search_grammar import BadCharset
from mailstack.ports import AccountName, AccountStore, Connection

if TYPE_CHECKING:
    from mailstack.imap.notifier import Notifier

MAX_SMALL_LITERAL = 64 * 1024
"""Octets of a literal that becomes part of its command: names, passwords, search texts."""
ADDING = frozenset({b"APPEND", b"COPY", b"UID COPY", b"MOVE", b"UID MOVE"})
"""Commands that add messages."""
BULK = 64 * 1024
"""Octets of output after which the peer is let read them and others have their turn."""


class ImapSession:
    """Serves one connection until it is to be closed. Commands reach what they need through it."""

    def __init__(self, connection: Connection, resources: ImapResources, settings: ImapSettings) -> None:
        self.connection = connection
        self.resources = resources
        self.settings = settings
        self.log = resources.log.bind(conn=connection.id)
        self.state = State.NOT_AUTHENTICATED
        self.account = AccountName("")
        self.enabled: set[str] = set()
        self.login_failures = 0
        self.idling = False
        self.notifier: Notifier | None = None
        """Tells what the client asked to be told unasked, if it did."""
        self.framer = Framer()
        self._store: AccountStore | None = None
        self._view: View | None = None
        self._bulk = 0
        self._errors = 0
        self.tag = b"*"
        self._table: Mapping[bytes, Row] = _table()

    # --- what commands use

    @property
    def store(self) -> AccountStore:
        """The account's mailboxes; there are some once AUTHENTICATED."""
        assert self._store is not None
        return self._store

    @property
    def view(self) -> View:
        """The selected mailbox; there is one in SELECTED."""
        assert self._view is not None
        return self._view

    @property
    def rev2(self) -> bool:
        """Whether the client enabled IMAP4rev2 (RFC 9051 §6.3.1)."""
        return "IMAP4REV2" in self.enabled

    @property
    def administers(self) -> bool:
        """Whether the user may set what belongs to the server or to others."""
        return self.settings.everybody_administers or self.account in self.settings.administrators

    @property
    def may_log_in(self) -> bool:
        """Whether a password may come on this connection now."""
        return self.settings.allow_plaintext_auth or self.connection.tls is not None

    def say(self, octets: bytes) -> None:
        """Queue an untagged response or a continuation."""
        self.connection.write(octets)

    async def say_much(self, octets: bytes) -> None:
        """As `say`, for responses of which there may be many."""
        self.connection.write(octets)
        self._bulk += len(octets)
        if self._bulk >= BULK:
            self._bulk = 0
            await self.connection.drain()

    async def _next(self) -> Event:
        """As `event`, between commands."""
        while (event := self.framer.next_event()) is None:
            if self.notifier is not None:
                await self.notifier.tell(allow_expunge=not self.notifier.delayed)
            self.framer.feed(await self.connection.receive())
        return event

    async def event(self) -> Event:
        """The next thing that the client says. Raises: SessionEnded, FramingLost."""
        while (event := self.framer.next_event()) is None:
            self.framer.feed(await self.connection.receive())
        return event

    async def chunk(self) -> bytes:
        """Some octets of the literal that is streamed. Raises: SessionEnded."""
        while (chunk := self.framer.next_chunk()) is None:
            self.framer.feed(await self.connection.receive(in_flight=True))
        return chunk

    async def text_line(self) -> bytes:
        """A line that is no command: an answer to a challenge, or DONE."""
        event = await self.event()
        if isinstance(event, Command):
            return event.octets
        await self.throw_away(event)
        raise BadSyntax("one line")

    async def throw_away(self, event: Event) -> None:
        """Read to the end of what `event` belongs to, so that no octet of a literal that nobody wants
        is taken for a command. Raises: SessionEnded, FramingLost."""
        while isinstance(event, LiteralAnnounced):
            self.check_literal(event, 20 * self.settings.max_message_size)
            self.framer.refuse(synchronising=event.synchronising)
            if event.synchronising:
                return
            event = await self.event()

    def check_literal(self, announced: LiteralAnnounced, limit: int) -> None:
        """A client that waits for leave is told no; one that does not would have to be read to the end.
        Raises: FramingLost."""
        if not announced.synchronising and announced.size > limit:
            raise FramingLost(f"a literal of {announced.size} octets, above any limit")

    async def logged_in(self, account: AccountName) -> None:
        """The credentials were right."""
        self._store = await self.resources.store.account(account)
        self.account = account
        self.state = State.AUTHENTICATED
        self.connection.timeout = self.settings.timeout

    def select(self, view: View) -> None:
        """The client works on this mailbox now."""
        self._view = view
        self.state = State.SELECTED
        if self.notifier is not None:
            self.notifier.begin(view)

    def deselect(self) -> None:
        """The client works on no mailbox."""
        view, self._view = self._view, None
        if view is not None:
            view.close()
            self.state = State.AUTHENTICATED

    async def flush(self, *, allow_expunge: bool) -> None:
        """Tell what others did to the selected mailbox."""
        view = self._view
        if view is None:
            return
        watchers = list(view.watchers.values())
        told = 0
        while allow_expunge and watchers and len(view.going()) > told:  # others may go while these are told
            going = frozenset(view.going())
            for watcher in watchers:
                await watcher.expunged(self, going)
            told = len(going)
        if not view.idle:
            for response in view.flush(allow_expunge=allow_expunge, rev2=self.rev2):
                self.connection.write(response)
        if watchers and (touched := view.touched()):
            for watcher in watchers:
                await watcher.changed(self, touched)

    def stop_notifying(self) -> None:
        """Nothing is told any more that no command asks for."""
        notifier, self.notifier = self.notifier, None
        if notifier is not None:
            notifier.close()

    def wake(self) -> None:
        """Something happened that the client is to be told, in IDLE or after NOTIFY also without a command."""
        if self.idling or self.notifier is not None:
            self.connection.wake()

    # --- the loop

    async def run(self) -> None:
        """Greet, and answer commands until the connection is to be closed."""
        from mailstack.imap.core.any_state import capability_words

        self.connection.timeout = self.settings.login_timeout
        greeting = f"{self.settings.hostname} mailstack ready"
        self.say(replies.ok(greeting, f"CAPABILITY {capability_words(self)}").line(b"*"))
        try:
            while self.state is not State.LOGOUT:
                await self._take(await self._next())
        except ShuttingDown:
            self.say(bye("the server is stopping", "UNAVAILABLE"))
        except IdleTimeout:
            self.say(bye("idle for too long"))
        except FramingLost as lost:
            self.say(bye(f"cannot go on: {lost}"))
        except ConnectionClosed:
            self.log.event("client gone")
        finally:
            self.stop_notifying()
            self.deselect()

    async def _take(self, event: Event) -> None:
        if isinstance(event, Command):
            await self._command(event.octets)
        elif isinstance(event, LiteralAnnounced):
            await self._literal(event)
        else:
            self._oversized(event)

    async def _literal(self, announced: LiteralAnnounced) -> None:
        from mailstack.imap.core import append

        if self.state is not State.NOT_AUTHENTICATED:
            started = append.starts(announced.so_far, utf8=self.rev2)
            if started is not None:
                self.tag = started.tag
                await self._guarded(b"APPEND", append.append(self, started, announced), keeps_numbers=False)
                return
        if announced.size <= MAX_SMALL_LITERAL:
            self.framer.take()
            if announced.synchronising:
                self.say(b"+ go ahead\r\n")
            return
        self.check_literal(announced, 2 * self.settings.max_message_size)
        began = self.framer.refuse(synchronising=announced.synchronising)
        if announced.synchronising:
            self._say_too_long(began, f"a literal here has at most {MAX_SMALL_LITERAL} octets")

    def _oversized(self, event: Oversized) -> None:
        self._say_too_long(event.octets, "the command is too long")
        self._mistake()

    def _say_too_long(self, began: bytes, text: str) -> None:
        row = self._table.get(b"".join(began.upper().split(b" ", 2)[1:2]))
        reply = row.too_long if row is not None and self.state in row.states else None
        self.say((reply or replies.bad(text, "LIMIT")).line(_tag_of(began)))

    async def _command(self, octets: bytes) -> None:
        cur = Cursor(octets, utf8=self.rev2)
        self.tag = b"*"
        try:
            self.tag = tag(cur)
            sp(cur)
            start = cur.position
            row = self._row(cur)
            if self.state not in row.states:
                raise cur.expected(f"a command for the {self.state.value} state, not {row.name.decode()},", start)
            arguments = row.arguments(cur)
            if cur.octets[cur.position :].strip(b" "):
                raise cur.expected("the end of the command")
        except BadSyntax as error:
            self._bad(error)
            return
        except BadCharset:
            self.say(replies.no("text is searched in UTF-8", "BADCHARSET (US-ASCII UTF-8)").line(self.tag))
            return
        except Refused as refused:
            self.say(replies.refused(refused.problem).line(self.tag))
            return
        self._errors = 0
        self.resources.counters.count("imap_commands", row.name.decode())
        await self._guarded(row.name, row.act(self, arguments), keeps_numbers=row.keeps_numbers)

    def _row(self, cur: Cursor) -> Row:
        start = cur.position
        name = cur.octets[start:].split(b" ", 1)[0].upper()
        cur.position = start + len(name)
        if name == b"UID":
            sp(cur)
            second = cur.octets[cur.position :].split(b" ", 1)[0].upper()
            name, cur.position = b"UID " + second, cur.position + len(second)
        row = self._table.get(name)
        if row is None:
            raise BadSyntax("a command that is known", start)
        if cur.peek() == b" ":
            cur.position += 1
        return row

    async def _guarded(self, name: bytes, work: object, *, keeps_numbers: bool) -> None:
        """Run a command, tell what happened meanwhile, then say how it ended."""
        try:
            reply: Reply = await work  # type: ignore[misc]  # a coroutine of some row
        except Refused as refused:
            self.log.event("refused", command=name.decode(), reason=str(refused))
            reply = replies.refused(refused.problem)
        except BadSyntax as error:
            self._bad(error)
            return
        except (SessionEnded, FramingLost):
            raise
        except Exception:
            self.log.failure("command failed", command=name.decode())
            self.resources.counters.count("internal_errors", "imap")
            reply = replies.BUG
        await self._catch_up(allow_expunge=not keeps_numbers, adding=name in ADDING)
        if reply is not replies.SAID:
            self.say(reply.line(self.tag))

    async def _catch_up(self, *, allow_expunge: bool, adding: bool) -> None:
        """Tell what others did. `adding`: new messages may be the client's own."""
        if self._view is not None:
            await self._look(self._view)
        if self.notifier is None:
            await self.flush(allow_expunge=allow_expunge)
        else:
            await self.notifier.tell(allow_expunge=allow_expunge, with_items=not adding)

    async def _look(self, view: View) -> None:
        """Take in what others did to the selected mailbox."""
        try:
            await view.mailbox.refresh()
        except Refused as refused:
            if refused.problem is not Problem.NO_SUCH_MAILBOX:
                raise
            view.gone = True
        if view.gone:
            self.leave()
        elif view.new_rights():  # RFC 4314 §5.1.1
            self.say(replies.ok("flags that can be set now", permanent_flags(view)).line(b"*"))

    def leave(self) -> None:
        """The selected mailbox is not there any more."""
        self.say(replies.ok("the mailbox was deleted, renamed or replaced", "CLOSED").line(b"*"))
        self.deselect()

    def _bad(self, error: BadSyntax) -> None:
        where = "" if error.column is None else f" at column {error.column + 1}"
        self.say(replies.bad(f"expected {error.expected}{where}").line(self.tag))
        self._mistake()

    def _mistake(self) -> None:
        self._errors += 1
        if self._errors >= self.settings.max_errors:
            self.say(bye("too many bad commands"))
            self.state = State.LOGOUT


def _tag_of(began: bytes) -> bytes:
    try:
        return tag(Cursor(began))
    except BadSyntax:
        return b"*"


def _table() -> Mapping[bytes, Row]:
    # Late, since the rows' coroutines take a session.
    from mailstack.imap.features import TABLE

    return TABLE
