"""Whom the checks of behaviour concern: clients that are not of an exempt network."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_address

from mailstack.config.policy import Network
from mailstack.smtp.facts import Facts


def is_exempt(facts: Facts) -> bool:
    """Whether the client's address is in [policy] exempt. Clients of a unix socket are."""
    return _within(facts.peer.host, facts.settings.policy.exempt)


@lru_cache(maxsize=4096)
def _within(host: str, networks: tuple[Network, ...]) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return True
    return any(address in network for network in networks)
