"""One IMAP connection: octets to commands, commands to rows, untagged responses before tagged ones."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

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
from mailstack.imap.comparator import Comparator
from mailstack.imap.ext.rfc9738_messagelimit import stopped
from mailstack.imap.looks import Looks
from mailstack.imap.registry import Row, State, StreamedRow
from mailstack.imap.replies import Reply, bye
from mailstack.imap.settings import ImapResources, ImapSettings
from mailstack.imap.view import View, permanent_flags
from mailstack.imap.wire import framing
from mailstack.imap.wire.append_grammar import Segment
from mailstack.imap.wire.cursor import Cursor, sp, tag, tag_of
from mailstack.imap.wire.framing import MAX_COMMAND, MAX_LINE, Command, Event, Framer, LiteralAnnounced
from mailstack.imap.wire.search_grammar import BadCharset
from mailstack.ports import AccountName, AccountStore, Connection

if TYPE_CHECKING:
    from mailstack.imap.notifier import Notifier

MAX_SMALL_LITERAL = 64 * 1024
"""Octets of a literal that becomes part of its command: names, passwords, search texts."""
ADDING = frozenset({b"APPEND", b"REPLACE", b"UID REPLACE", b"COPY", b"UID COPY", b"MOVE", b"UID MOVE"})
"""Commands that add messages."""
BULK = 64 * 1024
"""Octets of output after which the peer is let read them and others have their turn."""
TOO_LONG = f"the command is too long: a line has at most {MAX_LINE} octets, all of it {MAX_COMMAND}"
COMMANDS_A_TURN = 100
"""Commands of one client that are answered before others have their turn: some milliseconds."""


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
        self.condstore = False
        """Whether the client is to be told mod-sequences, since it asked for any (RFC 7162 §3.1)."""
        self.comparator = Comparator()
        """By what text is compared (RFC 5255 §4.2)."""
        self.client_name = ""
        """What the client calls itself by ID."""
        self.login_failures = 0
        self.idling = False
        self.compressed = False
        self.notifier: Notifier | None = None
        """Tells what the client asked to be told unasked, if it did."""
        self.framer = Framer(framing.LITERAL_MINUS if settings.literal_minus else None)
        self._store: AccountStore | None = None
        self._view: View | None = None
        self._bulk = 0
        self._commands = 0
        self._errors = 0
        self.tag = b"*"
        self.uses_numbers = False
        """Whether this command has message sequence numbers in it though it does not keep them: no EXPUNGE now."""
        self.told = 0.0
        """When the command began, or its client was last told that it goes on (RFC 9585)."""
        self.stopped_at = 0
        """The lowest UID that the command got to, if it may not be about more messages (RFC 9738)."""
        self._looks = Looks()
        from mailstack.imap.features import GUARDS, TABLE  # late, since the rows' coroutines take a session

        self._table, self._guards = TABLE, GUARDS

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
    def qresync(self) -> bool:
        """Whether the client enabled QRESYNC (RFC 7162 §3.2.3)."""
        return "QRESYNC" in self.enabled

    @property
    def utf8(self) -> bool:
        """Whether the client takes and gives UTF-8 in strings and mailbox names (RFC 6855 §3, RFC 9051 §5.1)."""
        return self.rev2 or "UTF8=ACCEPT" in self.enabled

    @property
    def uid_only(self) -> bool:
        """Whether the client wants to hear of no message sequence number (RFC 9586)."""
        return "UIDONLY" in self.enabled

    @property
    def may_log_in(self) -> bool:
        """Whether a password may come on this connection now."""
        return self.settings.allow_plaintext_auth or self.connection.tls is not None

    def say(self, octets: bytes) -> None:
        """Queue an untagged response or a continuation."""
        self.connection.write(octets)
        self._bulk += len(octets)

    async def say_much(self, octets: bytes) -> None:
        """As `say`, for responses of which there may be many."""
        self.say(octets)
        if self._bulk >= BULK:
            await self._give_turn()

    async def _next(self) -> Event:
        """As `event`, between commands."""
        await self._share()
        while (event := self.framer.next_event()) is None:
            if self.notifier is not None:
                await self.notifier.tell(allow_expunge=not self.notifier.delayed)
            self.framer.feed(await self.connection.receive())
        return event

    async def event(self, *, in_flight: bool = False) -> Event:
        """The next thing that the client says; `in_flight` says that a shutdown should let it come.
        Raises: SessionEnded, FramingLost."""
        await self._share()
        while (event := self.framer.next_event()) is None:
            self.framer.feed(await self.connection.receive(in_flight=in_flight))
        return event

    async def _share(self) -> None:
        """Give a turn when it is due."""
        self._commands += 1
        if self._bulk >= BULK or self._commands >= COMMANDS_A_TURN:
            await self._give_turn()

    async def _give_turn(self) -> None:
        """Others are served now, and a client that does not read what it asked for is waited for."""
        self._bulk = self._commands = 0
        await self.connection.drain()

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
            event = await self.event(in_flight=True)

    def check_literal(self, announced: LiteralAnnounced, limit: int) -> None:
        """A client that waits for leave is told no; one that does not would have to be read to the end.
        Raises: FramingLost."""
        if not announced.synchronising and announced.size > limit:
            raise framing.LiteralTooBig(f"a literal of {announced.size} octets, above any limit")

    async def logged_in(self, account: AccountName) -> None:
        """The credentials were right."""
        self._store = await self.resources.store.account(account)
        self.account = account
        self.state = State.AUTHENTICATED
        self.connection.timeout = self.settings.timeout

    def logged_out(self) -> None:
        """As after the greeting, but for TLS and the client's name (RFC 8437 §4.1): what an extension keeps for
        the login must be reset here."""
        self.stop_notifying()
        self.deselect()
        self._store = None
        self.account = AccountName("")
        self.enabled.clear()
        self.condstore = False
        self.comparator = Comparator()
        self.state = State.NOT_AUTHENTICATED
        self.connection.timeout = self.settings.login_timeout

    def select(self, view: View) -> None:
        """The client works on this mailbox now."""
        self._view = view
        self.state = State.SELECTED
        if self.notifier is not None:
            self.notifier.begin(view)

    @contextmanager
    def looking_at(self, view: View) -> Iterator[None]:
        """Let what works on the selected mailbox work on another one, within one command."""
        selected, self._view = self._view, view
        try:
            yield
        finally:
            self._view = selected

    def deselect(self) -> None:
        """The client works on no mailbox."""
        view, self._view = self._view, None
        self._looks.forget()
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
            for response in view.flush(
                allow_expunge=allow_expunge, rev2=self.rev2, condstore=self.condstore, qresync=self.qresync
            ):
                self.say(response)
        if watchers and (touched := view.touched()):
            for watcher in watchers:
                await watcher.changed(self, touched)

    def stop_notifying(self) -> None:
        """Nothing is told any more that no command asks for."""
        notifier, self.notifier = self.notifier, None
        if notifier is not None:
            notifier.close()

    def modseq_code(self) -> str:
        """HIGHESTMODSEQ, when it has to be told after `flush`; "" otherwise."""
        modseq = self._view.modseq_to_tell() if self._view is not None else 0
        return f"HIGHESTMODSEQ {modseq}" if modseq and self.condstore else ""

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
            self.say(bye(f"cannot go on: {lost}", lost.code))
        except ConnectionClosed:
            self.log.event("client gone")
        finally:
            self.stop_notifying()
            self.deselect()

    async def _take(self, event: Event) -> None:
        await self.still_open()
        if isinstance(event, Command):
            await self._command(event.octets)
        elif isinstance(event, LiteralAnnounced):
            await self._literal(event)
        else:
            self._say_too_long(event.octets, TOO_LONG, replies.UNASKED if event.unasked else None)
            self._mistake()

    async def _literal(self, announced: LiteralAnnounced) -> None:
        segment = Segment(Cursor(announced.so_far, utf8=self.utf8), announced)
        begun = self._streamed(segment.cur)
        if begun is not None:
            row, arguments = begun
            try:
                self._admit(row)
            except replies.Declined as declined:
                await self.throw_away(announced)
                self.say(declined.reply.line(self.tag))
                return
            self._errors = 0
            await self._guarded(row.name, row.act(self, arguments, segment), keeps_numbers=row.keeps_numbers)
            return
        if announced.size <= MAX_SMALL_LITERAL:
            self.take_into_command(announced)
            return
        self.check_literal(announced, 2 * self.settings.max_message_size)
        began = self.framer.refuse(synchronising=announced.synchronising)
        if announced.synchronising:
            self._say_too_long(began, f"a literal here has at most {MAX_SMALL_LITERAL} octets")

    def take_into_command(self, announced: LiteralAnnounced) -> None:
        """The literal is a part of its command."""
        self.framer.take()
        if announced.synchronising:
            self.say(b"+ go ahead\r\n")

    def _streamed(self, cur: Cursor) -> tuple[StreamedRow, Any] | None:
        """The command that streams its literals and has begun so far that one may come; None if there is none, so
        that the literal belongs to what it begins with, or to a command that is none."""
        try:
            self.tag = tag(cur)
            sp(cur)
            row = self._row(cur)
            if isinstance(row, StreamedRow) and self.state in row.states:
                return row, row.arguments(cur)
        except BadSyntax:
            pass
        return None

    def _say_too_long(self, began: bytes, text: str, reply: Reply | None = None) -> None:
        row = self._table.get(b"".join(began.upper().split(b" ", 2)[1:2]))
        reply = reply or (row.too_long if row is not None and self.state in row.states else None)
        self.say((reply or replies.bad(text, "LIMIT")).line(tag_of(began)))

    async def _command(self, octets: bytes) -> None:
        cur = Cursor(octets, utf8=self.utf8, accepts="UTF8=ACCEPT" in self.enabled)
        self.tag = b"*"
        try:
            self.tag = tag(cur)
            sp(cur)
            start = cur.position
            row = self._row(cur)
            if self.state not in row.states:
                raise cur.expected(f"a command for the {self.state.value} state, not {row.name.decode()},", start)
            self._admit(row)
            work = self._whole(row, cur)
        except BadSyntax as error:
            self._bad(error)
            return
        except replies.Declined as declined:
            self.say(declined.reply.line(self.tag))
            return
        except BadCharset:
            self.say(replies.no("text is searched in UTF-8", "BADCHARSET (US-ASCII UTF-8)").line(self.tag))
            return
        except Refused as refused:
            self.say(replies.refused(refused.problem).line(self.tag))
            return
        self._errors = 0
        await self._guarded(row.name, work, keeps_numbers=row.keeps_numbers)

    def _admit(self, row: Row | StreamedRow) -> None:
        """Raises: Declined, if a feature has something against the command."""
        for guard in self._guards:
            guard(self, row.name)

    def _whole(self, row: Row | StreamedRow, cur: Cursor) -> Awaitable[Reply]:
        """What a command does that has come to its end. Raises: BadSyntax."""
        if isinstance(row, StreamedRow):
            return row.act(self, row.arguments(cur), Segment(cur, None))
        arguments = row.arguments(cur)
        if cur.octets[cur.position :].strip(b" "):
            raise cur.expected("the end of the command")
        return row.act(self, arguments)

    def _row(self, cur: Cursor) -> Row | StreamedRow:
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

    async def _guarded(self, name: bytes, work: Awaitable[Reply], *, keeps_numbers: bool) -> None:
        """Run a command, tell what happened meanwhile, then say how it ended."""
        self.resources.counters.count("imap_commands", name.decode())
        self.told = self.resources.clock.now()
        try:
            reply = await work
        except Refused as refused:
            self.log.event("refused", command=name.decode(), reason=str(refused))
            reply = replies.refused(refused.problem)
        except replies.Declined as declined:
            reply = declined.reply
        except BadSyntax as error:
            self.uses_numbers = False
            self._bad(error)
            return
        except (SessionEnded, FramingLost):
            raise
        except Exception:
            self.log.failure("command failed", command=name.decode())
            self.resources.counters.count("internal_errors", "imap")
            reply = replies.BUG
        if self.stopped_at:
            reply = stopped(self, reply)
        keeps_numbers, self.uses_numbers = keeps_numbers or self.uses_numbers, False
        await self._catch_up(allow_expunge=not keeps_numbers, adding=name in ADDING)
        code = self.modseq_code()
        if code and reply.status == b"OK" and not reply.code and reply is not replies.SAID:
            reply = replace(reply, code=code)
        elif code:
            self.say(replies.ok("the highest mod-sequence", code).line(b"*"))
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

    async def still_open(self) -> None:
        """Leave the selected mailbox if it is gone, or if it is another's who has closed it to the user."""
        view = self._view
        if view is not None and (view.gone or view.mailbox.is_shared):
            await self._look(view)

    async def _look(self, view: View) -> None:
        """Take in what others did to the selected mailbox."""
        if not self._looks.due(view, self.framer.fed, self.resources.clock.now()):
            return
        try:
            await view.mailbox.refresh()
        except Refused as refused:
            view.gone = view.gone or refused.problem is Problem.NO_SUCH_MAILBOX
            if not view.gone:
                self.log.warning("mailbox not refreshed", mailbox=view.mailbox.name, reason=str(refused))
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
