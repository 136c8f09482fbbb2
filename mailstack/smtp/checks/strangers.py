"""Whom the checks of behaviour concern: clients that are not of an exempt network."""

from __future__ import annotations

from functools import lru_cache

from mailstack.config.policy import Network
from mailstack.rates import RateCounter, network_of
from mailstack.smtp.facts import Facts
from mailstack.smtp.settings import is_among


def is_exempt(facts: Facts) -> bool:
    """Whether the client's address is in [policy] exempt. Clients of a unix socket are."""
    host = facts.peer.host
    return not host or _is_among(host, facts.settings.policy.exempt)


def fits(facts: Facts, counter: RateCounter, limit: int, now: float) -> bool:
    """Count one more event of the client's address: whether it is within the limit, where 0 is none."""
    return not limit or is_exempt(facts) or counter.take(network_of(facts.peer.host), limit, now)


@lru_cache(maxsize=4096)
def _is_among(host: str, networks: tuple[Network, ...]) -> bool:
    return is_among(host, networks)
