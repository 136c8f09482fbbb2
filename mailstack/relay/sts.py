"""Policies of MTA-STS (RFC 8461): found, fetched, remembered, and fetched again before they expire."""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.task import LoopingCall

from mailstack.mail.address import ascii_domain
from mailstack.mail.mta_sts import POLICY_PATH, BadPolicy, StsMode, StsPolicy, parse_policy, record_id
from mailstack.names import LookupFailed, Resolver
from mailstack.net.https import FetchFailed, Texts
from mailstack.ports import Counters, Log
from mailstack.relay.tls_database import StoredPolicy, TlsDatabase
from mailstack.relay.tls_notes import Notes, Run
from mailstack.relay.tls_policy import STS, Applied, Policy

WAIT_TIME = 15.0
"""Seconds that mail waits to know the policy; then what is remembered counts, or there is none."""
RETRY_AFTER = 300.0
"""Seconds until a policy that could not be fetched is fetched again (RFC 8461 §3.3: five minutes or more)."""
REFRESH_AFTER = 86400.0
"""Seconds after which a policy in force is fetched again, although its id is the same: it goes on for max_age then."""
LOOK_EVERY = 3600.0
"""Seconds between two looks for policies to fetch again."""
USED_WITHIN = 30 * 86400.0
"""Seconds after the last mail to a domain in which its policy is fetched again."""
NOTE_USE_EVERY = 86400.0
"""Seconds between two notes that a policy is used."""
REFRESH_AT_ONCE = 500
"""Policies of one such look."""
MAX_FETCHES = 20
"""Policies that are fetched at the same time; others wait for their turn."""
MAX_UNDER_WAY = 1000
"""Domains that are looked at at the same time; for others what is remembered counts."""
MAX_KNOWN = 5000
"""Domains of which is known in memory what is on disk, and whose fetching failed."""
PREFIX = "mta-sts."
RECORD_PREFIX = "_mta-sts."


@dataclass(frozen=True, slots=True)
class StsSettings:
    """`port` is that of policy hosts, `authorities` as of TlsDemand."""

    port: int
    authorities: str
    enabled: bool = True


@dataclass(slots=True)
class _Known:
    stored: StoredPolicy
    policy: StsPolicy
    used: float = 0.0
    """When that was noted last."""


