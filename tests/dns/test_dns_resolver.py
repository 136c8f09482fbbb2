"""The resolver against a server that says what it is told to say, through real sockets."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import tcp, udp
from twisted.internet.defer import CancelledError, Deferred, gatherResults

from mailstack.config.sections import Dns, TrustAd
from mailstack.dns.exchange import MAX_STRANGE, ReactorExchange, _Datagrams
from mailstack.dns.outcomes import MAX_KEPT, MAX_MX
from mailstack.dns.resolver import DnsResolver
from mailstack.names import BadName, Mx, NameServer, NoData, NoSuchName, TemporaryFailure, Tlsa
from mailstack.testing.counters import MemoryCounters
from mailstack.testing.dns_server import DnsServer, Fault
from mailstack.testing.log import RecordingLog
from mailstack.testing.zones import Zone

ZONES: Zone = {
    "example.org": {"MX": [(20, "b.example.org"), (10, "MX.example.org")], "TXT": ["v=spf1 mx", "x" * 700]},
    "mx.example.org": {"A": ["192.0.2.1", "192.0.2.2"], "AAAA": "2001:db8::1"},
    "four.example.org": {"A": "192.0.2.4"},
    "_25._tcp.mx.example.org": {"TLSA": (3, 1, 1, "ab" * 32)},
    "www.example.org": {"CNAME": "mx.example.org"},
    "out.example.org": {"CNAME": "unsigned.example"},
    "dangling.example.org": {"CNAME": "gone.example.org"},
    "unsigned.example": {"A": "192.0.2.9"},
    "nomail.example": {"MX": (0, ".")},
    "loop.example": {"CNAME": "loop2.example"},
    "loop2.example": {"CNAME": "loop.example"},
    "192.0.2.1": {"PTR": "mx.example.org"},
    "2001:db8::1": {"PTR": "mx.example.org"},
    "half.example": {"A": "192.0.2.2", "AAAA": Fault.SERVFAIL},
    "many.example": {"MX": [(1000 - number, f"mx{number}.many.example") for number in range(1000)]},
    "wide.example": {"A": [f"10.0.{number // 250}.{number % 250}" for number in range(1000)]},
    "xn--bcher-kva.example": {"MX": (10, "mx.example.org")},
    "odd.example": {"MX": [(10, "a\\.b.example"), (20, "*.example")]},
}


class World:
    """Resolvers that ask `server`; each has its log and counters."""

    def __init__(self, server: DnsServer) -> None:
        from twisted.internet import reactor

        self.server, self.reactor = server, reactor
        self.log, self.counters = RecordingLog(), MemoryCounters()

    def resolver(self, *servers: str, **settings: Any) -> DnsResolver:
        wanted = Dns(servers=servers or (self.server.address,), **settings)
        return DnsResolver(wanted, self.reactor, ReactorExchange(self.reactor), self.log, self.counters)


@pytest.fixture
def world() -> Iterator[World]:
    with DnsServer(ZONES, signed=["example.org", "half.example"]) as server:
        yield World(server)


@pytest.fixture
def nobody() -> Iterator[str]:
    """The address of a port where nobody listens, and nobody will."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as reserved, socket.socket() as also:
        also.bind(("127.0.0.1", 0))
        port = also.getsockname()[1]
        reserved.bind(("127.0.0.2", port))
        yield f"127.0.0.1:{port}"


