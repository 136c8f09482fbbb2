"""The hosts to try for one destination, one after the other, with what TLS must be like at each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, replace
from ipaddress import ip_address

from mailstack.config.outgoing import OutboundTls
from mailstack.handover import Certainty, HopFailed, Outcome, TlsDemand, Verdict
from mailstack.names import BadName, NoRecords, Resolver, TemporaryFailure
from mailstack.net.hop import Target
from mailstack.relay import mx, tls_policy
from mailstack.relay.settings import Server, Way
from mailstack.relay.tls_policy import STS, TLSA, Applied, Policies, Policy


@dataclass(frozen=True, slots=True)
class Candidate:
    """One address of one host. `demand` None: never TLS. `implicit`: TLS begins with the first octet. `named_safely`:
    nobody on the way can have put this host in place of the domain's (RFC 8689 §4.2.1). `applied`: under which policy
    its sessions are counted, None: not at all. `misnamed`: what a policy has against it that is not enforced."""

    target: Target
    demand: TlsDemand | None
    implicit: bool = False
    named_safely: bool = False
    applied: Applied | None = None
    misnamed: str = ""


@dataclass(frozen=True, slots=True)
class Unfit:
    """A host that is no candidate, why, and under which policy that is counted."""

    failed: HopFailed
    applied: Applied | None = None


@dataclass(frozen=True, slots=True)
class Lookups:
    """What is asked: DNS and policies; `ours` are the names of this server, `shuffle` is chance."""

    resolver: Resolver
    policies: Policies
    ours: Collection[str]
    shuffle: mx.Shuffle


async def candidates(domain: str, way: Way, lookups: Lookups) -> AsyncIterator[Candidate | Unfit]:
    """In the order in which they are tried, each looked up when it is its turn.
    Raises: HopFailed, when nothing is known of any host."""
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


async def others_first(
    found: AsyncIterator[Candidate | Unfit], hosts: Collection[str]
) -> AsyncIterator[Candidate | Unfit]:
    """In the same order, but these hosts when all others have been tried."""
    put_off: list[Candidate] = []
    async for each in found:
        if isinstance(each, Candidate) and (each.target.host or each.target.address) in hosts:
            put_off.append(each)
        else:
            yield each
    for candidate in put_off:
        yield candidate


async def _of_server(server: Server, way: Way, lookups: Lookups) -> AsyncIterator[Candidate | Unfit]:
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
            yield Unfit(failed)
            return
    for address in addresses:
        yield Candidate(_target(address, server.host, server.port, way), _with(demand, way), implicit, True)


async def _of_domain(domain: str, way: Way, lookups: Lookups) -> AsyncIterator[Candidate | Unfit]:
    found = await mx.exchangers(lookups.resolver, domain, lookups.ours, lookups.shuffle)
    policy = await lookups.policies.policy(domain)
    for host in found.hosts:
        applied = Applied(domain, domain)
        if policy is not None:
            applied = Applied(domain, domain, STS, policy.lines)
        refused = _not_allowed(host, domain) if policy is not None and not policy.allows(host) else None
        if refused is not None and policy is not None and policy.enforced:
            yield Unfit(refused, applied)
            continue
        try:
            addresses = await mx.addresses(lookups.resolver, host, ipv6=way.ipv6)
            demand, safely, applied = await _demand(
                domain, host, addresses, found.authenticated, policy, applied, way, lookups
            )
        except HopFailed as failed:
            yield Unfit(failed, Applied(domain, host, TLSA) if failed.tls else None)
            continue
        for address in addresses.addresses:
            yield Candidate(
                _target(address, host, way.port, way), _with(demand, way), named_safely=safely, applied=applied,
                misnamed=refused.outcome.text if refused is not None else "",
            )  # fmt: skip


async def _demand(
    domain: str,
    host: str,
    addresses: mx.HostAddresses,
    authenticated: bool,
    policy: Policy | None,
    applied: Applied,
    way: Way,
    lookups: Lookups,
) -> tuple[TlsDemand | None, bool, Applied]:
    """What TLS must be like, whether the host is safely the domain's, and which policy says so. DANE goes before
    MTA-STS (RFC 8461 §2)."""
    demand = tls_policy.demanded(way.tls, (host,), way.authorities)
    safely = authenticated or domain == host or (policy is not None and policy.allows(host))
    bases = await _bases(host, addresses, lookups.resolver) if way.dane and (authenticated or domain == host) else ()
    enforced = policy is not None and policy.enforced
    for base in bases:
        records, any_at_all = await tls_policy.tlsa(lookups.resolver, base, way.port)
        if any_at_all and (records or not enforced):
            names = tuple(dict.fromkeys((base, host, domain) if authenticated else (base, host)))
            lines = tuple(f"{r.usage} {r.selector} {r.matching_type} {r.data.hex()}" for r in records)
            return tls_policy.by_tlsa(demand, records, names), safely, Applied(domain, base, TLSA, lines)
        if any_at_all:
            break  # which demand no more than the policy does
    if enforced:
        return tls_policy.by_policy(demand, host, way.authorities), safely, applied
    return demand, safely, applied


async def _bases(host: str, addresses: mx.HostAddresses, resolver: Resolver) -> tuple[str, ...]:
    """Names at which TLSA records are looked for, in this order: to which DNSSEC has led from the host, then its own,
    even if the alias at it leads on to where there is no DNSSEC (RFC 7672 §2.2.2). Raises: HopFailed."""
    if addresses.authenticated:
        return tuple(dict.fromkeys((addresses.name or host, host)))
    if addresses.name in ("", host):
        return ()
    try:
        alias = await resolver.cname(host)
    except (NoRecords, BadName):
        return ()
    except TemporaryFailure as error:
        raise tls_policy.not_known_now(host, error) from error
    return (host,) if alias.authenticated else ()


def _with(demand: TlsDemand | None, way: Way) -> TlsDemand | None:
    return demand if demand is None or way.identity is None else replace(demand, identity=way.identity)


def for_message(candidate: Candidate, require_tls: bool) -> Candidate:
    """As a message that must not go without TLS needs it (RFC 8689 §4.2.1). Raises: HopFailed."""
    if not require_tls:
        return candidate
    host = candidate.target.host
    if not candidate.named_safely:
        text = f"the sender demands TLS, and nothing vouches for that {host} is the domain's server (RFC 8689)"
        raise HopFailed(Outcome(Verdict.NEVER, "5.7.10", text, host, remote=False))
    demand = candidate.demand or TlsDemand(names=(host,))
    certainty = demand.certainty if demand.certainty.is_sure else Certainty.NAMED
    return replace(candidate, demand=replace(demand, required=True, certainty=certainty, names=demand.names or (host,)))


def suits(candidate: Candidate, require_tls: bool) -> bool:
    """Whether a session with it is one that such a message may go over."""
    demand = candidate.demand
    return not require_tls or (
        candidate.named_safely and demand is not None and demand.required and demand.certainty.is_sure
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
