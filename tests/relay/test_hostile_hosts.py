"""The carrier before hosts, and DNS, that are hostile on real sockets: what fails at the first, the second may do."""

from __future__ import annotations

import resource
from datetime import UTC, datetime

import pytest
import trustme
from carrier_world import DOMAIN, World
from hop_peers import Saying, in_reactor

from mailstack.config.outgoing import OutboundTls
from mailstack.smtp.client import opening
from mailstack.testing.zones import Fault

MX, MX2 = f"mx.{DOMAIN}", f"mx2.{DOMAIN}"
LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC)
ENDLESS = b"250-" + b"x" * 10_000_000
OFFER = b"250-mx\r\n250 STARTTLS\r\n"


@pytest.fixture
def alone(world: World) -> World:
    """The domain has one host."""
    world.dns.zones[DOMAIN] = {"MX": [(10, MX)]}
    return world


@in_reactor
@pytest.mark.parametrize(
    ("first", "answers", "close", "text"),
    [
        (b"", (), True, "connection lost before the greeting"),
        (b"220 mx\r\n", (), True, "connection lost"),
        (b"220 mx\r\n", (OFFER, b"220 go on\r\n"), True, "TLS"),
        (b"220 mx\r\n", (OFFER, b"220 go on\r\n", b"HTTP/1.1 400 no handshake\r\n"), False, "TLS"),
        (b"220 mx\r\n", (OFFER, b"220 go on\r\n250 injected\r\n"), False, "octets came in plain text"),
        (b"220 mx\r\n", (ENDLESS,), False, "a reply line of more than 16384 octets"),
        (b"\x16\x03\x01\0\1\0\0", (), False, "not a reply"),
        (b"554 no\r\n", (), True, "554 no"),
    ],
)
async def test_nobody_is_waited_for_or_believed(
    alone: World, first: bytes, answers: tuple[bytes, ...], close: bool, text: str
) -> None:
    alone.outbound["tls"] = OutboundTls.REQUIRED
    saying = Saying(first, *answers, close=close)
    alone.port = alone.rig.listen(saying)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    status, said = await alone.reached()
    assert status.startswith("4.") and text in said, said
    assert not any(b"MAIL" in heard for heard in saying.heard)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40_000


@in_reactor
@pytest.mark.parametrize("answers", [(), (b"250-mx\r\n",), (OFFER,), (OFFER, b"220 go on\r\n")], ids=range(4))
async def test_silence_has_an_end(alone: World, monkeypatch: pytest.MonkeyPatch, answers: tuple[bytes, ...]) -> None:
    monkeypatch.setattr(opening, "GREETING_TIME", 0.02)
    monkeypatch.setattr(opening, "HELLO_TIME", 0.02)
    alone.outbound["tls"] = OutboundTls.REQUIRED
    alone.port = alone.rig.listen(Saying(b"220 mx\r\n" if answers else b"", *answers))
    status, said = await alone.reached()
    assert status == "4.4.2" and said.startswith("no answer in time")


@in_reactor
@pytest.mark.parametrize(
    ("mode", "reached"),
    [(OutboundTls.OPPORTUNISTIC, "unverified"), (OutboundTls.REQUIRED, "unverified"), (OutboundTls.VERIFIED, "4.7.5")],
)
@pytest.mark.parametrize("wrong", ["name", "authority", "expired"])
async def test_certificates_that_are_wrong(
    alone: World, authority: trustme.CA, mode: OutboundTls, reached: str, wrong: str
) -> None:
    made = {
        "name": lambda: authority.issue_cert("other.example"),
        "authority": lambda: trustme.CA().issue_cert(MX),
        "expired": lambda: authority.issue_cert(MX, not_after=LONG_AGO),
    }
    alone.serve(made[wrong]())
    alone.outbound["tls"] = mode
    found = await alone.reached()
    assert reached in found, found
    if reached == "4.7.5":
        words = {"name": "is for other.example", "authority": "unknown authority", "expired": "expired"}
        assert words[wrong] in found[1]


@in_reactor
async def test_the_second_host_in_the_same_attempt(world: World) -> None:
    world.serve()
    world.dns.zones[MX] = {"A": "127.0.0.9"}  # where nobody listens
    assert await world.reached() == (MX2, "plain")
    assert f"127.0.0.9]:{world.port}: refused" in world.transcript.text


@in_reactor
async def test_ipv4_where_ipv6_leads_nowhere(alone: World) -> None:
    alone.serve()
    alone.outbound["ipv6"] = True
    alone.dns.zones[MX] = {"A": "127.0.0.1", "AAAA": "::1"}  # where it does not listen
    assert await alone.reached() == (MX, "plain")
    assert "[::1]" in alone.transcript.text


@in_reactor
@pytest.mark.parametrize("lie", [Fault.WRONG_ID, Fault.WRONG_QUESTION, Fault.QUERY], ids=str)
async def test_lies_about_names_are_not_believed(alone: World, lie: Fault) -> None:
    alone.serve()
    alone.dns.lies = {DOMAIN: (lie,), MX: (lie,)}
    try:
        assert await alone.reached() == (MX, "plain")
    finally:
        alone.dns.lies = {}


@in_reactor
@pytest.mark.parametrize("fault", [Fault.SERVFAIL, Fault.REFUSED, Fault.GARBAGE, Fault.BOGUS], ids=str)
async def test_names_that_cannot_be_looked_up(alone: World, fault: Fault) -> None:
    alone.dns.zones[DOMAIN] = fault
    status, text = await alone.reached()
    assert status == "4.4.3" and f"the mail exchangers of {DOMAIN} cannot be looked up now" in text


@in_reactor
async def test_aliases_that_go_round(alone: World) -> None:
    alone.dns.zones[DOMAIN] = {"CNAME": f"a.{DOMAIN}"}
    alone.dns.zones[f"a.{DOMAIN}"] = {"CNAME": DOMAIN}
    status, text = await alone.reached()
    assert status.startswith(("4.4", "5.")) and DOMAIN in text


@in_reactor
async def test_a_thousand_exchangers(world: World) -> None:
    world.dns.zones[DOMAIN] = {"MX": [(10, f"mx{number}.{DOMAIN}") for number in range(1000)]}
    world.dns.zones[f"*.{DOMAIN}"] = {"A": "127.0.0.9"}
    status, _ = await world.reached()
    assert status == "4.4.1"
    assert world.transcript.text.count("connecting to") == 10
