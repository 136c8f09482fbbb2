"""The resolver in memory, and names."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from mailstack.names import (
    BadName,
    Mx,
    NoData,
    NoSuchName,
    Resolver,
    TemporaryFailure,
    Tlsa,
    domain_name,
)
from mailstack.testing.names import FakeResolver, Fault
from mailstack.testing.zones import Zone

T = TypeVar("T")

ZONES: Zone = {
    "example.org": {"MX": [(20, "b.example.org"), (10, "MX.example.org.")], "TXT": ["v=spf1", ("two ", "parts")]},
    "mx.example.org": {"A": "192.0.2.1", "AAAA": ["2001:DB8:0::1"]},
    "_25._tcp.mx.example.org": {"TLSA": [(3, 1, 1, "ab" * 32)]},
    "www.example.org": {"CNAME": "mx.example.org"},
    "out.example.org": {"CNAME": "other.example"},
    "other.example": {"A": "192.0.2.9"},
    "nomail.example": {"MX": (0, ".")},
    "*.wild.example": {"A": "192.0.2.7"},
    "192.0.2.1": {"PTR": "mx.example.org"},
    "broken.example": Fault.SERVFAIL,
    "half.example": {"A": "192.0.2.2", "AAAA": Fault.TIMEOUT},
    "loop.example": {"CNAME": "loop.example"},
    "xn--bcher-kva.example": {"MX": (10, "mx.example.org")},
}


def ask(question: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(question)


@pytest.fixture
def resolver() -> FakeResolver:
    return FakeResolver(ZONES, signed=["example.org"])


def test_it_is_a_resolver(resolver: FakeResolver) -> None:
    port: Resolver = resolver
    answer = ask(port.mx("Example.ORG."))
    assert answer.records == (Mx(10, "mx.example.org"), Mx(20, "b.example.org"))
    assert answer.authenticated and answer.ttl == 300 and not answer.is_null
    assert resolver.asked == [("example.org", "MX")]


def test_each_kind_of_record(resolver: FakeResolver) -> None:
    assert ask(resolver.txt("example.org")).records == (b"v=spf1", b"two parts")
    assert ask(resolver.tlsa("_25._tcp.mx.example.org")).records == (Tlsa(3, 1, 1, b"\xab" * 32),)
    assert ask(resolver.ptr("192.0.2.1")).records == ("mx.example.org",)
    assert ask(resolver.cname("www.example.org")).records == ("mx.example.org",)
    assert ask(resolver.addresses("mx.example.org")).records == ("2001:db8::1", "192.0.2.1")
    assert ask(resolver.addresses("mx.example.org", ipv6=False)).records == ("192.0.2.1",)
    assert ask(resolver.addresses("any.wild.example")).records == ("192.0.2.7",)
    assert ask(resolver.mx("nomail.example")).is_null
    assert ask(resolver.mx("bücher.example")).name == "xn--bcher-kva.example"


def test_an_alias_is_followed_and_authenticated_as_a_whole(resolver: FakeResolver) -> None:
    inside, outside = ask(resolver.addresses("www.example.org")), ask(resolver.addresses("out.example.org"))
    assert (inside.name, inside.authenticated) == ("mx.example.org", True)
    assert (outside.name, outside.authenticated) == ("other.example", False)
    assert ask(resolver.cname("out.example.org")).authenticated


def test_what_there_is_not(resolver: FakeResolver) -> None:
    with pytest.raises(NoSuchName) as nothing:
        ask(resolver.mx("no.example.org"))
    assert nothing.value.authenticated and nothing.value.ttl == 300
    with pytest.raises(NoData):
        ask(resolver.mx("mx.example.org"))
    with pytest.raises(NoData):  # there is something below it
        ask(resolver.mx("_tcp.mx.example.org"))
    with pytest.raises(TemporaryFailure, match="SERVFAIL"):
        ask(resolver.txt("broken.example"))
    with pytest.raises(TemporaryFailure, match="aliases"):
        ask(resolver.mx("loop.example"))
    with pytest.raises(BadName):
        ask(resolver.ptr("localhost"))


def test_half_an_answer_says_so(resolver: FakeResolver) -> None:
    answer = ask(resolver.addresses("half.example"))
    assert answer.ipv4 == ("192.0.2.2",) and "timeout" in answer.missing and not answer.authenticated
    with pytest.raises(TemporaryFailure):
        ask(resolver.addresses("half.example", ipv4=False))


@pytest.mark.parametrize("name", ["", "..", "a..b", ".a", "a" * 64, "a." * 126 + "aa", "a b", "a\\b", "ü" * 60, "a\0b"])
def test_bad_names(name: str) -> None:
    with pytest.raises(BadName):
        domain_name(name)


def test_good_names() -> None:
    assert domain_name(".") == "."
    assert domain_name("_DMARC.Bücher.example.") == "_dmarc.xn--bcher-kva.example"
    assert domain_name("a." * 126 + "a") == "a." * 126 + "a"