@ensureDeferred
async def test_each_kind_of_record(world: World) -> None:
    resolver = world.resolver()
    mx = await resolver.mx("Example.ORG.")
    assert mx.records == (Mx(10, "mx.example.org"), Mx(20, "b.example.org"))
    assert (mx.name, mx.authenticated, mx.ttl, mx.server) == ("example.org", True, 300, world.server.address)
    assert (await resolver.txt("example.org")).records == (b"v=spf1 mx", b"x" * 700)
    assert (await resolver.tlsa("_25._tcp.mx.example.org")).records == (Tlsa(3, 1, 1, b"\xab" * 32),)
    assert (await resolver.ptr("192.0.2.1")).records == ("mx.example.org",)
    assert (await resolver.ptr("2001:db8:0::1")).records == ("mx.example.org",)
    assert (await resolver.cname("www.example.org")).records == ("mx.example.org",)
    both = await resolver.addresses("mx.example.org")
    assert (both.ipv4, both.ipv6, both.authenticated) == (("192.0.2.1", "192.0.2.2"), ("2001:db8::1",), True)
    assert (await resolver.addresses("mx.example.org", ipv4=False)).records == ("2001:db8::1",)
    assert (await resolver.addresses("four.example.org")).records == ("192.0.2.4",)
    assert (await resolver.mx("nomail.example")).is_null
    assert (await resolver.mx("bücher.example")).name == "xn--bcher-kva.example"


@ensureDeferred
async def test_what_there_is_not(world: World) -> None:
    resolver = world.resolver()
    with pytest.raises(NoSuchName) as nothing:
        await resolver.mx("no.example.org")
    assert (nothing.value.authenticated, nothing.value.ttl) == (True, 300)
    with pytest.raises(NoData):
        await resolver.mx("mx.example.org")
    with pytest.raises(NoSuchName) as dangling:
        await resolver.addresses("dangling.example.org")
    assert dangling.value.at == "gone.example.org"
    with pytest.raises(TemporaryFailure, match="SERVFAIL"):
        await resolver.addresses("loop.example")
    for question in (resolver.mx("a..b"), resolver.txt("a b.example"), resolver.ptr("mx.example.org")):
        with pytest.raises(BadName):
            await question
    asked = len(world.server.questions)
    with pytest.raises(NoSuchName):
        await resolver.mx("no.example.org")
    assert len(world.server.questions) == asked  # RFC 2308: it is remembered


@ensureDeferred
async def test_aliases_are_authenticated_as_a_whole(world: World) -> None:
    resolver = world.resolver()
    inside, outside = await resolver.addresses("www.example.org"), await resolver.addresses("out.example.org")
    assert (inside.name, inside.authenticated) == ("mx.example.org", True)
    assert (outside.name, outside.authenticated) == ("unsigned.example", False)
    assert (await resolver.cname("out.example.org")).authenticated


@pytest.mark.parametrize(("trust", "trusted"), [("loopback", True), ("always", True), ("never", False)])
@ensureDeferred
async def test_whose_word_counts(world: World, trust: str, trusted: bool) -> None:
    resolver = world.resolver(trust_ad=TrustAd(trust))
    assert (await resolver.mx("example.org")).authenticated is trusted
    assert bool(world.server.questions[0].flags & 0x20) is trusted  # nor is it asked for


@ensureDeferred
async def test_half_an_answer_says_so(world: World) -> None:
    answer = await world.resolver().addresses("half.example")
    assert answer.ipv4 == ("192.0.2.2",)
    assert "SERVFAIL" in answer.missing and not answer.authenticated
    with pytest.raises(TemporaryFailure):
        await world.resolver().addresses("half.example", ipv4=False)


@ensureDeferred
async def test_a_thousand_exchangers_are_cut_to_the_best(world: World) -> None:
    answer = await world.resolver().mx("many.example")
    assert [each.preference for each in answer.records] == list(range(1, MAX_MX + 1))
    assert answer.left_out == 1000 - MAX_MX
    assert [each.transport for each in world.server.questions] == ["udp", "tcp"]
    assert world.server.questions[0].payload == 1232
    wide = await world.resolver().addresses("wide.example", ipv6=False)
    assert len(wide.ipv4) == MAX_KEPT


@ensureDeferred
async def test_names_that_no_host_has_cannot_be_asked_for(world: World) -> None:
    resolver = world.resolver()
    answer = await resolver.mx("odd.example")
    assert [each.host for each in answer.records] == ["a\\.b.example", "*.example"]
    with pytest.raises(BadName):
        await resolver.addresses(answer.records[0].host)


