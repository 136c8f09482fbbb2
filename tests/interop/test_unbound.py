"""The resolver asks a real unbound, which validates zones that the test has signed."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dns.dnssec
import dns.flags
import dns.message
import dns.query
import dns.zone
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from pytest_twisted import ensureDeferred

from mailstack.config.sections import Dns, TrustAd
from mailstack.dns.exchange import ReactorExchange
from mailstack.dns.outcomes import MAX_MX
from mailstack.dns.resolver import DnsResolver
from mailstack.names import Mx, NoData, NoSuchName, TemporaryFailure, Tlsa
from mailstack.testing.counters import MemoryCounters
from mailstack.testing.log import RecordingLog

UNBOUND = "/usr/sbin/unbound"
START_LIMIT = 20.0

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(
        not os.access(UNBOUND, os.X_OK), reason="unbound is not installed (Debian: apt-get install unbound)"
    ),
]

CONFIGURATION = """
server:
  interface: 127.0.0.1
  port: {port}
  do-daemonize: no
  username: ""
  chroot: ""
  directory: "{directory}"
  pidfile: ""
  use-syslog: no
  logfile: "{directory}/unbound.log"
  do-not-query-localhost: no
  module-config: "validator iterator"
  ede: yes
  local-zone: "test." nodefault
  local-zone: "plain.test." static
  local-data: "plain.test. 120 IN MX 10 mx.plain.test."
  local-data: "mx.plain.test. 120 IN A 192.0.2.25"
{anchors}
{zones}
remote-control:
  control-enable: no
"""
ZONE = """
{origin} 300 IN SOA ns.{origin} admin.{origin} 1 3600 600 86400 60
{origin} 300 IN NS ns.{origin}
ns.{origin} 300 IN A 192.0.2.53
"""
SIGNED = ZONE.format(origin="signed.test.") + """
signed.test. 300 IN MX 20 b.signed.test.
signed.test. 300 IN MX 10 mx.signed.test.
mx.signed.test. 300 IN A 192.0.2.1
mx.signed.test. 300 IN AAAA 2001:db8::1
_25._tcp.mx.signed.test. 300 IN TLSA 3 1 1 {digest}
www.signed.test. 300 IN CNAME mx.signed.test.
out.signed.test. 300 IN CNAME mx.unsigned.test.
loop.signed.test. 300 IN CNAME pool.signed.test.
pool.signed.test. 300 IN CNAME loop.signed.test.
text.signed.test. 300 IN TXT "v=spf1 " "-all"
""".format(digest="ab" * 32) + "".join(
    f"many.signed.test. 300 IN MX {1000 - number} mx{number}.signed.test.\n" for number in range(1000)
)  # fmt: skip


def sign(directory: Path, origin: str, text: str, *, break_it: bool = False) -> str:
    """Write a signed zone; the trust anchor for it."""
    zone = dns.zone.from_text(text, origin, relativize=False)
    key = ec.generate_private_key(ec.SECP256R1())
    dnskey = dns.dnssec.make_dnskey(key.public_key(), dns.dnssec.Algorithm.ECDSAP256SHA256, flags=257)
    dns.dnssec.sign_zone(zone, keys=[(key, dnskey)], lifetime=86400, add_dnskey=True, dnskey_ttl=300)
    written = zone.to_text(relativize=False)
    (directory / f"{origin}zone").write_text(written.replace("192.0.2.1\n", "192.0.2.66\n") if break_it else written)
    return f'  trust-anchor: "{origin} 300 IN DNSKEY {dnskey.to_text()}"'


def is_up(port: int) -> bool:
    query = dns.message.make_query("plain.test", "MX")
    try:
        dns.query.udp(query, "127.0.0.1", port=port, timeout=0.2)
    except (OSError, dns.exception.Timeout):
        return False
    return True


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture(scope="module")
def unbound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its address."""
    directory = tmp_path_factory.mktemp("unbound")
    bogus = ZONE.format(origin="bogus.test.") + "bogus.test. 300 IN A 192.0.2.1\n"
    anchors = [sign(directory, "signed.test.", SIGNED), sign(directory, "bogus.test.", bogus, break_it=True)]
    unsigned = ZONE.format(origin="unsigned.test.") + "mx.unsigned.test. 300 IN A 192.0.2.9\n"
    (directory / "unsigned.test.zone").write_text(unsigned)
    zones = [
        f'auth-zone:\n  name: "{name}"\n  zonefile: "{directory}/{name}zone"\n  for-upstream: yes\n'
        "  for-downstream: no\n  fallback-enabled: no\n"
        for name in ("signed.test.", "bogus.test.", "unsigned.test.")
    ]
    port = free_port()
    (directory / "unbound.conf").write_text(
        CONFIGURATION.format(port=port, directory=directory, anchors="\n".join(anchors), zones="\n".join(zones))
    )
    process = subprocess.Popen([UNBOUND, "-d", "-p", "-c", str(directory / "unbound.conf")])
    try:
        end = time.monotonic() + START_LIMIT
        while not is_up(port):
            assert process.poll() is None and time.monotonic() < end, (directory / "unbound.log").read_text()
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(START_LIMIT)


