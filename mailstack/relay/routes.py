"""Where recipients go. Pure.

A destination is a word that says how recipients are reached, and what shares connections:

    local                       mailboxes of ours
    example.org                 the servers that DNS names for a domain, or an address literal
    example.org>route1          the same, in the way of a route
    >smarthost                  the hosts of a route
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from mailstack.config.outgoing import Hold, Route
from mailstack.mail.address import Address, ascii_domain
from mailstack.ports import Envelope
from mailstack.queue.items import GIVEN_UP, LOCAL

SEPARATOR = ">"


@dataclass(frozen=True, slots=True)
class Destination:
    """`domain` is "" where a route has hosts; `route` is "" for none."""

    domain: str
    route: str = ""

    def __str__(self) -> str:
        return f"{self.domain}{SEPARATOR}{self.route}" if self.route else self.domain

    @classmethod
    def parse(cls, text: str) -> Destination:
        """Of what `str` has made."""
        domain, _, route = text.partition(SEPARATOR)
        return cls(domain, route)


class Router:
    """Implements `queue.Placing`."""

    def __init__(self, ours: Sequence[str], routes: Sequence[Route], holds: Sequence[Hold]) -> None:
        self._ours = frozenset(ascii_domain(domain) for domain in ours)
        self._named = tuple((route.name or f"route{number}", route) for number, route in enumerate(routes, 1))
        self._holds = tuple(holds)

    def route(self, name: str) -> Route | None:
        """The route of a destination; None if there is none (any more)."""
        return dict(self._named).get(name)

    def places(self, envelope: Envelope) -> Sequence[tuple[str, tuple[int, ...], str]]:
        found: dict[str, list[int]] = {}
        held: dict[str, str] = {}
        for number, recipient in enumerate(envelope.recipients):
            destination = self.destination(envelope, recipient)
            found.setdefault(destination, []).append(number)
            reason = "" if destination == LOCAL else self._held(envelope, recipient)
            if reason:
                held.setdefault(destination, reason)
        return [(name, tuple(numbers), held.get(name, "")) for name, numbers in found.items()]

    def destination(self, envelope: Envelope, recipient: Address) -> str:
        """Where this one goes."""
        domain = ascii_domain(recipient.domain)
        if not domain or domain in self._ours:
            return LOCAL
        for name, route in self._named:
            if _fits(route, envelope, domain):
                return str(Destination("" if route.hosts else domain, name))
        return domain

    def _held(self, envelope: Envelope, recipient: Address) -> str:
        domain = ascii_domain(recipient.domain)
        rule = next((rule for rule in self._holds if _fits(rule, envelope, domain)), None)
        if rule is None:
            return ""
        return rule.reason if rule.reason and rule.reason != GIVEN_UP else Hold().reason


def _fits(rule: Route | Hold, envelope: Envelope, domain: str) -> bool:
    sender = str(envelope.sender).lower() if envelope.sender else "<>"
    return (
        _among(rule.domains, domain)
        and _among(rule.senders, sender)
        and (not rule.accounts or (envelope.account is not None and _among(rule.accounts, envelope.account.lower())))
    )


def _among(patterns: Sequence[str], name: str) -> bool:
    return not patterns or any(fnmatchcase(name, _pattern(pattern)) for pattern in patterns)


def _pattern(pattern: str) -> str:
    local, at, domain = pattern.rpartition("@")
    found = f"{local.lower()}{at}{ascii_domain(domain)}"
    return found.replace("[", "[[]")  # only * is special; an address literal is none