@ensureDeferred
async def test_equal_questions_at_the_same_time_are_one(world: World) -> None:
    resolver = world.resolver()
    answers = await gatherResults([Deferred.fromCoroutine(resolver.mx("example.org")) for _ in range(50)])
    assert {answer.records for answer in answers} == {answers[0].records}
    assert world.server.asked("example.org") == 1
    assert world.counters.totals["dns_lookups", "joined"] == 49
    await resolver.mx("example.org")
    assert world.server.asked("example.org") == 1
    assert world.counters.totals["dns_lookups", "cached"] == 1


@ensureDeferred
async def test_who_gives_up_does_not_disturb_the_others(world: World) -> None:
    resolver = world.resolver()
    first, second = (Deferred.fromCoroutine(resolver.mx("example.org")) for _ in range(2))
    first.cancel()
    with pytest.raises(CancelledError):
        await first
    assert (await second).records
    world.server.silent = True
    last = Deferred.fromCoroutine(resolver.mx("mx.example.org"))
    last.cancel()
    with pytest.raises(CancelledError):
        await last
    world.server.silent = False
    with pytest.raises(NoData):
        await resolver.mx("mx.example.org")


@ensureDeferred
async def test_the_end_comes_to_those_who_wait(world: World) -> None:
    world.server.silent = True
    resolver = world.resolver()
    waiting = Deferred.fromCoroutine(resolver.mx("example.org"))
    resolver.close()
    with pytest.raises(TemporaryFailure, match="stopping"):
        await waiting
    with pytest.raises(TemporaryFailure, match="stopping"):
        await resolver.txt("example.org")
    assert world.server.asked("example.org", "TXT") == 0


@ensureDeferred
async def test_nothing_repeats_that_a_forger_has_to_guess(world: World) -> None:
    resolver = world.resolver(cache_entries=0)
    await gatherResults([Deferred.fromCoroutine(resolver.mx(f"n{number}.example.org")) for number in range(20)],
                        consumeErrors=True).addErrback(lambda _: None)  # fmt: skip
    for _ in range(20):
        await resolver.mx("example.org")
    asked = world.server.questions
    assert len({each.id for each in asked}) > 30
    assert len({each.port for each in asked}) > 20
    assert len({each.name for each in asked if each.name.lower() == "example.org"}) > 15


@pytest.mark.parametrize("lie", [Fault.WRONG_ID, Fault.WRONG_QUESTION, Fault.QUERY])
@ensureDeferred
async def test_a_lie_before_the_truth_is_not_believed(world: World, lie: Fault) -> None:
    world.server.lies["example.org"] = (lie,) * 3
    assert (await world.resolver().mx("example.org")).records[0] == Mx(10, "mx.example.org")
    assert world.server.asked("example.org") == 1


def test_a_datagram_from_elsewhere_does_not_count() -> None:
    def read(octets: bytes) -> Any:
        seen.append(octets)

    seen: list[bytes] = []
    waiting = _Datagrams(NameServer("fe80::1%lo", 53), read)
    for address in (("fe80::2", 53), ("fe80::1", 5353), ("fe80::1", 53)):
        waiting.datagramReceived(b"%d" % address[1], address)
    assert seen == [b"53"]


@ensureDeferred
async def test_who_guesses_too_often_is_not_listened_to(world: World) -> None:
    world.server.lies["example.org"] = (Fault.WRONG_ID,) * MAX_STRANGE
    assert (await world.resolver().mx("example.org")).records
    assert [each.transport for each in world.server.questions] == ["udp", "tcp"]


@ensureDeferred
async def test_a_server_that_does_not_keep_cases_is_asked_by_tcp(world: World) -> None:
    world.server.keeps_cases = False
    assert (await world.resolver().mx("example.org")).records
    assert [each.transport for each in world.server.questions] == ["udp", "tcp"]