@pytest.fixture
def resolver(unbound: str) -> DnsResolver:
    return make(unbound)


def make(server: str, **settings: Any) -> DnsResolver:
    from twisted.internet import reactor

    return DnsResolver(
        Dns(servers=(server,), **settings), reactor, ReactorExchange(reactor), RecordingLog(), MemoryCounters()
    )


@ensureDeferred
async def test_local_data_is_found_and_not_authenticated(resolver: DnsResolver) -> None:
    answer = await resolver.mx("plain.test")
    assert (answer.records, answer.authenticated) == ((Mx(10, "mx.plain.test"),), False)
    assert 0 < answer.ttl <= 120
    assert (await resolver.addresses("mx.plain.test")).records == ("192.0.2.25",)
    with pytest.raises(NoSuchName):
        await resolver.mx("gone.plain.test")


@ensureDeferred
async def test_a_signed_zone_is_authenticated(resolver: DnsResolver, unbound: str) -> None:
    mx = await resolver.mx("signed.test")
    assert (mx.records, mx.authenticated) == ((Mx(10, "mx.signed.test"), Mx(20, "b.signed.test")), True)
    addresses = await resolver.addresses("mx.signed.test")
    assert (addresses.records, addresses.authenticated) == (("2001:db8::1", "192.0.2.1"), True)
    tlsa = await resolver.tlsa("_25._tcp.mx.signed.test")
    assert (tlsa.records, tlsa.authenticated) == ((Tlsa(3, 1, 1, b"\xab" * 32),), True)
    assert (await resolver.txt("text.signed.test")).records == (b"v=spf1 -all",)
    assert not (await make(unbound, trust_ad=TrustAd.NEVER).mx("signed.test")).authenticated


@ensureDeferred
async def test_that_there_is_nothing_is_authenticated_too(resolver: DnsResolver) -> None:
    with pytest.raises(NoSuchName) as gone:
        await resolver.addresses("b.signed.test")
    with pytest.raises(NoData) as nothing:
        await resolver.tlsa("mx.signed.test")
    assert gone.value.authenticated and nothing.value.authenticated
    assert 0 < nothing.value.ttl <= 60  # the SOA record's minimum (RFC 2308 §5)


@ensureDeferred
async def test_aliases_are_authenticated_as_far_as_they_go(resolver: DnsResolver) -> None:
    inside, outside = await resolver.addresses("www.signed.test"), await resolver.addresses("out.signed.test")
    assert (inside.name, inside.authenticated) == ("mx.signed.test", True)
    assert (outside.name, outside.authenticated) == ("mx.unsigned.test", False)
    assert (await resolver.cname("out.signed.test")).authenticated
    with pytest.raises(TemporaryFailure):
        await resolver.addresses("loop.signed.test")


@ensureDeferred
async def test_a_wrong_signature_is_a_temporary_failure(resolver: DnsResolver) -> None:
    with pytest.raises(TemporaryFailure, match="SERVFAIL"):
        await resolver.addresses("bogus.test", ipv6=False)


@ensureDeferred
async def test_a_thousand_exchangers_come_by_tcp(resolver: DnsResolver) -> None:
    answer = await resolver.mx("many.signed.test")
    assert [each.preference for each in answer.records] == list(range(1, MAX_MX + 1))
    assert answer.authenticated and answer.left_out == 1000 - MAX_MX
