"""One authority and one DNS server for all tests of the carrier."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from carrier_world import DOMAIN, World

from mailstack.observe.metrics import COUNTERS
from mailstack.testing.dns_server import DnsServer, Zones


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA(organization_name="Test Authority")


@pytest.fixture(scope="module")
def dns_server() -> Iterator[DnsServer]:
    with DnsServer() as server:
        yield server


@pytest.fixture
def world(tmp_path: Path, authority: trustme.CA, dns_server: DnsServer) -> Iterator[World]:
    dns_server.questions.clear()
    dns_server.zones = Zones(
        {
            DOMAIN: {"MX": [(10, f"mx.{DOMAIN}"), (20, f"mx2.{DOMAIN}")]},
            **{f"{host}.{DOMAIN}": {"A": "127.0.0.1"} for host in ("mx", "mx2", "mta-sts")},
        }
    )
    world = World(tmp_path, authority, dns_server)
    yield world
    world.end()
    assert not world.log.failures
    assert {name for name, _ in world.counters.totals} <= {counter.name for counter in COUNTERS}


@pytest.fixture
def on_disk(world: World, tmp_path: Path) -> None:
    """What the server remembers is in a file, so that it can be restarted."""
    world.begin(tmp_path / "tls.sqlite3")
