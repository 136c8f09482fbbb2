"""DANE (RFC 7672), REQUIRETLS (RFC 8689), downgrades, and our own certificate, with real servers and DNS."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme
from carrier_world import DOMAIN, POLICY, World, key_digest, waiting
from hop_peers import files, in_reactor
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from zope.interface import implementer

from mailstack.config.outgoing import Downgrade, OutboundTls, Route
from mailstack.net.tls import CertificateFiles, ServerTls
from mailstack.relay.carrier import SmtpHop
from mailstack.testing.zones import Fault

MX, MX2 = f"mx.{DOMAIN}", f"mx2.{DOMAIN}"
ONE = {"MX": [(10, MX)]}


@pytest.fixture
def signed(world: World) -> World:
    """The domain and its one host are in signed zones."""
    world.dns.zones.signed = (DOMAIN,)
    world.dns.zones[DOMAIN] = ONE
    return world


# --- DANE


@in_reactor
async def test_the_record_is_of_the_servers_key(signed: World) -> None:
    leaf = trustme.CA().issue_cert("whatever.example")
    signed.serve(leaf)
    signed.tlsa((3, 1, 1, b"\1" * 32), (3, 1, 1, key_digest(leaf)))
    assert await signed.reached() == (MX, "verified")
    assert await signed.summary() == [("tlsa", MX, "", "", 1)]
    [count] = await signed.counts()
    assert count.session.domain == DOMAIN and f"3 1 1 {key_digest(leaf).hex()}" in count.session.policy.splitlines()


@in_reactor
async def test_the_record_is_of_an_authority(signed: World) -> None:
    strangers = trustme.CA().create_child_ca()
    leaf = strangers.issue_cert(MX)
    signed.serve(leaf)
    signed.tlsa((2, 1, 1, key_digest(strangers)))
    assert await signed.reached() == (MX, "verified")
    signed.serve(strangers.issue_cert("other.example"))
    signed.tlsa((2, 1, 1, key_digest(strangers)))
    status, text = await signed.reached()
    assert status == "4.7.5" and "is for other.example" in text


@in_reactor
async def test_a_certificate_that_is_another_one_gets_no_mail(signed: World) -> None:
    signed.serve(signed.authority.issue_cert(MX))
    signed.tlsa((3, 1, 1, b"\1" * 32))
    status, text = await signed.reached()
    assert status == "4.7.5" and "no TLSA record is of its certificates" in text
    assert await signed.summary() == [("tlsa", MX, "validation-failure", MX, 1)]
    signed.outbound = {"dane": False}
    assert await signed.reached() == (MX, "verified")


@in_reactor
async def test_records_of_which_none_is_usable_demand_tls_of_any_kind(signed: World) -> None:
    signed.serve(trustme.CA().issue_cert("whatever.example"))
    signed.tlsa((1, 1, 1, b"\1" * 32), (3, 9, 1, b"\1" * 32), (3, 1, 9, b"\1"))
    assert await signed.reached() == (MX, "unverified")
    signed.serve()
    signed.tlsa((1, 1, 1, b"\1" * 32))
    assert (await signed.reached())[0] == "4.7.4"


@in_reactor
@pytest.mark.parametrize("fault", [Fault.SERVFAIL, Fault.BOGUS])
async def test_records_that_nobody_knows_now_keep_the_mail(signed: World, fault: Fault) -> None:
    signed.serve(signed.authority.issue_cert(MX))
    signed.dns.zones[f"_{signed.port}._tcp.{MX}"] = fault
    status, text = await signed.reached()
    assert status == "4.7.5" and "TLSA records of mx.example.net cannot be looked up now" in text
    assert await signed.summary() == [("tlsa", MX, "dnssec-invalid", MX, 1)]
    assert (await signed.reached(require_tls=True))[0] == "4.7.5", "which is no reason to give up"


@in_reactor
@pytest.mark.parametrize("insecure", [MX, DOMAIN])
async def test_where_dnssec_ends_records_mean_nothing(signed: World, insecure: str) -> None:
    leaf = signed.authority.issue_cert(MX)
    signed.serve(leaf)
    signed.dns.zones.signed = ("_tcp.mx.example.net", MX) if insecure == DOMAIN else (f"_tcp.{MX}",)
    signed.tlsa((3, 1, 1, b"\1" * 32))
    assert await signed.reached() == (MX, "verified")
    assert [row[0] for row in await signed.summary()] == ["no-policy-found"]


@in_reactor
@pytest.mark.parametrize("real", ["real.example.net", "real.insecure.example"])
async def test_a_host_that_is_an_alias(signed: World, real: str) -> None:
    leaf = trustme.CA().issue_cert(real)
    signed.serve(leaf)
    signed.dns.zones[MX] = {"CNAME": real}
    signed.dns.zones[real] = {"A": "127.0.0.1"}
    base = real if real.endswith(DOMAIN) else MX
    signed.dns.zones[f"_{signed.port}._tcp.{base}"] = {"TLSA": (3, 1, 1, key_digest(leaf))}
    assert await signed.reached() == (MX, "verified")
    assert await signed.summary() == [("tlsa", base, "", "", 1)]
    signed.dns.zones[f"_{signed.port}._tcp.{base}"] = Fault.SERVFAIL
    assert (await signed.reached())[0] == "4.7.5"


@in_reactor
async def test_dane_goes_before_mta_sts(signed: World) -> None:
    leaf = trustme.CA().issue_cert("whatever.example")
    signed.serve(leaf)
    signed.publish(POLICY.format(mode="enforce", mx=MX))
    signed.say("one")
    signed.tlsa((3, 1, 1, key_digest(leaf)))
    assert await signed.reached() == (MX, "verified")
    assert [row[0] for row in await signed.summary()] == ["tlsa"]
    signed.tlsa((1, 1, 1, b"\1" * 32))
    status, text = await signed.reached()
    assert status == "4.7.5" and "unknown authority" in text, "but not with records that nobody can use"


# --- REQUIRETLS


@in_reactor
async def test_a_host_that_nobody_vouches_for_does_not_get_it(world: World) -> None:
    world.serve(world.authority.issue_cert(MX), world.authority.issue_cert(MX2))
    assert await world.reached() == (MX, "verified")
    status, text = await world.reached(require_tls=True)
    assert status == "5.7.10" and "nothing vouches for" in text
    world.publish(POLICY.format(mode="testing", mx=MX2))
    world.say("one")
    assert await world.reached(require_tls=True) == (MX2, "verified")
    assert await world.reached(require_tls=True, sender="") == (MX, "verified"), "a report goes in any case"


@in_reactor
async def test_tls_that_is_wrong_is_said_at_once(signed: World) -> None:
    signed.serve(signed.authority.issue_cert("other.example"))
    assert await signed.reached() == (MX, "unverified")
    status, text = await signed.reached(require_tls=True)
    assert status == "5.7.10" and "is for other.example" in text
    signed.port = 1
    assert (await signed.reached(require_tls=True))[0] == "4.4.1"


@in_reactor
async def test_a_server_that_does_not_pass_it_on_safely(signed: World, monkeypatch: pytest.MonkeyPatch) -> None:
    signed.serve(signed.authority.issue_cert(MX))
    hop = await signed.open(require_tls=True)
    assert hop.suits(waiting()) and hop.suits(waiting(require_tls=True))
    monkeypatch.setattr(SmtpHop, "offers_require_tls", False)
    assert hop.suits(waiting()) and not hop.suits(waiting(require_tls=True))
    await hop.close()
    status, text = await signed.reached(require_tls=True)
    assert (status, text) == ("5.7.30", "REQUIRETLS: the server does not offer it")


@in_reactor
async def test_which_sessions_such_messages_may_go_over(world: World) -> None:
    world.serve(world.authority.issue_cert(MX))
    world.outbound = {"tls": OutboundTls.VERIFIED}
    hop = await world.open()
    assert not hop.suits(waiting(require_tls=True)), "its certificate is right, but is it the domain's host?"
    assert hop.suits(waiting(require_tls=True, sender=""))
    await hop.close()
    world.outbound = {}
    world.dns.zones.signed = (DOMAIN,)
    hop = await world.open()
    assert not hop.suits(waiting(require_tls=True)), "nobody has insisted on its certificate"
    await hop.close()


# --- downgrades


@pytest.mark.usefixtures("on_disk")
@in_reactor
@pytest.mark.parametrize("later", ["nothing", "broken", "unverified"])
@pytest.mark.parametrize("mode", list(Downgrade))
async def test_tls_that_was_better_before(world: World, mode: Downgrade, later: str) -> None:
    world.dns.zones[DOMAIN] = ONE
    world.serve(world.authority.issue_cert(MX))
    world.downgrade = mode
    assert await world.reached() == (MX, "verified")
    await world.restart()
    if later == "nothing":
        world.serve()
    else:
        broken = Broken() if later == "broken" else None
        world.serve(trustme.CA().issue_cert(MX), tls=broken, tls_available=True)
    now = await world.reached()
    if mode is Downgrade.REPORT:
        assert now == (MX, "unverified" if later == "unverified" else "plain")
    else:
        assert now[0] == "4.7.5" and "before, and has" in now[1]
    await world.reached()
    assert world.counters.totals["outbound_downgrades", ""] == 2
    [line] = [line for line in world.log.lines if line.what == "TLS was better before"]
    assert line.fields["mta"] == MX and line.fields["before"] == "TLS with a certificate that is right"
    world.time += 31 * 86400
    assert (await world.reached())[0] == MX, "it is forgotten after a month"


@implementer(IOpenSSLServerConnectionCreator)
class Broken:
    """A server that begins TLS and cannot go on."""

    def serverConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:
        return SSL.Connection(SSL.Context(SSL.TLS_METHOD), None)


@in_reactor
async def test_a_host_that_never_had_tls_is_not_remarkable(world: World) -> None:
    world.dns.zones[DOMAIN] = ONE
    world.serve()
    world.downgrade = Downgrade.REFUSE
    assert await world.reached() == await world.reached() == (MX, "plain")
    assert not world.counters.total("outbound_downgrades")
    assert await world.summary() == [("no-policy-found", DOMAIN, "starttls-not-supported", MX, 2)]


# --- certificates of ours, and sessions that go on


@in_reactor
async def test_a_route_with_its_own_authorities_and_our_certificate(world: World, tmp_path: Path) -> None:
    own_ca, theirs = trustme.CA(), trustme.CA()
    own = files(tmp_path / "own", own_ca.issue_cert("me.example"))
    clients, servers = tmp_path / "clients.pem", tmp_path / "servers.pem"
    clients.write_bytes(own_ca.cert_pem.bytes())
    servers.write_bytes(theirs.cert_pem.bytes())
    pair = files(tmp_path / "theirs", theirs.issue_cert(MX))
    world.serve(tls=ServerTls([pair], world.log, clients).asking, tls_available=True)
    world.route = Route(hosts=(f"{MX}:{world.port}",), tls=OutboundTls.VERIFIED, ca=servers, name="smarthost",
                        client_certificate=own.certificate, client_key=own.key)  # fmt: skip
    hop = await world.open(">smarthost")
    [connection] = world.rig.listeners[0]._connections
    assert connection.client_certificate is not None and b"me.example" in connection.client_certificate
    assert hop._session.connection.tls_verified
    await hop.close()
    world.route = Route(hosts=(f"{MX}:{world.port}",), tls=OutboundTls.VERIFIED, name="smarthost")
    status, text = await world.reached(">smarthost")
    assert status == "4.7.5" and "unknown authority" in text, "the other authorities are not that route's"
    assert not await world.counts(), "reports are about servers that DNS names"


@implementer(IOpenSSLServerConnectionCreator)
class Tickets:
    """A server's TLS that lets sessions be resumed, as ours does not."""

    def __init__(self, pair: CertificateFiles) -> None:
        self._context = SSL.Context(SSL.TLS_METHOD)
        self._context.use_certificate_chain_file(str(pair.certificate))
        self._context.use_privatekey_file(str(pair.key))

    def serverConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:
        return SSL.Connection(self._context, None)


@in_reactor
@pytest.mark.parametrize("right", [True, False])
async def test_sessions_go_on_whose_certificate_was_right(world: World, tmp_path: Path, right: bool) -> None:
    world.dns.zones[DOMAIN] = ONE
    pair = files(tmp_path / "pair", world.authority.issue_cert(MX if right else "other.example"))
    world.serve(tls=Tickets(pair), tls_available=True)
    for _ in range(3):
        assert await world.reached() == (MX, "verified" if right else "unverified")
    assert world.counters.totals["outbound_tls_resumed", ""] == (2 if right else 0)