@ensureDeferred
async def test_a_server_without_edns_is_asked_without(world: World) -> None:
    world.server.edns = False
    assert (await world.resolver().mx("example.org")).records
    assert [each.payload for each in world.server.questions] == [1232, 0]


@ensureDeferred
async def test_truncated_and_no_tcp_is_a_failure(world: World) -> None:
    world.server.tcp = False
    world.server.lies["example.org"] = (Fault.TRUNCATED,)
    with pytest.raises(TemporaryFailure, match="before the reply"):
        await world.resolver(timeout=0.3).mx("example.org")


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Fault.SERVFAIL, "SERVFAIL"),
        (Fault.REFUSED, "REFUSED"),
        (Fault.BOGUS, r"SERVFAIL \(dnssec bogus\)"),
        (Fault.TIMEOUT, "no reply in 0.2 s"),
        (Fault.GARBAGE, "cannot be read"),
        (Fault.TRUNCATED, "truncated, though by TCP"),
        (Fault.WRONG_ID, "no reply"),
    ],
)
@ensureDeferred
async def test_failures_are_temporary_and_say_why(world: World, fault: Fault, says: str) -> None:
    world.server.zones["example.org"] = fault
    resolver = world.resolver(timeout=0.2)
    with pytest.raises(TemporaryFailure, match=says):
        await resolver.mx("example.org")
    asked = len(world.server.questions)
    with pytest.raises(TemporaryFailure, match=says):  # RFC 9520: for some seconds nobody is asked again
        await resolver.mx("example.org")
    assert len(world.server.questions) == asked


@ensureDeferred
async def test_the_next_server_is_asked(world: World, nobody: str) -> None:
    with DnsServer({"example.org": Fault.SERVFAIL, "b.example": Fault.REFUSED, "c.example": Fault.GARBAGE}) as first:
        world.server.zones["b.example"] = world.server.zones["c.example"] = {"MX": (10, "mx.example.org")}
        resolver = world.resolver(first.address, world.server.address)
        for domain in ("example.org", "b.example", "c.example"):
            answer = await resolver.mx(domain)
            assert answer.server == world.server.address
        assert first.asked("example.org") == 1
    resolver = world.resolver(nobody, world.server.address)
    assert (await resolver.mx("example.org")).server == world.server.address
    with pytest.raises(TemporaryFailure, match="nobody listens there"):
        await world.resolver(nobody, timeout=0.2).mx("example.org")


@ensureDeferred
async def test_a_dead_server_is_left_alone(world: World, nobody: str) -> None:
    resolver = world.resolver(nobody, world.server.address)
    for name in ("example.org", "nomail.example"):
        await resolver.mx(name)
    (line,) = (line for line in world.log.lines if line.what == "DNS server set aside")
    assert line.fields["server"] == nobody and line.fields["seconds"] == 30.0


@ensureDeferred
async def test_without_a_descriptor_it_fails_for_now(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    resolver = world.resolver()

    def refuse(*_: object) -> None:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patched:
        for transport in (udp.Port, tcp.Client):
            patched.setattr(transport, "createInternetSocket", refuse)
        with pytest.raises(TemporaryFailure, match="Too many open files"):
            await resolver.mx("example.org")
        patched.undo()
        patched.setattr(tcp.Client, "createInternetSocket", refuse)
        world.server.lies["example.org"] = (Fault.TRUNCATED,)
        with pytest.raises(TemporaryFailure, match="Too many open files"):
            await resolver.txt("example.org")


@ensureDeferred
async def test_an_ipv6_server() -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        server = DnsServer(ZONES, host="::1")
        server.start()
    except OSError:
        pytest.skip("no IPv6 loopback here")
    try:
        resolver = World(server).resolver()
        assert (await resolver.mx("example.org")).server == f"[::1]:{server.port}"
        assert (await resolver.mx("many.example")).records
    finally:
        server.stop()