class StsPolicies:
    """Implements `tls_policy.Policies`. `settings` may be replaced. `run` runs what asks the database."""

    def __init__(
        self,
        reactor: Any,
        resolver: Resolver,
        texts: Texts,
        database: TlsDatabase,
        run: Run,
        notes: Notes,
        now: Callable[[], float],
        log: Log,
        counters: Counters,
        settings: StsSettings,
    ) -> None:
        self.settings = settings
        self._reactor, self._resolver, self._texts = reactor, resolver, texts
        self._database, self._run, self._notes = database, run, notes
        self._now, self._log, self._counters = now, log, counters
        self._known: OrderedDict[str, _Known | None] = OrderedDict()
        self._failed: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._flights: dict[str, _Flight] = {}
        self._work: dict[str, Deferred[None]] = {}
        self._turns = DeferredSemaphore(MAX_FETCHES)
        self._looking = LoopingCall(self._look)
        self._looking.clock = reactor
        self._stopped = False

    def start(self) -> None:
        """Fetch again what expires, from now on."""
        self._looking.start(LOOK_EVERY, now=False)

    def stop(self) -> None:
        """Who waits gets what is remembered."""
        self._stopped = True
        if self._looking.running:
            self._looking.stop()
        for work in [*(flight.work for flight in self._flights.values() if flight.work), *self._work.values()]:
            work.cancel()

    # --- tls_policy.Policies

    async def policy(self, domain: str) -> Policy | None:
        if not self.settings.enabled:
            return None
        domain = ascii_domain(domain)
        flight = self._flights.get(domain)
        if flight is None and (len(self._flights) >= MAX_UNDER_WAY or self._stopped):
            return _as_policy(await self._in_force(domain))
        if flight is None:
            flight = self._flights[domain] = _Flight()
            flight.start(self._current(domain), lambda: self._landed(domain))
        waiting = flight.join()
        try:
            found = await (waiting if waiting.called else waiting.addTimeout(WAIT_TIME, self._reactor))
        except (TimedOut, CancelledError):
            self._log.event("MTA-STS policy not waited for", domain=domain)
            found = await self._in_force(domain)
        return _as_policy(found)

    # --- what is in force

    def _landed(self, domain: str) -> None:
        self._flights.pop(domain, None)

    async def _current(self, domain: str) -> _Known | None:
        """The domain's policy as it is now, or as it is remembered (RFC 8461 §5.1)."""
        known = await self._in_force(domain)
        if known is not None and self._now() - known.used > NOTE_USE_EVERY:
            known.used = used = self._now()
            await self._ask(lambda: self._database.use_policy(domain, used))
        live = await self._live_id(domain)
        if not live:
            return known  # whoever takes the record away does not take the policy with it
        if known is not None and known.stored.id == live:
            if self._now() - known.stored.fetched > _refresh_after(known.policy):
                self._refresh(domain, live)
            return known
        return await self._fetched(domain, live) or known

    async def _in_force(self, domain: str) -> _Known | None:
        """What is remembered and has not expired."""
        if domain in self._known:
            known = self._known[domain]
            self._known.move_to_end(domain)
        else:
            known = _read(await self._ask(lambda: self._database.policy(domain)))
            self._remember(domain, known)
        return known if known is not None and known.stored.until > self._now() else None

    async def _live_id(self, domain: str) -> str:
        """Of the TXT record, "" if there is none or it is not known."""
        try:
            answer = await self._resolver.txt(RECORD_PREFIX + domain)
        except LookupFailed:
            return ""
        return record_id(answer.records)

    # --- fetching

    async def _fetched(self, domain: str, live: str) -> _Known | None:
        """The live policy, None if it cannot be had."""
        if self._failed.get((domain, live), 0.0) > self._now():
            return None
        host, settings = PREFIX + domain, self.settings
        await self._turns.acquire()
        try:
            octets = await self._texts.text(host, POLICY_PATH, settings.port, settings.authorities)
            policy = parse_policy(octets)
        except FetchFailed as error:
            self._not_fetched(domain, live, "sts-webpki-invalid" if error.certificate else "sts-policy-fetch-error",
                              str(error))  # fmt: skip
            return None
        except BadPolicy as error:
            self._not_fetched(domain, live, "sts-policy-invalid", str(error))
            return None
        finally:
            self._turns.release()
        self._counters.count("mta_sts_fetches", "fetched")
        now = self._now()
        known = _Known(StoredPolicy(domain, live, now, now + policy.max_age, policy.text), policy)
        self._remember(domain, known)
        await self._ask(lambda: self._database.put_policy(known.stored))
        self._log.event("MTA-STS policy", domain=domain, id=live, mode=policy.mode.value, max_age=policy.max_age)
        return known

    def _not_fetched(self, domain: str, live: str, kind: str, reason: str) -> None:
        self._failed[domain, live] = self._now() + RETRY_AFTER
        self._failed.move_to_end((domain, live))
        if len(self._failed) > MAX_KNOWN:
            self._failed.popitem(last=False)
        self._counters.count("mta_sts_fetches", "failed")
        self._notes.count(Applied(domain, domain, STS), kind, None, reason)
        self._log.warning("MTA-STS policy not fetched", domain=domain, kind=kind, reason=reason)

    def _remember(self, domain: str, known: _Known | None) -> None:
        self._known[domain] = known
        self._known.move_to_end(domain)
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)

    # --- again

    def _refresh(self, domain: str, live: str) -> None:
        """In the background."""
        if domain not in self._work and len(self._work) < MAX_UNDER_WAY and not self._stopped:
            self._in_background(domain, self._fetch_again(domain, live))

    async def _fetch_again(self, domain: str, live: str = "") -> None:
        live = live or await self._live_id(domain)
        if live:
            await self._fetched(domain, live)

    async def _look(self) -> None:
        """For policies that are in force and were not fetched for a day."""
        now = self._now()
        domains = (
            await self._ask(lambda: self._database.to_refresh(now, REFRESH_AFTER, now - USED_WITHIN, REFRESH_AT_ONCE))
            or []
        )
        for domain in domains:
            self._refresh(domain, "")

    def _in_background(self, domain: str, work: Coroutine[Deferred[Any], Any, None]) -> None:
        done: Deferred[None] = Deferred.fromCoroutine(work)
        if not done.called:
            self._work[domain] = done
        done.addBoth(lambda result: self._ended(domain, result))

    def _ended(self, domain: str, result: Any) -> None:
        self._work.pop(domain, None)
        _report(result, self._log)

    async def _ask(self, fn: Callable[[], Any]) -> Any:
        try:
            return await self._run(fn)
        except (sqlite3.Error, OSError) as error:
            self._log.warning("MTA-STS policies cannot be read or written", reason=str(error))
            return None


