"""Addresses that mail is not sent to any more, because it failed there for good: in SQLite beside the accounts, all SQL
about them here, in a portable form.

A code that says that there is no such address puts it on the list at once; other lasting troubles of a mailbox or its
system do after some of them. What was refused for what the message is (its size, its content, policy) says nothing
about the address. A delivery takes it off, and so does time. Several processes may have the file open."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mailstack.config.returns import Reports
from mailstack.errors import Problem, Refused
from mailstack.handover import Outcome, Verdict
from mailstack.mail import trace
from mailstack.mail.address import Address, ascii_domain
from mailstack.store.sqlite_file import SqliteFile

SUPPRESSED_DATABASE = "suppressed.sqlite3"
MAX_REASON = 500
"""Characters of what another server said that are kept."""
AT_ONCE = 400
"""Addresses in one question to SQLite, which takes 999 values at least."""
DAY = 86400.0
NO_SUCH_ADDRESS = frozenset({"5.1.1", "5.1.3", "5.1.6", "5.1.10"})
"""No such mailbox, no address at all, moved without a new address, a domain that takes no mail."""
_ABOUT_THE_ADDRESS = ("1", "2", "4")
"""Subjects of codes: addressing, mailbox, network and routing (RFC 3463 §3)."""
_ABOUT_THE_MESSAGE = frozenset({"1.7", "1.8", "1.9", "2.3", "2.4", "4.6", "4.7"})
"""Of those, what the sender, the message or its age has to do with."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS suppressed (address TEXT PRIMARY KEY, status TEXT NOT NULL, reason TEXT NOT NULL,
  since REAL NOT NULL, failures INTEGER NOT NULL, listed INTEGER NOT NULL) WITHOUT ROWID;
"""
_COLUMNS = "address, status, reason, since, failures"

Run = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Runs a function in a thread, one after the other; what it returns comes back."""


@dataclass(frozen=True, slots=True)
class Suppressed:
    """One address on the list: the code and the words of its last failure, when that was, in seconds since the epoch,
    and how many there were; 0 if somebody put it there."""

    address: str
    status: str
    reason: str
    since: float
    failures: int

    def outcome(self) -> Outcome:
        """Of a recipient who is not tried for it."""
        when = trace.date_time(self.since)
        why = f"mail to it came back: {self.reason}" if self.failures else f"put on the list: {self.reason}"
        return Outcome(Verdict.NEVER, self.status, f"not tried, since {when} {why}", remote=False)


