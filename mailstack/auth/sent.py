"""What accounts have sent: counters for [sending] and the recipients that each account wrote to before, in SQLite
beside the accounts. Implements `ports.SendingLimits`.

Counters are of windows that begin with the first event, so that it can be said when one is over. The file is no
journal: after a crash of the machine the last seconds may be missing. Several processes may have it open."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from mailstack.config.policy import Sending
from mailstack.errors import Problem, Refused
from mailstack.mail.address import Address
from mailstack.ports import AccountName, SendingLimit
from mailstack.store.sqlite_file import SqliteFile

SENT_DATABASE = "sent.sqlite3"
HOUR, DAY = 3600.0, 86400.0
MAX_KNOWN = 50_000
"""Recipients that are remembered of one account, of some 30 octets each; others are new each time."""
MESSAGES, RECIPIENTS, NEW = "messages an hour", "recipients a day", "new recipients a day"
WINDOWS = {MESSAGES: HOUR, RECIPIENTS: DAY, NEW: DAY}
_SCHEMA = """
CREATE TABLE IF NOT EXISTS counts (account TEXT NOT NULL, what TEXT NOT NULL, since REAL NOT NULL,
  number INTEGER NOT NULL, PRIMARY KEY (account, what)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS known (account TEXT NOT NULL, recipient INTEGER NOT NULL,
  PRIMARY KEY (account, recipient)) WITHOUT ROWID;
"""

Run = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Runs a function in a thread, one after the other; what it returns comes back."""


@dataclass(frozen=True, slots=True)
class Count:
    """How much of one limit is used: `limit` 0 is any; `until` in seconds since the epoch, when it is all free."""

    what: str
    number: int
    limit: int
    until: float


class SentDatabase(SqliteFile):
    """The file, made when it is not there. Blocking. Raises: sqlite3.Error, OSError."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, _SCHEMA)

    def take_message(self, account: str, sending: Sending, now: float) -> SendingLimit | None:
        """Count a message, or say which limit is reached."""
        with self._transaction():
            return self._take(account, {MESSAGES: sending.messages_per_hour}, now)

    def take_recipient(self, account: str, address: Address, sending: Sending, now: float) -> SendingLimit | None:
        """Count a recipient, or say which limit is reached; then nothing is counted."""
        recipient = _digest(address)
        with self._transaction():
            known = self._connection.execute(
                "SELECT 1 FROM known WHERE account = ? AND recipient = ?", (account, recipient)
            ).fetchone()
            wanted = {RECIPIENTS: sending.recipients_per_day}
            if not known:
                wanted[NEW] = sending.new_recipients_per_day
            reached = self._take(account, wanted, now)
            if reached is None and not known:
                self._remember(account, recipient)
            return reached

    def _take(self, account: str, wanted: dict[str, int], now: float) -> SendingLimit | None:
        counts = {what: self._count(account, what, now) for what in wanted}
        for what, limit in wanted.items():
            since, number = counts[what]
            if limit and number >= limit:
                return SendingLimit(what, limit, since + WINDOWS[what])
        for what, (since, number) in counts.items():
            self._connection.execute(
                "INSERT OR REPLACE INTO counts (account, what, since, number) VALUES (?, ?, ?, ?)",
                (account, what, since, number + 1),
            )
        return None

    def _count(self, account: str, what: str, now: float) -> tuple[float, int]:
        """When the window of now began, and the events in it."""
        row = self._connection.execute(
            "SELECT since, number FROM counts WHERE account = ? AND what = ?", (account, what)
        ).fetchone()
        if row is None or not 0 <= now - row[0] < WINDOWS[what]:  # a clock that was set back begins anew
            return now, 0
        return float(row[0]), int(row[1])

    def _remember(self, account: str, recipient: int) -> None:
        self._connection.execute(
            "INSERT INTO known (account, recipient) SELECT ?, ? WHERE"
            " (SELECT count(*) FROM (SELECT 1 FROM known WHERE account = ? LIMIT ?)) < ?",
            (account, recipient, account, MAX_KNOWN, MAX_KNOWN),
        )

    def counts(self, account: str, sending: Sending, now: float) -> list[Count]:
        """How much of each limit the account has used."""
        limits = {
            MESSAGES: sending.messages_per_hour,
            RECIPIENTS: sending.recipients_per_day,
            NEW: sending.new_recipients_per_day,
        }
        found = []
        for what, limit in limits.items():
            since, number = self._count(account, what, now)
            found.append(Count(what, number, limit, since + WINDOWS[what] if number else now))
        return found

    def take_known(self, rows: Sequence[tuple[str, int]]) -> int:
        """What `known_in` has found elsewhere. Returns how many are new."""
        before = self._connection.total_changes
        with self._transaction():
            self._connection.executemany("INSERT OR IGNORE INTO known (account, recipient) VALUES (?, ?)", rows)
        return self._connection.total_changes - before

    def reset(self, account: str) -> None:
        """All counters begin anew; recipients stay known."""
        self._connection.execute("DELETE FROM counts WHERE account = ?", (account,))


def known_in(saved: Path) -> Sequence[tuple[str, int]]:
    """The accounts and the recipients that they know in a file that nobody writes to. Raises: sqlite3.Error."""
    other = sqlite3.connect(f"{saved.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
    try:
        return other.execute("SELECT account, recipient FROM known").fetchall()
    finally:
        other.close()


class SentMail:
    """The limits of a running server. `sending` may be replaced."""

    def __init__(self, database: SentDatabase, run: Run, sending: Sending) -> None:
        self._database = database
        self._run = run
        self.sending = sending

    async def message(self, account: AccountName, now: float) -> SendingLimit | None:
        sending = self.sending
        if not sending.messages_per_hour or self._is_unlimited(account):
            return None
        return await self._ask(lambda: self._database.take_message(account, sending, now))

    async def recipient(self, account: AccountName, address: Address, now: float) -> SendingLimit | None:
        sending = self.sending
        if not (sending.recipients_per_day or sending.new_recipients_per_day) or self._is_unlimited(account):
            return None
        return await self._ask(lambda: self._database.take_recipient(account, address, sending, now))

    def _is_unlimited(self, account: AccountName) -> bool:
        return account in self.sending.unlimited

    async def _ask(self, fn: Callable[[], SendingLimit | None]) -> SendingLimit | None:
        try:
            found: SendingLimit | None = await self._run(fn)
        except (sqlite3.Error, OSError) as error:
            raise Refused(Problem.STORE_UNAVAILABLE, f"{SENT_DATABASE}: {error}") from error
        return found


def _digest(address: Address) -> int:
    # Who reads the file need not see to whom somebody wrote.
    octets = str(address).lower().encode("utf-8", "surrogateescape")
    return int.from_bytes(blake2b(octets, digest_size=8).digest(), "big", signed=True)
