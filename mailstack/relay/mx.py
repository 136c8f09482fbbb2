"""The servers of a domain (RFC 5321 §5.1, RFC 7505, RFC 7672 §2.2), in the order in which they are tried."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import groupby

from mailstack.handover import HopFailed, Outcome, Verdict
from mailstack.names import ROOT, BadName, Mx, NoData, NoRecords, NoSuchName, Resolver, TemporaryFailure

MAX_HOSTS = 10
"""Hosts of a domain that are tried in one attempt."""
MAX_ADDRESSES = 4
"""Of those, addresses of one host."""


@dataclass(frozen=True, slots=True)
class Exchangers:
    """Host names, the first to be tried first. `authenticated`: DNSSEC vouches for that these are the domain's."""

    hosts: tuple[str, ...]
    authenticated: bool = False


Shuffle = Callable[[list[str]], None]
"""Brings a list into an order by chance, in place."""


async def exchangers(resolver: Resolver, domain: str, ours: Collection[str], shuffle: Shuffle) -> Exchangers:
    """The domain's mail exchangers. `ours` are names that are this server: it, and whoever is no better, is not
    asked, or mail would go around. Raises: HopFailed."""
    try:
        answer = await resolver.mx(domain)
    except NoSuchName as error:
        raise _never("5.1.2", f"the domain {domain} does not exist") from error
    except NoData as error:
        return Exchangers((domain,), error.authenticated)
    except BadName as error:
        raise _never("5.1.2", f"{domain} is not a domain name: {error.why}") from error
    except TemporaryFailure as error:
        raise _later(f"the mail exchangers of {domain} cannot be looked up now: {error.why}") from error
    hosts = [record for record in answer.records if record.host != ROOT]
    if not hosts:
        raise _never("5.1.10", f"the domain {domain} accepts no mail (null MX)")
    records = _before_us(hosts, ours)
    if not records:
        raise _never("5.4.6", f"mail for {domain} loops back to this server: its best mail exchanger is this one")
    return Exchangers(_ordered(records, shuffle), answer.authenticated)


def _before_us(records: Sequence[Mx], ours: Collection[str]) -> list[Mx]:
    us = min((record.preference for record in records if record.host in ours), default=None)
    return [record for record in records if us is None or record.preference < us]


def _ordered(records: Sequence[Mx], shuffle: Shuffle) -> tuple[str, ...]:
    ordered: list[str] = []
    for _, group in groupby(sorted(records), key=lambda record: record.preference):
        equal = [record.host for record in group]
        shuffle(equal)
        ordered += equal
    return tuple(dict.fromkeys(ordered))[:MAX_HOSTS]


@dataclass(frozen=True, slots=True)
class HostAddresses:
    """Addresses of a host, IPv6 first. `authenticated` as of Exchangers; `name` is what its aliases led to."""

    addresses: tuple[str, ...]
    authenticated: bool = False
    name: str = ""


async def addresses(resolver: Resolver, host: str, *, ipv6: bool = True) -> HostAddresses:
    """Raises: HopFailed."""
    try:
        answer = await resolver.addresses(host, ipv6=ipv6)
    except (NoRecords, BadName) as error:
        raise _never("5.4.4", f"the mail server {host} has no address", host) from error
    except TemporaryFailure as error:
        raise _later(f"the address of {host} cannot be looked up now: {error.why}", host) from error
    return HostAddresses(answer.records[:MAX_ADDRESSES], answer.authenticated, answer.name)


def _never(status: str, text: str, mta: str = "") -> HopFailed:
    return HopFailed(Outcome(Verdict.NEVER, status, text, mta, remote=False))


def _later(text: str, mta: str = "") -> HopFailed:
    return HopFailed(Outcome(Verdict.LATER, "4.4.3", text, mta, remote=False))