class SuppressionDatabase(SqliteFile):
    """The file, made when it is not there. Blocking. Raises: sqlite3.Error, OSError."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, _SCHEMA)

    def among(self, addresses: Sequence[Address], now: float, days: int) -> dict[Address, Suppressed]:
        """Those of the addresses that are on the list, and not for more than so many days; 0: any."""
        names = {address: _name(address) for address in addresses}
        found: dict[str, Suppressed] = {}
        wanted = list(dict.fromkeys(names.values()))
        for start in range(0, len(wanted), AT_ONCE):
            some = wanted[start : start + AT_ONCE]
            rows = self._connection.execute(
                f"SELECT {_COLUMNS} FROM suppressed WHERE listed = 1 AND since > ? AND address IN"
                f" ({', '.join('?' * len(some))})",
                (now - days * DAY if days else -1.0, *some),
            )
            found |= {row[0]: Suppressed(*row) for row in rows}
        return {address: found[name] for address, name in names.items() if name in found}

    def failed(self, address: Address, outcome: Outcome, now: float, settings: Reports) -> bool:
        """Note a lasting failure; whether the address is on the list now."""
        with self._transaction():
            row = self._connection.execute(
                "SELECT since, failures, listed FROM suppressed WHERE address = ?", (_name(address),)
            ).fetchone()
            old = row is not None and settings.suppress_days and row[0] <= now - settings.suppress_days * DAY
            failures = 1 if row is None or old else row[1] + 1
            listed = (
                outcome.status in NO_SUCH_ADDRESS
                or failures >= settings.suppress_after
                or bool(row is not None and not old and row[2])
            )
            self._put(Suppressed(_name(address), outcome.status, outcome.text[:MAX_REASON], now, failures), listed)
        return listed

    def delivered(self, addresses: Sequence[Address]) -> None:
        """Mail came through: whatever was noted of these is forgotten."""
        with self._transaction():
            self._connection.executemany(
                "DELETE FROM suppressed WHERE address = ?", [(_name(address),) for address in addresses]
            )

    def add(self, address: Address, reason: str, now: float) -> None:
        """Put an address on the list, as somebody wants it."""
        self._put(Suppressed(_name(address), "5.1.0", reason, now, 0), True)

    def clear(self, address: Address | None = None) -> int:
        """Take an address off the list and forget its failures, or do it with all; returns how many were listed."""
        with self._transaction():
            condition, values = ("WHERE address = ?", (_name(address),)) if address else ("WHERE 1 = 1", ())
            row = self._connection.execute(
                f"SELECT count(*) FROM suppressed {condition} AND listed = 1", values
            ).fetchone()
            self._connection.execute(f"DELETE FROM suppressed {condition}", values)
        return int(row[0])

    def all(self) -> Iterator[Suppressed]:
        """The list by address."""
        for row in self._connection.execute(f"SELECT {_COLUMNS} FROM suppressed WHERE listed = 1 ORDER BY address"):
            yield Suppressed(*row)

    def expire(self, now: float, days: int) -> int:
        """Forget what was noted more than so many days ago; returns how much that was."""
        done = self._connection.execute("DELETE FROM suppressed WHERE since <= ?", (now - days * DAY,))
        return done.rowcount

    def _put(self, entry: Suppressed, listed: bool) -> None:
        self._connection.execute(
            f"INSERT OR REPLACE INTO suppressed ({_COLUMNS}, listed) VALUES (?, ?, ?, ?, ?, ?)",
            (entry.address, entry.status, entry.reason, entry.since, entry.failures, int(listed)),
        )


class SuppressionList:
    """The list of a running server, for the queue. `settings` may be replaced; without `suppress` in them nothing is
    asked and nothing noted. Every method raises Refused(STORE_UNAVAILABLE)."""

    def __init__(self, database: SuppressionDatabase, run: Run, settings: Reports) -> None:
        self._database = database
        self._run = run
        self.settings = settings

    async def suppressed(self, addresses: Sequence[Address], now: float) -> dict[Address, Suppressed]:
        """Those that are not to be tried."""
        settings = self.settings
        if not settings.suppress:
            return {}
        found: dict[Address, Suppressed] = await self._ask(
            lambda: self._database.among(addresses, now, settings.suppress_days)
        )
        return found

    async def tried(self, outcomes: Sequence[tuple[Address, Outcome]], now: float) -> None:
        """What came of recipients that were tried: all that are done, or given up."""
        settings = self.settings
        done = [address for address, outcome in outcomes if outcome.verdict is Verdict.DONE]
        failed = [(address, outcome) for address, outcome in outcomes if counts(outcome)]
        if not settings.suppress or not (done or failed):
            return

        def note() -> None:
            if done:
                self._database.delivered(done)
            for address, outcome in failed:
                self._database.failed(address, outcome, now, settings)

        await self._ask(note)

    async def _ask(self, fn: Callable[[], Any]) -> Any:
        try:
            return await self._run(fn)
        except (sqlite3.Error, OSError) as error:
            raise Refused(Problem.STORE_UNAVAILABLE, f"{SUPPRESSED_DATABASE}: {error}") from error


def counts(outcome: Outcome) -> bool:
    """Whether this says something about the address, for good."""
    _, _, rest = outcome.status.partition(".")
    return (
        outcome.verdict is Verdict.NEVER
        and rest not in _ABOUT_THE_MESSAGE
        and (rest.partition(".")[0] in _ABOUT_THE_ADDRESS or (rest == "0.0" and outcome.remote))
    )


def _name(address: Address) -> str:
    return str(Address(address.local_part.lower(), ascii_domain(address.domain)))