class Remembered:
    """Implements `tls_policy.Policies` with what a server remembers, for who only looks: nobody is asked."""

    def __init__(self, database: TlsDatabase | None, now: Callable[[], float]) -> None:
        self._database, self._now = database, now

    async def policy(self, domain: str) -> Policy | None:
        known = None if self._database is None else _read(self._database.policy(ascii_domain(domain)))
        return _as_policy(known) if known is not None and known.stored.until > self._now() else None


def remembered(path: Path, now: Callable[[], float]) -> Remembered:
    """By the file of a server, if it is there and can be read."""
    try:
        return Remembered(TlsDatabase(path) if path.exists() else None, now)
    except (sqlite3.Error, OSError):
        return Remembered(None, now)


class _Flight:
    """A domain that is being looked at, and those who wait for it; it goes on when they have gone."""

    def __init__(self) -> None:
        self.work: Deferred[None] | None = None
        self._waiting: list[Deferred[_Known | None]] = []
        self._result: Any = None
        self._is_done = False

    def start(self, work: Coroutine[Deferred[Any], Any, _Known | None], landed: Callable[[], None]) -> None:
        def done(result: Any) -> None:
            self._is_done, self._result = True, result
            landed()
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                each.callback(result)  # a Failure goes the way of errors

        self.work = Deferred.fromCoroutine(work).addBoth(done)

    def join(self) -> Deferred[_Known | None]:
        waiter: Deferred[_Known | None] = Deferred(self._leave)
        if self._is_done:
            waiter.callback(self._result)
        else:
            self._waiting.append(waiter)
        return waiter

    def _leave(self, waiter: Deferred[_Known | None]) -> None:
        self._waiting.remove(waiter)


def _report(result: Any, log: Log) -> None:
    """A bug, if it is one."""
    if not hasattr(result, "raiseException"):
        return
    try:
        result.raiseException()
    except CancelledError:
        return
    except Exception:
        log.failure("MTA-STS policy not fetched")


def _refresh_after(policy: StsPolicy) -> float:
    return min(REFRESH_AFTER, policy.max_age / 2)


def _read(stored: StoredPolicy | None) -> _Known | None:
    if stored is None:
        return None
    try:
        return _Known(stored, parse_policy(stored.text.encode()))
    except BadPolicy:  # of a version that knew more
        return None


def _as_policy(known: _Known | None) -> Policy | None:
    if known is None or known.policy.mode is StsMode.NONE:
        return None
    return Policy(known.policy.mode is StsMode.ENFORCE, known.policy.patterns, known.policy.lines)
