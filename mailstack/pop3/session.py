"""One POP3 connection: AUTHORIZATION, TRANSACTION, UPDATE (RFC 1939 §3)."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from enum import Enum

from mailstack.auth.login import Attempt
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
from mailstack.pop3 import replies
from mailstack.pop3.settings import Pop3Resources, Pop3Settings
from mailstack.pop3.wire.framing import Framer, command
from mailstack.ports import AccountName, Change, Connection, Mailbox


class State(Enum):
    """RFC 1939 §3; UPDATE is what QUIT does."""

    AUTHORIZATION = "before login"
    TRANSACTION = "after login"
    ENDED = "closing"


class Maildrop:
    """INBOX as it was at login: message numbers do not change while the session lasts."""

    def __init__(self) -> None:
        self.mailbox: Mailbox | None = None
        self.uids: Sequence[int] = ()
        self.deleted: set[int] = set()

    def changed(self, change: Change) -> None:
        """What others do meanwhile is seen at the next login; a message that is gone is refused
        when it is asked for."""

    def open(self, mailbox: Mailbox) -> None:
        self.mailbox = mailbox
        self.uids = tuple(mailbox.uids)

    @property
    def opened(self) -> Mailbox:
        """The mailbox; there is one in TRANSACTION."""
        assert self.mailbox is not None
        return self.mailbox

    def uid(self, number: int) -> int:
        """Raises: Refused(NO_SUCH_MESSAGE) for a number out of range or a message marked deleted."""
        if not 1 <= number <= len(self.uids):
            raise Refused(Problem.NO_SUCH_MESSAGE, f"{number} of {len(self.uids)}")
        uid = self.uids[number - 1]
        if uid in self.deleted:
            raise Refused(Problem.NO_SUCH_MESSAGE, f"{number} is marked deleted")
        return uid

    def present(self) -> list[tuple[int, int]]:
        """(message number, UID) of all that are not marked deleted."""
        return [(number, uid) for number, uid in enumerate(self.uids, 1) if uid not in self.deleted]

    def size(self, uid: int) -> int:
        """Octets; 0 for a message that is gone."""
        return self.opened.size(uid) or 0

    def close(self) -> None:
        mailbox, self.mailbox = self.mailbox, None
        if mailbox is not None:
            mailbox.close(self)


class Pop3Session:
    """Serves one connection until it is to be closed."""

    def __init__(self, connection: Connection, resources: Pop3Resources, settings: Pop3Settings) -> None:
        self.connection = connection
        self.resources = resources
        self.settings = settings
        self.log = resources.log.bind(conn=connection.id)
        self.state = State.AUTHORIZATION
        self.user = ""
        self.maildrop = Maildrop()
        self._framer = Framer()
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

    async def line(self) -> bytes:
        """The next line. Raises: SessionEnded, FramingLost."""
        while (line := self._framer.next_line()) is None:
            self._framer.feed(await self.connection.receive())
        return line

    async def start_tls(self) -> None:
        """STLS was answered: nothing that came before is believed (RFC 2595 §4)."""
        await self.connection.start_tls()
        self._framer.clear()
        self.user = ""

    async def log_in(self, work: Awaitable[AccountName], attempt: Attempt) -> None:
        """Await whose account it is, open INBOX, and answer."""
        counters = self.resources.counters
        try:
            account = await work
        except Refused as refused:
            attempt.failed(refused, self.log, counters)
            self.say(replies.refused(refused.problem))
            self._failures += 1
            if self._failures >= self.settings.max_login_failures:
                self.state = State.ENDED
            return
        store = await self.resources.store.account(account)
        self.maildrop.open(await store.open("INBOX", self.maildrop))
        await self.maildrop.opened.measure(self.maildrop.uids, dates=False)
        self.state = State.TRANSACTION
        self.connection.timeout = self.settings.timeout
        attempt.succeeded(account, self.log, counters, tls=self.connection.tls is not None)
        self.say(replies.ok(f"{len(self.maildrop.uids)} messages"))

    async def _answer(self, line: bytes) -> None:
        from mailstack.pop3.commands import TABLE

        asked = command(line)
        row = TABLE.get(asked.keyword)
        self.resources.counters.count("pop3_commands", asked.keyword if row else "unknown")
        if row is None or self.state not in row.states:
            self._mistake(f"unknown command {asked.keyword[:20]!a}" if row is None else f"not {self.state.value}")
            return
        try:
            await row.act(self, row.argument(asked.argument))
            self._errors = 0
        except BadSyntax as bad:
            self._mistake(f"expected {bad.expected}")
        except Refused as refused:
            self.log.event("refused", command=asked.keyword, reason=str(refused))
            self.say(replies.refused(refused.problem))
        except (SessionEnded, FramingLost):
            raise
        except Exception:
            self.log.failure("command failed", command=asked.keyword)
            self.resources.counters.count("internal_errors", "pop3")
            self.say(replies.BUG)

    def _mistake(self, text: str) -> None:
        self.say(replies.err(text))
        self._errors += 1
        if self._errors >= self.settings.max_errors:
            self.state = State.ENDED
