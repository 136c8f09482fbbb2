"""The hosts to try for one destination, one after the other, with what TLS must be like at each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from ipaddress import ip_address

from mailstack.config.outgoing import OutboundTls
from mailstack.handover import Certainty, HopFailed, Outcome, TlsDemand, Verdict
from mailstack.names import Resolver
from mailstack.net.hop import Target
from mailstack.relay import mx, tls_policy
from mailstack.relay.settings import Server, Way
from mailstack.relay.tls_policy import Policies, Policy


@dataclass(frozen=True, slots=True)
class Candidate:
    """One address of one host. `demand` None: never TLS. `implicit`: TLS begins with the first octet. `named_safely`:
    nobody on the way can have put this host in place of the domain's (RFC 8689 §4.2.1)."""

    target: Target
    demand: TlsDemand | None
    implicit: bool = False
    named_safely: bool = False


@dataclass(frozen=True, slots=True)
class Lookups:
    """What is asked: DNS and policies; `ours` are the names of this server, `shuffle` is chance."""

    resolver: Resolver
    policies: Policies
    ours: Collection[str]
    shuffle: mx.Shuffle


async def candidates(domain: str, way: Way, lookups: Lookups) -> AsyncIterator[Candidate | HopFailed]:
    """In the order in which they are tried, each looked up when it is its turn; a HopFailed is a host that is not one
    for this reason. Raises: HopFailed, when nothing is known of any host."""
    if way.servers:
        for server in way.servers:
            async for found in _of_server(server, way, lookups):
                yield found
    elif domain.startswith("["):
        address = _literal(domain)
        yield Candidate(_target(address, address, way.port, way), tls_policy.demanded(way.tls, (), way.authorities))
    else:
        async for found in _of_domain(domain, way, lookups):
            yield found


async def _of_server(server: Server, way: Way, lookups: Lookups) -> AsyncIterator[Candidate | HopFailed]:
    implicit = way.tls is OutboundTls.IMPLICIT
    demand = tls_policy.demanded(way.tls, (server.host,) if not server.is_unix else (), way.authorities)
    if server.is_unix or _is_address(server.host):
        addresses: tuple[str, ...] = (server.host,)
    elif way.proxy is not None:
        addresses = (server.host,)
    elif server.host == "localhost":
        addresses = ("::1", "127.0.0.1")  # RFC 6761 §6.3: never asked of DNS
    else:
        try:
            addresses = (await mx.addresses(lookups.resolver, server.host, ipv6=way.ipv6)).addresses
        except HopFailed as failed:
            yield failed
            return
    for address in addresses:
        yield Candidate(_target(address, server.host, server.port, way), _with(demand, way), implicit, True)


async def _of_domain(domain: str, way: Way, lookups: Lookups) -> AsyncIterator[Candidate | HopFailed]:
    found = await mx.exchangers(lookups.resolver, domain, lookups.ours, lookups.shuffle)
    policy = await lookups.policies.policy(domain)
    for host in found.hosts:
        if policy is not None and policy.enforced and not policy.allows(host):
            yield _not_allowed(host, domain)
            continue
        try:
            addresses = await mx.addresses(lookups.resolver, host, ipv6=way.ipv6)
            demand, safely = await _demand(domain, host, addresses, found.authenticated, policy, way, lookups)
        except HopFailed as failed:
            yield failed
            continue
        for address in addresses.addresses:
            yield Candidate(_target(address, host, way.port, way), _with(demand, way), named_safely=safely)


async def _demand(
    domain: str,
    host: str,
    addresses: mx.HostAddresses,
    authenticated: bool,
    policy: Policy | None,
    way: Way,
    lookups: Lookups,
) -> tuple[TlsDemand | None, bool]:
    """What TLS must be like, and whether the host is safely the domain's. DANE goes before MTA-STS (RFC 8461 §2)."""
    demand = tls_policy.demanded(way.tls, (host,), way.authorities)
    if way.dane and addresses.authenticated and (authenticated or domain == host):
        records, any_at_all = await tls_policy.tlsa(lookups.resolver, host, way.port)
        if any_at_all:
            names = tuple(dict.fromkeys((host, addresses.name, domain) if authenticated else (host, addresses.name)))
            return tls_policy.by_tlsa(demand, records, names), authenticated
    if policy is not None and policy.enforced:
        return tls_policy.by_policy(demand, host), True
    return demand, authenticated or domain == host


def _with(demand: TlsDemand | None, way: Way) -> TlsDemand | None:
    if demand is None:
        return None
    if way.identity is None:
        return demand
    return TlsDemand(demand.required, demand.certainty, demand.names, demand.records, demand.authorities, way.identity)


def for_message(candidate: Candidate, require_tls: bool) -> Candidate:
    """As a message that must not go without TLS needs it (RFC 8689 §4.2.1). Raises: HopFailed."""
    if not require_tls:
        return candidate
    host = candidate.target.host
    demand = candidate.demand or TlsDemand(names=(host,))
    if not candidate.named_safely:
        text = f"the sender demands TLS, and nothing vouches for that {host} is the domain's server (RFC 8689)"
        raise HopFailed(Outcome(Verdict.LATER, "4.7.30", text, host, remote=False))
    certainty = Certainty.NAMED if demand.certainty is Certainty.NONE else demand.certainty
    return Candidate(
        candidate.target,
        TlsDemand(True, certainty, demand.names or (host,), demand.records, demand.authorities, demand.identity),
        candidate.implicit,
        True,
    )


def _target(address: str, host: str, port: int, way: Way) -> Target:
    return Target(address, port, host, way.source(address), way.proxy)


def _not_allowed(host: str, domain: str) -> HopFailed:
    text = f"{host} is a mail exchanger of {domain}, but its MTA-STS policy does not allow it"
    return HopFailed(Outcome(Verdict.LATER, "4.7.5", text, host, remote=False), tls="validation-failure")


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _literal(domain: str) -> str:
    """The address of an address literal (RFC 5321 §4.1.3). Raises: HopFailed."""
    text = domain[1:-1]
    if text.lower().startswith("ipv6:"):
        text = text[5:]
    if not _is_address(text):
        raise HopFailed(
            Outcome(Verdict.NEVER, "5.1.2", f"{domain} is not an address that can be reached", remote=False)
        )
    return text
