"""What is remembered of sessions: counts for reports of TLS (RFC 8460), and hosts where TLS has worked. Kept in
memory for some seconds, then written together."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from mailstack.net.hop import Target
from mailstack.ports import Counters, Log
from mailstack.relay.tls_database import DAYS, Count, Session, TlsDatabase
from mailstack.relay.tls_policy import Applied

WRITE_AFTER = 10.0
"""Seconds that something is in memory only."""
MAX_UNWRITTEN = 5000
"""Different counts, and hosts, in memory; what comes then is not counted."""
MAX_LINES = 8 * 1024
"""Characters of a policy that are quoted in reports."""
MAX_REASON = 500
DAY = 86400.0

Run = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Runs a function in a thread, one after the other; what it returns comes back."""


class Notes(Protocol):
    """Takes down what comes of sessions."""

    def count(self, applied: Applied, failed: str = "", target: Target | None = None, reason: str = "") -> None:
        """One session; `failed` is a word of RFC 8460 §4.3, "" if TLS was as it has to be."""

    async def level(self, host: str) -> int:
        """How well TLS has worked there before: 0, 1 with any certificate, 2 with a verified one."""

    def worked(self, host: str, level: int) -> None:
        """So well TLS works there now."""


class TlsNotes:
    """Implements `Notes`, over a database that `run` runs. What worked `memory` seconds ago is forgotten."""

    def __init__(
        self,
        reactor: Any,
        database: TlsDatabase,
        run: Run,
        now: Callable[[], float],
        log: Log,
        counters: Counters,
        memory: float = DAYS * DAY,
    ) -> None:
        self._reactor, self._database, self._run = reactor, database, run
        self._now, self._log, self._counters = now, log, counters
        self._memory = memory
        self._counts: dict[Session, list[Any]] = {}
        self._hosts: dict[str, tuple[int, float]] = {}
        self._timer: Any = None
        self._day = ""

    def count(self, applied: Applied, failed: str = "", target: Target | None = None, reason: str = "") -> None:
        day = datetime.fromtimestamp(self._now(), UTC).strftime("%Y-%m-%d")
        where = (target.source, target.host, target.address) if failed and target is not None else ("", "", "")
        lines = "\n".join(applied.lines)[:MAX_LINES]
        session = Session(day, applied.domain, applied.kind, applied.policy_domain, lines, failed, *where)
        known = self._counts.get(session)
        if known is not None:
            known[0] += 1
        elif len(self._counts) < MAX_UNWRITTEN:
            self._counts[session] = [1, reason[:MAX_REASON]]
        else:
            self._counters.count("outbound_tls_uncounted")
        self._counters.count("outbound_tls_sessions", failed or "good")
        self._soon()

    async def level(self, host: str) -> int:
        level, seen = self._hosts.get(host) or await self._ask(lambda: self._database.host(host)) or (0, 0.0)
        return level if seen > self._now() - self._memory else 0

    def worked(self, host: str, level: int) -> None:
        if host in self._hosts or len(self._hosts) < MAX_UNWRITTEN:
            self._hosts[host] = (level, self._now())
            self._soon()

    async def flush(self) -> None:
        """Write what is in memory only."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        counts = [Count(session, number, reason) for session, (number, reason) in self._counts.items()]
        hosts = [(name, level, seen) for name, (level, seen) in self._hosts.items()]
        self._counts, self._hosts = {}, {}
        if counts or hosts:
            await self._ask(lambda: self._write(counts, hosts))

    # --- inside

    def _write(self, counts: list[Count], hosts: list[tuple[str, int, float]]) -> None:
        if hosts:
            self._database.put_hosts(hosts)
        if counts and self._database.add_counts(counts):
            self._log.warning("report of TLS incomplete: too many different sessions today")
        today = datetime.fromtimestamp(self._now() - DAYS * DAY, UTC).strftime("%Y-%m-%d")
        if today != self._day:
            self._day = today
            self._database.forget_before(today)

    async def _ask(self, fn: Callable[[], Any]) -> Any:
        try:
            return await self._run(fn)
        except (sqlite3.Error, OSError) as error:
            self._log.warning("what is known of others' TLS cannot be read or written", reason=str(error))
            return None

    def _soon(self) -> None:
        if self._timer is None:
            self._timer = self._reactor.callLater(WRITE_AFTER, self._flush_now)

    def _flush_now(self) -> None:
        self._timer = None
        Deferred.fromCoroutine(self.flush())
