"""Whom the resolver asks, how often and how long, what it remembers: on a clock and servers of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dns.message
import dns.rrset
import pytest
from dns.rdatatype import RdataType
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from mailstack.config.sections import Dns, TrustAd
from mailstack.dns import cache as cache_module
from mailstack.dns import resolver as resolver_module
from mailstack.dns.asking import FIRST_WAIT, ROUNDS
from mailstack.dns.cache import FAILURE_TTL, HIGHEST_NEGATIVE_TTL, HIGHEST_TTL, LOWEST_TTL, Cache
from mailstack.dns.exchange import NoReply, Read
from mailstack.dns.outcomes import MAX_ALIASES, NOTHING_CACHED, Failed, Found, Nothing, Outcome
from mailstack.dns.resolver import MAX_IN_FLIGHT, DnsResolver
from mailstack.dns.servers import ASIDE, FAILURES, HERE, LONGEST_ASIDE, Servers, system_servers
from mailstack.dns.wire import Question, Reply
from mailstack.names import BadServer, NameServer, TemporaryFailure
from mailstack.testing.counters import MemoryCounters
from mailstack.testing.log import RecordingLog

MAX_WAITING = 100
"""Less than the resolver's own."""
ONE, TWO, THREE = (NameServer(f"192.0.2.{number}") for number in (1, 2, 3))
Q = Question("example.org", RdataType.MX)


# --- servers


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("127.0.0.1", NameServer("127.0.0.1")),
        ("127.0.0.1:5353", NameServer("127.0.0.1", 5353)),
        ("2001:DB8:0::1", NameServer("2001:db8::1")),
        ("[::1]", NameServer("::1")),
        ("[::1]:5353", NameServer("::1", 5353)),
        ("fe80::1%eth0", NameServer("fe80::1%eth0")),
    ],
)
def test_servers_in_text(text: str, server: NameServer) -> None:
    assert NameServer.parse(text) == server
    assert NameServer.parse(str(server)) == server


