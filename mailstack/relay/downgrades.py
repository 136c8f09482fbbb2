"""Hosts whose TLS was better before: somebody on the way may have taken it away, where no policy forbids that."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from mailstack.config.outgoing import Downgrade
from mailstack.handover import HopConnection, HopFailed, Outcome, Verdict
from mailstack.ports import Counters, Log
from mailstack.relay.tls_notes import Notes

PLAIN, ENCRYPTED, VERIFIED = 0, 1, 2
"""How good it is."""
WARN_EVERY = 3600.0
"""Seconds between two warnings of one host; all are counted."""
MAX_WARNED = 1000
"""Hosts of which is known that a warning was written."""
_WORDS = ("plain text", "TLS", "TLS with a certificate that is right")


class Guard:
    """Compares sessions with those before."""

    def __init__(
        self, notes: Notes, downgrade: Callable[[], Downgrade], now: Callable[[], float], log: Log, counters: Counters
    ) -> None:
        self._notes, self._downgrade, self._now = notes, downgrade, now
        self._log, self._counters = log, counters
        self._warned: OrderedDict[str, float] = OrderedDict()

    async def look(self, connection: HopConnection) -> None:
        """At a session that has begun. Raises: HopFailed, if it may not go on."""
        level = PLAIN if connection.tls is None else VERIFIED if connection.tls_verified else ENCRYPTED
        problem = connection.tls_problem
        await self.judge(connection.host, level, str(problem) if problem is not None else "")

    async def judge(self, host: str, level: int, reason: str) -> None:
        """Mail to the host is about to go so, and why no better. Raises: HopFailed, if it may not."""
        if not host:
            return
        before = await self._notes.level(host)
        if level >= before:
            if level > PLAIN:
                self._notes.worked(host, level)
            return
        self._counters.count("outbound_downgrades")
        reason = reason or ("it is not offered" if level == PLAIN else "its certificate was not looked at")
        refused = self._downgrade() is Downgrade.REFUSE
        if self._is_news(host):
            self._log.warning(
                "TLS was better before", mta=host, before=_WORDS[before], now=_WORDS[level],
                reason=reason, refused=refused,
            )  # fmt: skip
        if refused:
            text = f"{host} had {_WORDS[before]} before, and has {_WORDS[level]} now: {reason}"
            raise HopFailed(Outcome(Verdict.LATER, "4.7.5", text, host, remote=False))

    def _is_news(self, host: str) -> bool:
        now = self._now()
        if now - self._warned.get(host, -WARN_EVERY) < WARN_EVERY:
            return False
        self._warned[host] = now
        self._warned.move_to_end(host)
        if len(self._warned) > MAX_WARNED:
            self._warned.popitem(last=False)
        return True
