"""One POP3 connection: AUTHORIZATION, TRANSACTION, UPDATE (RFC 1939 §3)."""

from __future__ import annotations

from collections.abc import Awaitable

from mailstack.auth.login import Attempt
from mailstack.config.sections import Utf8Headers
from mailstack.errors import (
    BadSyntax,
    ConnectionClosed,
    FramingLost,
    IdleTimeout,
    Refused,
    SessionEnded,
    ShuttingDown,
)  # fmt: skip
from mailstack.pop3 import replies
from mailstack.pop3.core import COMMANDS
from mailstack.pop3.ext import EXTENSIONS
from mailstack.pop3.maildrop import Maildrop
from mailstack.pop3.registry import Command, State
from mailstack.pop3.settings import Pop3Resources, Pop3Settings
from mailstack.pop3.wire.framing import Framer, asked_of
from mailstack.ports import AccountName, Connection

MAX_UNSENT = 256 * 1024
"""Octets of replies that are written before we make sure that the client reads them."""
TABLE: dict[str, Command] = {
    row.keyword: row for row in (*COMMANDS, *(row for extension in EXTENSIONS for row in extension.commands))
}
"""All commands, by keyword in upper case."""


class Pop3Session:
    """Serves one connection until it is to be closed."""

    def __init__(self, connection: Connection, resources: Pop3Resources, settings: Pop3Settings) -> None:
        self.connection = connection
        self.resources = resources
        self.settings = settings
        self.log = resources.log.bind(conn=connection.id)
        self.state = State.AUTHORIZATION
        self.user = ""
        self.account: AccountName | None = None
        """Whose maildrop it is, after login."""
        self.utf8 = False
        """Whether the client has said UTF8 (RFC 6856)."""
        self.maildrop = Maildrop()
        self._framer = Framer()
        self._unsent = 0
        self._failures = 0
        self._errors = 0

    async def run(self) -> None:
        """Greet, and answer commands until the connection is to be closed."""
        self.connection.timeout = self.settings.login_timeout
        self.say(replies.ok(f"{self.settings.hostname} mailstack POP3 ready"))
        try:
            while self.state is not State.ENDED:
                await self._answer(await self.line())
        except ShuttingDown:
            self.say(replies.err("the server is stopping; nothing was deleted", "SYS/TEMP"))
        except IdleTimeout:
            self.say(replies.err("idle for too long; nothing was deleted", "SYS/TEMP"))
        except FramingLost as lost:
            self.say(replies.err(str(lost)))
        except ConnectionClosed:
            self.log.event("client gone", deletions_dropped=len(self.maildrop.deleted))
        finally:
            self.maildrop.close()

    def say(self, reply: bytes) -> None:
        """Queue a reply."""
        self.connection.write(reply)
        self._unsent += len(reply)

    async def line(self) -> bytes:
        """The next line. Raises: SessionEnded, FramingLost."""
        if self._unsent > MAX_UNSENT:  # of pipelined commands
            await self.connection.drain()
            self._unsent = 0
        while (line := self._framer.next_line()) is None:
            self._unsent = 0
            self._framer.feed(await self.connection.receive())
        return line

    # --- what commands ask

    @property
    def capabilities(self) -> list[str]:
        """The lines of CAPA, as they are now."""
        return [line for extension in EXTENSIONS if (line := extension.capability(self))]

    @property
    def ascii_only(self) -> bool:
        """Whether messages with UTF-8 in their header are refused."""
        return not self.utf8 and self.settings.utf8_headers is Utf8Headers.REFUSE

    @property
    def may_log_in(self) -> bool:
        """Whether the connection is private enough for a password."""
        return self.settings.allow_plaintext_auth or self.connection.tls is not None

    def demand_tls(self) -> bool:
        """Say so, when a password would come in plain text."""
        if self.may_log_in:
            return False
        self.say(replies.err("use STLS first: no password without TLS", "SYS/PERM"))
        return True

    # --- changes of state

    async def start_tls(self) -> None:
        """STLS was answered: nothing that came before is believed (RFC 2595 §4)."""
        await self.connection.start_tls()
        self._framer.clear()
        self.user = ""

    async def log_in(self, work: Awaitable[AccountName], attempt: Attempt) -> None:
        """Await whose account it is, open INBOX, and answer."""
        counters, settings = self.resources.counters, self.settings
        try:
            account = await work
        except Refused as refused:
            attempt.failed(refused, self.log, counters)
            self._not_logged_in(replies.refused(refused.problem))
            return
        if not self.resources.logins.take(account, self.resources.clock.now(), settings.login_delay):
            self.log.event("login too soon", account=account, peer=attempt.peer.host, delay=settings.login_delay)
            self._not_logged_in(replies.TOO_SOON)
            return
        try:
            await self._open(account)
        except BaseException:
            self.resources.logins.give_back(account)
            raise
        attempt.succeeded(account, self.log, counters, tls=self.connection.tls is not None)
        self.say(replies.ok(f"{len(self.maildrop.uids)} messages"))

    async def _open(self, account: AccountName) -> None:
        store = await self.resources.store.account(account)
        self.maildrop.open(await store.open("INBOX", self.maildrop))
        await self.maildrop.opened.measure(self.maildrop.uids, dates=False)
        self.state, self.account = State.TRANSACTION, account
        self.connection.timeout = self.settings.timeout

    def _not_logged_in(self, reply: bytes) -> None:
        self.say(reply)
        self._failures += 1
        if self._failures >= self.settings.max_login_failures:
            self.state = State.ENDED

    # --- commands

    async def _answer(self, line: bytes) -> None:
        keyword, argument = asked_of(line)
        row = TABLE.get(keyword)
        self.resources.counters.count("pop3_commands", keyword if row else "unknown")
        if row is None or self.state not in row.states:
            self._mistake(f"unknown command {keyword[:20]!a}" if row is None else f"not {self.state.value}")
            return
        try:
            await row.run(self, row.parse(argument))
            self._errors = 0
        except BadSyntax as bad:
            self._mistake(f"expected {bad.expected}")
        except Refused as refused:
            self.log.event("refused", command=keyword, reason=str(refused))
            self.say(replies.refused(refused.problem))
        except (SessionEnded, FramingLost):
            raise
        except Exception:
            self.log.failure("command failed", command=keyword)
            self.resources.counters.count("internal_errors", "pop3")
            self.say(replies.BUG)

    def _mistake(self, text: str) -> None:
        self.say(replies.err(text))
        self._errors += 1
        if self._errors >= self.settings.max_errors:
            self.state = State.ENDED