@pytest.mark.parametrize(
    "text",
    ["", "dns.example", "1.2.3", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:x", "[::1", "[::1]5",
     "[::1]:", "[]:5"],
)  # fmt: skip
def test_what_is_no_server(text: str) -> None:
    with pytest.raises(BadServer):
        NameServer.parse(text)


def test_the_servers_of_the_system(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    assert system_servers(path) == (HERE,)
    path.write_bytes(b"# nameserver 192.0.2.9\nsearch x.org\nnameserver\xff\nnameserver\nnameserver dns.example\n")
    assert system_servers(path) == (HERE,)
    path.write_bytes(
        b"nameserver 192.0.2.1 # 1st\n nameserver\t192.0.2.2\nnameserver 192.0.2.1\nnameserver fe80::1%eth0"
    )
    assert system_servers(path) == (ONE, TWO, NameServer("fe80::1%eth0"))


def test_a_server_that_fails_is_asked_last_for_longer_and_longer() -> None:
    servers, now, spans = Servers([ONE, TWO]), 0.0, []
    for _ in range(6):
        for number in range(FAILURES):
            assert servers.order(now)[0] == ONE
            aside = servers.failed(ONE, now)
            if aside:
                break
            assert number < FAILURES - 1
        spans.append(aside)
        assert servers.order(now) == servers.order(now + aside - 0.1) == [TWO, ONE]
        assert servers.failed(ONE, now) == 0.0, "it is set aside already"
        now += aside
    assert spans == [ASIDE, 60.0, 120.0, 240.0, LONGEST_ASIDE, LONGEST_ASIDE]
    servers.answered(ONE)
    assert servers.failed(ONE, now) == 0.0
    alone = Servers([ONE])
    assert [alone.failed(ONE, 0.0) for _ in range(9)] == [0.0] * 9, "there is no other"


# --- the cache


def found(ttl: int, records: int = 1) -> Found:
    return Found("example.org", tuple(range(records)), ttl)


@pytest.mark.parametrize(
    ("outcome", "ttl"),
    [
        (found(300), 300),
        (found(0), LOWEST_TTL),
        (found(10**9), HIGHEST_TTL),
        (Nothing("x", True, 60), 60),
        (Nothing("x", False, NOTHING_CACHED), LOWEST_TTL),
        (Nothing("x", False, 86400), HIGHEST_NEGATIVE_TTL),
        (Failed("x"), FAILURE_TTL),
    ],
)
def test_how_long_an_outcome_is_remembered(outcome: Outcome, ttl: int) -> None:
    cache = Cache(10)
    assert cache.put(Q, outcome, 1000.0).ttl == ttl
    kept = cache.get(Q, 1000.0 + ttl - 2)
    assert kept is not None and kept.ttl == 2
    assert cache.get(Q, 1000.0 + ttl) is None
    assert len(cache) == 0


def test_the_cache_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(3)
    questions = [Question(f"{letter}.example", RdataType.MX) for letter in "abcd"]
    for question in questions[:3]:
        cache.put(question, found(300), 0.0)
    assert cache.get(questions[0], 1.0)
    cache.put(questions[3], found(300), 2.0)
    assert [cache.get(question, 3.0) is not None for question in questions] == [True, False, True, True]
    monkeypatch.setattr(cache_module, "MAX_RECORDS", 100)
    cache.put(questions[1], found(300, 97), 4.0)
    assert [cache.get(question, 5.0) is not None for question in questions] == [False, True, False, True]
    cache.put(questions[1], Found("x", (b"x" * 30_000,), 300), 6.0)
    assert len(cache) == 0, "it is too large for all of it"
    cache.put(questions[0], found(300), 7.0)
    assert cache.get(questions[0], 8.0)
    Cache(0).put(Q, found(300), 0.0)
    assert len(Cache(0)) == 0


# --- asking

Script = Callable[[NameServer, dns.message.Message, str], "str | bytes | None"]


class FakeExchange:
    """Implements Exchange: what `script` says of a query is the reply: None for silence, a word for an RCODE, else
    octets. Silence takes the whole time, on `clock`."""

    def __init__(self, clock: Clock, script: Script) -> None:
        self.clock, self.script = clock, script
        self.log: list[tuple[NameServer, float, float]] = []
        """Whom, when, for how long."""

    async def udp(self, server: NameServer, query: bytes, read: Read, seconds: float) -> Reply:
        return await self._exchange(server, query, read, seconds, "udp")

    async def tcp(self, server: NameServer, query: bytes, read: Read, seconds: float) -> Reply:
        return await self._exchange(server, query, read, seconds, "tcp")

    async def _exchange(self, server: NameServer, query: bytes, read: Read, seconds: float, way: str) -> Reply:
        self.log.append((server, self.clock.seconds(), seconds))
        said = self.script(server, dns.message.from_wire(query), way)
        if said is None:
            silence: Deferred[None] = Deferred()
            timer = self.clock.callLater(seconds, silence.callback, None)
            try:
                await silence
            finally:
                if timer.active():
                    timer.cancel()
            raise NoReply("silence")
        found = read(rcode(query, said) if isinstance(said, str) else said)
        assert found is not None
        return found


def rcode(query: bytes, word: str) -> bytes:
    message = dns.message.make_response(dns.message.from_wire(query))
    message.set_rcode(dns.rcode.from_text(word))
    return message.to_wire()


def answer(query: dns.message.Message, *records: str, ttl: int = 300) -> bytes:
    message = dns.message.make_response(query)
    for record in records:
        name, rdtype, data = record.split(" ", 2)
        message.answer.append(dns.rrset.from_text(name, ttl, "IN", rdtype, data))
    return message.to_wire(max_size=65535)


MX = "example.org. MX 10 mx.example.org."


class World:
    """A resolver whose servers do as `script` says."""

    def __init__(self, script: Script, *servers: NameServer, **settings: Any) -> None:
        self.clock = Clock()
        self.exchange = FakeExchange(self.clock, script)
        self.log, self.counters = RecordingLog(), MemoryCounters()
        wanted = Dns(servers=tuple(map(str, servers or (ONE, TWO))), **settings)
        self.resolver = DnsResolver(
            wanted, self.clock, self.exchange, self.log, self.counters, now=self.clock.seconds, bits=lambda _: 0
        )
        self.results: list[Any] = []

    def ask(self, name: str = "example.org") -> Deferred[Any]:
        """Its result goes to `results`."""
        asked: Deferred[Any] = Deferred.fromCoroutine(self.resolver.mx(name))
        asked.addBoth(self.results.append)
        return asked

    def pass_time(self, seconds: float) -> None:
        self.clock.pump([0.25] * int(seconds * 4))

    @property
    def asked(self) -> list[NameServer]:
        return [server for server, _, _ in self.exchange.log]

    @property
    def failure(self) -> Any:
        """What the last question has failed with."""
        assert isinstance(self.results[-1], Failure)
        return self.results[-1].value


def test_silence_of_all_ends_in_time() -> None:
    world = World(lambda *_: None, timeout=10.0)
    world.ask()
    world.pass_time(9.75)
    assert not world.results
    world.pass_time(0.25)
    assert isinstance(world.failure, TemporaryFailure) and "192.0.2.1:53: silence; 192.0.2.2:53" in str(world.failure)
    waits = [seconds for _, _, seconds in world.exchange.log]
    assert waits == [FIRST_WAIT, FIRST_WAIT, 2 * FIRST_WAIT, 2.0], "twice as long in each round, if there is time"
    assert world.asked == [ONE, TWO, ONE, TWO]


def test_a_patient_question_ends_too() -> None:
    world = World(lambda *_: None, ONE, timeout=1000.0)
    world.ask()
    world.pass_time(100)
    assert len(world.asked) == ROUNDS and isinstance(world.failure, TemporaryFailure)


def test_who_says_no_is_not_asked_again_but_the_silent_one_is() -> None:
    world = World(lambda server, *_: "SERVFAIL" if server == ONE else None, timeout=30.0)
    world.ask()
    world.pass_time(30)
    assert world.asked == [ONE] + [TWO] * ROUNDS
    assert "192.0.2.1:53: SERVFAIL" in str(world.failure)


def test_a_dead_server_is_passed_over_until_it_is_tried_again() -> None:
    dead = {ONE}
    world = World(lambda server, query, _: None if server in dead else answer(query, MX), cache_entries=0)
    for _ in range(4):
        world.ask()
        world.pass_time(2)
    assert world.asked == [ONE, TWO, ONE, TWO, TWO, TWO]
    assert world.log.whats() == ["DNS server set aside"]
    dead.clear()
    world.pass_time(ASIDE)
    world.ask()
    assert world.asked[-1] == ONE
    assert all(not isinstance(result, Failure) for result in world.results)


def test_one_lost_datagram_now_and_then_is_no_reason() -> None:
    world = World(lambda server, query, _: None if len(world.asked) % 3 == 1 else answer(query, MX), cache_entries=0)
    for _ in range(6):
        world.ask()
        world.pass_time(2)
    assert world.asked.count(ONE) == 6 and not world.log.lines


@pytest.mark.parametrize("signed", [(True, True), (True, False), (False, True)])
def test_an_alias_counts_for_what_is_authenticated(signed: tuple[bool, bool]) -> None:
    def script(_: NameServer, query: dns.message.Message, way: str) -> bytes:
        is_first = query.question[0].name.to_text() == "example.org."
        octets = answer(query, "example.org. CNAME other.example." if is_first else "other.example. MX 10 mx.")
        ad = signed[0 if is_first else 1]
        return octets[:3] + bytes((octets[3] | (0x20 if ad else 0),)) + octets[4:]

    world = World(script, trust_ad=TrustAd.ALWAYS)
    world.ask()
    assert world.results[-1].authenticated is all(signed)


def test_an_alias_that_the_server_does_not_follow_is_followed() -> None:
    def script(_: NameServer, query: dns.message.Message, way: str) -> bytes:
        if query.question[0].name.to_text() == "example.org.":
            return answer(query, "example.org. CNAME other.example.", ttl=50)
        return answer(query, "other.example. MX 10 mx.example.org.")

    world = World(script)
    world.ask()
    (result,) = world.results
    assert (result.name, result.ttl, result.records[0].host) == ("other.example", 50, "mx.example.org")


def test_aliases_one_at_a_time_have_an_end_too() -> None:
    def script(_: NameServer, query: dns.message.Message, way: str) -> bytes:
        name = query.question[0].name.to_text()
        return answer(query, f"{name} CNAME x{name}")

    world = World(script)
    world.ask()
    assert "too many aliases" in str(world.failure)
    assert len(world.asked) == MAX_ALIASES


def test_what_is_known_is_not_asked_until_it_is_old() -> None:
    world = World(lambda _, query, way: answer(query, MX, ttl=60))
    for seconds, asked, ttl in ((0, 1, 60), (59, 1, 1), (1, 2, 60)):
        world.pass_time(seconds)
        world.ask()
        assert (len(world.asked), world.results[-1].ttl) == (asked, ttl)
    world.resolver.use(Dns(servers=(str(THREE),)))
    world.ask()
    assert world.asked[-1] == THREE, "other servers may know other things"


def test_only_so_many_are_asked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver_module, "MAX_WAITING", MAX_WAITING)
    world = World(lambda *_: None, ONE, timeout=4.0)
    for number in range(MAX_IN_FLIGHT + MAX_WAITING):
        world.ask(f"n{number}.example")
    assert len(world.asked) == MAX_IN_FLIGHT
    world.ask("one.more.example")
    assert "too many questions at once" in str(world.failure) and len(world.results) == 1
    world.pass_time(4)
    assert len(world.results) == MAX_IN_FLIGHT + MAX_WAITING + 1, "those that wait do not wait longer than others"
    assert world.counters.totals["dns_lookups", "failed"] >= MAX_IN_FLIGHT + 1
    assert not world.clock.getDelayedCalls()


def test_a_turn_is_given_on() -> None:
    silent = True
    world = World(lambda _, query, way: None if silent else answer(query, f"{query.question[0].name} MX 10 mx."), ONE)
    first = [world.ask(f"n{number}.example") for number in range(MAX_IN_FLIGHT)]
    for number in range(9):
        world.ask(f"m{number}.example")
    silent = False
    first[0].cancel()
    assert [type(result).__name__ for result in world.results].count("MxAnswer") == 9
    for each in first[1:]:
        each.cancel()
    assert not world.clock.getDelayedCalls()


def test_a_bug_is_told_to_all_who_wait() -> None:
    def script(*_: Any) -> None:
        raise ZeroDivisionError

    world = World(script)
    world.ask()
    assert isinstance(world.failure, ZeroDivisionError)
    world.exchange.script = lambda _, query, way: answer(query, MX)
    world.ask()
    assert world.results[-1].records, "nothing of it stays"
