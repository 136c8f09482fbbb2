"""The resolver: cache, questions in flight, and answers in the words of `names`."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

from dns.rdatatype import RdataType
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore, gatherResults
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.python.failure import Failure

from mailstack.config.sections import Dns, TrustAd
from mailstack.dns.asking import Asking
from mailstack.dns.cache import Cache
from mailstack.dns.exchange import Exchange
from mailstack.dns.outcomes import MAX_ALIASES, Failed, Found, Nothing, Onward, Outcome
from mailstack.dns.servers import Servers, system_servers
from mailstack.dns.wire import Question
from mailstack.names import (
    AddressAnswer,
    BadName,
    MxAnswer,
    NamesAnswer,
    NameServer,
    NoData,
    NoRecords,
    NoSuchName,
    TemporaryFailure,
    TlsaAnswer,
    TxtAnswer,
    domain_name,
)
from mailstack.ports import Counters, Log

MAX_IN_FLIGHT = 200
"""Questions that servers are asked at the same time, each with a socket; the others wait for their turn."""
MAX_WAITING = 5000
"""Different questions that wait; beyond, they fail at once."""


class DnsResolver:
    """Implements `ports.Resolver`. Equal questions at the same time are asked once."""

    def __init__(
        self,
        settings: Dns,
        reactor: Any,
        exchange: Exchange,
        log: Log,
        counters: Counters,
        *,
        now: Callable[[], float] = time.monotonic,
        bits: Callable[[int], int] = secrets.randbits,
        system: Callable[[], tuple[NameServer, ...]] = system_servers,
    ) -> None:
        self._reactor, self._exchange, self._log, self._counters = reactor, exchange, log, counters
        self._now, self._bits, self._system = now, bits, system
        self._flights: dict[Question, _Flight] = {}
        self._turns = DeferredSemaphore(MAX_IN_FLIGHT)
        self._closed = False
        self.use(settings)

    def use(self, settings: Dns) -> None:
        """From now on. Forgets what is known, as other servers may know other things."""
        self._settings = settings
        self._cache = Cache(settings.cache_entries)
        self.servers = tuple(map(NameServer.parse, settings.servers)) or self._system()
        self._asking = Asking(
            Servers(self.servers), self._exchange, self._log, trusts=self.trusts, bits=self._bits, now=self._now
        )

    def trusts(self, server: NameServer) -> bool:
        """Whether what this server says to have validated is taken for that."""
        match self._settings.trust_ad:
            case TrustAd.ALWAYS:
                return True
            case TrustAd.LOOPBACK:
                return server.is_loopback
            case TrustAd.NEVER:
                return False

    def close(self) -> None:
        """Answer what waits, and what comes: nobody else will."""
        self._closed = True
        flights, self._flights = list(self._flights.values()), {}
        for flight in flights:
            flight.land(Failed("stopping"))
            flight.cancel()

    # --- names.Resolver

    async def mx(self, domain: str) -> MxAnswer:
        found = await self._find(domain, RdataType.MX)
        return MxAnswer(**_common(found), records=found.records, left_out=found.left_out)

    async def addresses(self, host: str, *, ipv4: bool = True, ipv6: bool = True) -> AddressAnswer:
        name = domain_name(host)
        if ipv4 and ipv6:
            work = [self._outcome(Question(name, rdtype)) for rdtype in (RdataType.A, RdataType.AAAA)]
            four, six = await _both(*work)
            return _addresses(name, four, six)
        if ipv4:
            found = await self._find(host, RdataType.A)
            return AddressAnswer(**_common(found), ipv4=found.records)
        found = await self._find(host, RdataType.AAAA)
        return AddressAnswer(**_common(found), ipv6=found.records)

    async def txt(self, name: str) -> TxtAnswer:
        found = await self._find(name, RdataType.TXT)
        return TxtAnswer(**_common(found), records=found.records)

    async def ptr(self, address: str) -> NamesAnswer:
        try:
            name = ip_address(address.partition("%")[0]).reverse_pointer
        except ValueError:
            raise BadName(address, "not an IP address") from None
        found = await self._find(name, RdataType.PTR)
        return NamesAnswer(**_common(found), records=found.records)

    async def tlsa(self, name: str) -> TlsaAnswer:
        found = await self._find(name, RdataType.TLSA)
        return TlsaAnswer(**_common(found), records=found.records)

    async def cname(self, name: str) -> NamesAnswer:
        found = await self._find(name, RdataType.CNAME)
        return NamesAnswer(**_common(found), records=found.records)

    async def _find(self, name: str, rdtype: RdataType) -> Found:
        question = Question(domain_name(name), rdtype)
        found = await self._outcome(question)
        if not isinstance(found, Found):
            raise _error(question.name, found)
        return found

    # --- outcomes

    async def _outcome(self, question: Question) -> Outcome:
        if self._closed:
            return Failed("stopping")
        known = self._cache.get(question, self._now())
        if known is not None:
            self._counters.count("dns_lookups", "cached")
            return known
        flight = self._flights.get(question)
        if flight is not None:
            self._counters.count("dns_lookups", "joined")
            return await flight.join()
        if len(self._flights) >= MAX_IN_FLIGHT + MAX_WAITING:
            self._counters.count("dns_lookups", "failed")
            return Failed("too many questions at once")
        flight = self._flights[question] = _Flight()
        joined = flight.join()
        flight.start(self._ask(question), lambda: self._landed(question, flight))
        return await joined

    def _landed(self, question: Question, flight: _Flight) -> None:
        if self._flights.get(question) is flight:
            del self._flights[question]

    async def _ask(self, question: Question) -> Outcome:
        cache, asking = self._cache, self._asking
        until = self._now() + self._settings.timeout
        try:
            await _within(self._settings.timeout, self._turns.acquire(), self._reactor)
        except TimedOut:
            return Failed("too many questions at once")
        try:
            outcome = await self._follow(asking, question, until)
        finally:
            self._turns.release()
        self._counters.count("dns_lookups", _WORDS[type(outcome)])
        return cache.put(question, outcome, self._now())

    async def _follow(self, asking: Asking, question: Question, until: float) -> Outcome:
        """Ask, and go on where a server leaves it to us to follow an alias."""
        authenticated, ttl = True, 2**31
        for _ in range(MAX_ALIASES):
            answered = await asking.ask(question, until)
            outcome = answered.outcome
            match outcome:
                case Failed():
                    return replace(outcome, server=answered.server)
                case Onward():
                    question = Question(outcome.name, question.rdtype)
                    authenticated, ttl = authenticated and outcome.authenticated, min(ttl, outcome.ttl)
                case Found() | Nothing():
                    return replace(
                        outcome, ttl=min(ttl, outcome.ttl), server=answered.server,
                        authenticated=authenticated and outcome.authenticated,
                    )  # fmt: skip
        return Failed("too many aliases")


_WORDS: dict[type[Outcome], str] = {Found: "found", Nothing: "none", Failed: "failed"}


class _Flight:
    """A question that is being asked, and those who wait for it. When all of them have gone, it is given up."""

    def __init__(self) -> None:
        self._waiting: list[Deferred[Outcome]] = []
        self._work: Deferred[Outcome] | None = None
        self._landed: Callable[[], None] = lambda: None

    def start(self, work: Coroutine[Deferred[Any], Any, Outcome], landed: Callable[[], None]) -> None:
        self._landed = landed
        self._work = Deferred.fromCoroutine(work)
        self._work.addBoth(self.land)

    def join(self) -> Deferred[Outcome]:
        waiter: Deferred[Outcome] = Deferred(self._leave)
        self._waiting.append(waiter)
        return waiter

    def _leave(self, waiter: Deferred[Outcome]) -> None:
        self._waiting.remove(waiter)
        if not self._waiting:
            self._landed()
            self.cancel()

    def cancel(self) -> None:
        if self._work is not None:
            self._work.cancel()

    def land(self, result: Any) -> Any:
        """Tell all who wait: an Outcome, or the Failure of a bug, which is logged when nobody does."""
        self._landed()
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(result)
        is_bug = isinstance(result, Failure) and not isinstance(result.value, CancelledError)
        return result if is_bug and not waiting else None


def _within(seconds: float, waiting: Deferred[Any], reactor: Any) -> Deferred[Any]:
    return waiting if waiting.called else waiting.addTimeout(seconds, reactor)


async def _both(
    one: Coroutine[Deferred[Any], Any, Outcome], other: Coroutine[Deferred[Any], Any, Outcome]
) -> tuple[Outcome, Outcome]:
    first, second = await gatherResults(
        [Deferred.fromCoroutine(one), Deferred.fromCoroutine(other)], consumeErrors=True
    )  # fmt: skip
    return first, second


def _common(found: Found) -> dict[str, Any]:
    return {
        "name": found.name, "authenticated": found.authenticated, "ttl": found.ttl, "server": found.server,
    }  # fmt: skip


def _addresses(name: str, four: Outcome, six: Outcome) -> AddressAnswer:
    found = [each for each in (four, six) if isinstance(each, Found)]
    failed = next((each for each in (four, six) if isinstance(each, Failed)), None)
    if not found:
        raise _error(name, failed or four)
    known = [each for each in (four, six) if not isinstance(each, Failed)]
    return AddressAnswer(
        name=found[0].name,
        authenticated=failed is None and all(each.authenticated for each in known),
        ttl=min(each.ttl for each in known),
        server=found[0].server,
        ipv4=four.records if isinstance(four, Found) else (),
        ipv6=six.records if isinstance(six, Found) else (),
        missing=failed.why if failed else "",
    )


def _error(name: str, outcome: Nothing | Failed | Found) -> NoRecords | TemporaryFailure:
    assert not isinstance(outcome, Found)
    if isinstance(outcome, Failed):
        return TemporaryFailure(name, outcome.why)
    kind = NoData if outcome.exists else NoSuchName
    return kind(
        name, authenticated=outcome.authenticated, ttl=outcome.ttl, at=outcome.name, server=outcome.server
    )  # fmt: skip
