"""Which of a domain's servers gets the mail when some cannot be reached, and what DNS may do to us meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from peer_world import CLOSE, FIRST, SECOND, TO, ZONES, PeerWorld

from mailstack.config.outgoing import Route
from mailstack.testing.zones import Fault, Zone

Worlds = Callable[..., PeerWorld]
SIX = "2001:db8::1"


@pytest.fixture
def worlds(tmp_path: Path) -> Iterator[Worlds]:
    made: list[PeerWorld] = []

    def make(zones: Zone = ZONES, *up: str, **more: Any) -> PeerWorld:
        world = PeerWorld(tmp_path, zones, **more)
        world.peers.at = dict.fromkeys(up, {})
        made.append(world)
        return world

    yield make
    for world in made:
        world.close()


def arrived_at(world: PeerWorld) -> list[str]:
    return [address for address, _ in world.peers.taken]


def test_the_best_one_gets_it(worlds: Worlds) -> None:
    world = worlds(ZONES, FIRST, SECOND)
    world.attempt()
    assert arrived_at(world) == [FIRST] and world.peers.tried == [FIRST]
    assert world.peers.taken[0][1] == b"Received: x\r\nSubject: x\r\n\r\nhello\r\n"


@pytest.mark.parametrize(
    "instead",
    [
        None, {"connect": ""}, {"connect": CLOSE}, {"connect": "421 4.3.2 no"}, {"connect": "554 5.7.1 no"},
        {"connect": "521 no mail"}, {"EHLO": CLOSE}, {"EHLO": "421 no"}, {"connect": "HTTP/1.1 400"},
        {"EHLO": "550 no", "HELO": "550 no"},
    ],
    ids=str,
)  # fmt: skip
def test_the_second_gets_it_in_the_same_attempt(worlds: Worlds, instead: dict[str, str] | None) -> None:
    world = worlds(ZONES, SECOND)
    if instead is not None:
        world.peers.at[FIRST] = instead
    world.attempt()
    assert world.peers.tried == [FIRST, SECOND] and arrived_at(world) == [SECOND]
    assert not world.rows() and not world.mailbox.sent


@pytest.mark.parametrize(
    "instead",
    [{"MAIL": ""}, {"RCPT": CLOSE}, {"DATA": "421 4.3.2 no"}, {".": ""}, {"MAIL": "451 4.3.0 trouble"}, {"RCPT": "no"}],
    ids=str,
)
def test_who_breaks_down_over_a_message_gets_it_last_in_the_next_attempt(
    worlds: Worlds, instead: dict[str, str]
) -> None:
    world = worlds(ZONES, SECOND)
    world.peers.at[FIRST] = instead
    world.attempt()
    assert world.peers.tried == [FIRST] and world.waits
    world.pass_time(400.0)
    assert world.peers.tried == [FIRST, SECOND] and arrived_at(world)[-1] == SECOND
    assert not world.rows()


def test_who_breaks_down_is_tried_again_if_there_is_nobody_else(worlds: Worlds) -> None:
    world = worlds(ZONES)
    world.peers.at[FIRST] = {"MAIL": ""}
    world.attempt()
    world.pass_time(400.0)
    assert world.peers.tried == [FIRST, SECOND, FIRST]


def test_a_greylisted_message_comes_back_to_the_same_server(worlds: Worlds) -> None:
    world = worlds(ZONES, SECOND)
    world.peers.at[FIRST] = {"RCPT": "450 4.7.1 greylisted"}
    world.attempt()
    world.pass_time(400.0)
    assert world.peers.tried == [FIRST, FIRST]


def test_a_refusal_is_not_taken_elsewhere(worlds: Worlds) -> None:
    world = worlds(ZONES, SECOND)
    world.peers.at[FIRST] = {"RCPT": "550 5.1.1 no such user"}
    world.attempt()
    assert world.peers.tried == [FIRST] and "There is no such address." in world.report


def test_equal_preferences_are_shuffled(worlds: Worlds) -> None:
    hosts = [f"mx{number}.example.net" for number in range(1, 4)]
    zones: dict[str, Any] = {
        "example.net": {"MX": [(20, "last.example.net"), *((10, host) for host in hosts)]},
        **{host: {"A": f"192.0.2.{number}"} for number, host in enumerate(hosts, 1)},
        "last.example.net": {"A": "192.0.2.9"},
    }
    world = worlds(zones)
    world.attempt()
    assert world.shuffled[:2] == [hosts, ["last.example.net"]]
    assert world.peers.tried == ["192.0.2.3", "192.0.2.2", "192.0.2.1", "192.0.2.9"]  # the test's chance turns it over


def test_ipv4_where_ipv6_leads_nowhere(worlds: Worlds) -> None:
    world = worlds({**ZONES, "mx1.example.net": {"A": FIRST, "AAAA": SIX}}, FIRST)
    world.attempt()
    assert world.peers.tried == [SIX, FIRST] and arrived_at(world) == [FIRST]


def test_ipv4_where_ipv6_cannot_be_looked_up(worlds: Worlds) -> None:
    world = worlds({**ZONES, "mx1.example.net": {"A": FIRST, "AAAA": Fault.TIMEOUT}}, FIRST)
    world.attempt()
    assert arrived_at(world) == [FIRST]


NEVER = {
    "null": ({"example.net": {"MX": [(0, ".")]}}, "This domain takes no mail.", "accepts no mail (null MX)"),
    "twice null": (
        {"example.net": {"MX": [(0, "."), (10, ".")]}}, "This domain takes no mail.", "accepts no mail (null MX)"
    ),
    "we": (
        {"example.net": {"MX": [(10, "mail.example.org"), (20, "mx2.example.net")]}}, "went round in a circle",
        "its best mail exchanger is this one",
    ),
    "no domain": ({}, "is not the name of any mail system", "the domain example.net does not exist"),
    "no address": (
        {"example.net": {"MX": [(10, "mx1.example.net")]}, "mx1.example.net": {"TXT": ["x"]}},
        "is not the name of any mail system", "the mail server mx1.example.net has no address",
    ),
    "nothing": ({"example.net": {"TXT": ["x"]}}, "is not the name of any mail system", "has no address"),
    "an address as a name": (
        {"example.net": {"MX": [(10, "192.0.2.1")]}}, "is not the name of any mail system", "192.0.2.1 has no address"
    ),
}  # fmt: skip


@pytest.mark.parametrize("zones, why, detail", NEVER.values(), ids=NEVER)
def test_a_domain_that_cannot_get_mail_is_said_at_once(worlds: Worlds, zones: Zone, why: str, detail: str) -> None:
    world = worlds(zones, FIRST, SECOND)
    world.attempt()
    assert not world.peers.tried
    assert why in world.report and detail in world.report


LATER = {
    "timeout": ({"example.net": Fault.TIMEOUT}, "cannot be looked up now: "),
    "servfail": ({"example.net": Fault.SERVFAIL}, "cannot be looked up now: "),
    "bogus": ({"example.net": Fault.BOGUS}, "cannot be looked up now: "),
    "loop": (
        {"example.net": {"CNAME": "other.example"}, "other.example": {"CNAME": "example.net"}}, "too many aliases"
    ),
    "host": ({"example.net": {"MX": [(10, "mx1.example.net")]}, "mx1.example.net": Fault.TIMEOUT}, "the address of"),
    "one host": (
        {
            "example.net": {"MX": [(10, "mx1.example.net"), (20, "gone.example.net")]},
            "mx1.example.net": Fault.TIMEOUT,
        },
        "the address of mx1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("zones, text", LATER.values(), ids=LATER)
def test_what_dns_does_not_say_now_is_asked_again(worlds: Worlds, zones: Zone, text: str) -> None:
    world = worlds(zones, FIRST)
    world.attempt()
    assert world.waits[0] == "4.4.3" and text in world.waits[1]
    world.resolver.zones["example.net"] = ZONES["example.net"]
    world.resolver.zones["mx1.example.net"] = ZONES["mx1.example.net"]
    world.pass_time(600.0)
    assert arrived_at(world) == [FIRST]


def test_of_a_thousand_exchangers_ten_are_tried(worlds: Worlds) -> None:
    hosts = [f"mx{number}.example.net" for number in range(1000)]
    zones = {"example.net": {"MX": [(10, host) for host in hosts]}, **{host: {"A": FIRST} for host in hosts}}
    world = worlds(zones)
    world.attempt()
    assert len(world.peers.tried) == 10 and world.waits[0] == "4.4.1"
    assert len([question for question in world.resolver.asked if question[1] == "A"]) == 10


def test_of_a_thousand_addresses_of_one_host_the_next_host_is_not_forgotten(worlds: Worlds) -> None:
    many = [f"10.0.{number // 250}.{number % 250 + 1}" for number in range(1000)]
    world = worlds({**ZONES, "mx1.example.net": {"A": many}}, SECOND)
    world.attempt()
    assert arrived_at(world) == [SECOND] and len(world.peers.tried) == 5


def test_only_hosts_that_are_better_than_we_are_tried(worlds: Worlds) -> None:
    zones = {
        **ZONES,
        "example.net": {"MX": [(10, "mx1.example.net"), (20, "mail.example.org"), (20, "mx2.example.net")]},
    }
    world = worlds(zones, SECOND)
    world.attempt()
    assert world.peers.tried == [FIRST] and world.waits[0] == "4.4.1"


@pytest.mark.parametrize(
    ("to", "address"),
    [("bob@[192.0.2.1]", FIRST), ("bob@[IPv6:2001:db8::1]", SIX), ("bob@EXAMPLE.net", FIRST)],
)
def test_other_names_of_servers(worlds: Worlds, to: str, address: str) -> None:
    world = worlds(ZONES, address)
    world.attempt(to)
    assert arrived_at(world) == [address]


@pytest.mark.parametrize("literal", ["bob@[192.0.2.999]", "bob@[x25:12]"])
def test_a_literal_that_is_no_address(worlds: Worlds, literal: str) -> None:
    world = worlds()
    world.attempt(literal)
    assert "is not an address that can be reached" in world.report and not world.peers.tried


def test_a_domain_in_another_script(worlds: Worlds) -> None:
    zones = {
        "xn--bcher-kva.example": {"MX": [(10, "mx1.xn--bcher-kva.example")]},
        "mx1.xn--bcher-kva.example": {"A": FIRST},
    }
    world = worlds(zones, FIRST)
    world.attempt("bob@bücher.example")
    assert arrived_at(world) == [FIRST]


@pytest.mark.parametrize(
    "zones",
    [
        {
            "example.net": {"CNAME": "other.example"},
            "other.example": {"MX": [(10, "mx.other.example")]},
            "mx.other.example": {"A": FIRST},
        },
        {
            "example.net": {"MX": [(10, "www.example.net")]},
            "www.example.net": {"CNAME": "host.example"},
            "host.example": {"A": FIRST},
        },
        {"example.net": {"A": FIRST}},
    ],
    ids=["domain", "host", "no MX"],
)  # fmt: skip
def test_aliases_and_domains_without_exchangers(worlds: Worlds, zones: Zone) -> None:
    world = worlds(zones, FIRST)
    world.attempt()
    assert arrived_at(world) == [FIRST]


def test_hosts_of_a_route_are_tried_in_their_order(worlds: Worlds) -> None:
    route = Route(domains=("*",), hosts=("192.0.2.7", "mx2.example.net:2525"))
    world = worlds(ZONES, SECOND, route=route)
    world.attempt(TO, "ann@example.com")
    assert world.peers.tried == ["192.0.2.7", SECOND] and arrived_at(world) == [SECOND]


def test_no_limit_of_messages_of_a_connection(worlds: Worlds) -> None:
    world = worlds(ZONES, FIRST, outbound={"messages_per_connection": 0})
    world.attempt()
    world.send()
    world.send()
    world.pass_time(1.0, 0.5)
    assert len(world.peers.taken) == 3 and len(world.peers.connected) == 2  # the first was idle for too long
