"""Where one recipient goes, and why: for whoever looks after the server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mailstack.handover import Certainty, HopFailed, TlsDemand
from mailstack.ports import Envelope
from mailstack.queue.items import LOCAL
from mailstack.relay.candidates import Candidate, Lookups, Unfit, candidates
from mailstack.relay.routes import Destination, Router
from mailstack.relay.settings import Way

MOST = 20
"""Addresses that are looked for."""


@dataclass(frozen=True, slots=True)
class Explained:
    """`way` is None for mailboxes here; `held` is why it is held first, "" if it is not. A HopFailed is a host that
    cannot be used, or says why there is none."""

    recipient: str
    destination: str
    held: str
    way: Way | None
    hosts: tuple[Candidate | HopFailed, ...] = ()

    @property
    def can_go(self) -> bool:
        """Whether there is a server for it."""
        return self.way is None or any(isinstance(host, Candidate) for host in self.hosts)

    def lines(self) -> Iterator[str]:
        route = Destination.parse(self.destination).route
        by = "mailboxes here" if self.way is None else f"by [[routes]] {route}" if route else "by DNS"
        yield f"{self.recipient} -> {self.destination} ({by})"
        if self.held:
            yield f"  held first: {self.held}"
        if self.way is not None and self.way.login is not None:
            yield f"  logs in as {self.way.login.user}"
        for host in self.hosts:
            if isinstance(host, HopFailed):
                yield f"  -  {host.outcome.status} {host.outcome.text}"
            else:
                yield f"  {host.target}  {self._protocol}, TLS {tls_text(host.demand, host.implicit)}{_from(host)}"

    @property
    def _protocol(self) -> str:
        return "LMTP" if self.way is not None and self.way.lmtp else "SMTP"

    def document(self) -> dict[str, Any]:
        """As docs/commands.md says."""
        return {
            "recipient": self.recipient,
            "destination": self.destination,
            "held": self.held or None,
            "hosts": [self._host(host) for host in self.hosts],
        }

    def _host(self, host: Candidate | HopFailed) -> dict[str, Any]:
        if isinstance(host, HopFailed):
            return {"host": host.outcome.mta or None, "status": host.outcome.status, "error": host.outcome.text}
        target = host.target
        return {
            "host": target.host,
            "address": target.address,
            "port": target.port,
            "protocol": self._protocol.lower(),
            "tls": tls_text(host.demand, host.implicit),
            "source": target.source or None,
            "proxy": f"{target.proxy.host}:{target.proxy.port}" if target.proxy else None,
        }


def tls_text(demand: TlsDemand | None, implicit: bool) -> str:
    """What TLS has to be like, in words."""
    if demand is None:
        return "never"
    if not demand.required:
        return "if it is offered, with any certificate"
    certificate = {
        Certainty.NONE: "any certificate",
        Certainty.NOTED: "any certificate",
        Certainty.NAMED: f"a certificate of {' or '.join(demand.names)}",
        Certainty.TLSA: f"a certificate by {len(demand.records)} TLSA records (DANE)",
    }[demand.certainty]
    return f"required{' from the first octet' if implicit else ''}, with {certificate}"


def _from(host: Candidate) -> str:
    source = f", from {host.target.source}" if host.target.source else ""
    return source + (f", by the proxy {host.target.proxy.host}:{host.target.proxy.port}" if host.target.proxy else "")


async def explained(
    envelope: Envelope, number: int, router: Router, ways: Mapping[str, Way], lookups: Lookups
) -> Explained:
    """Of the recipient with this number. Asks DNS, and connects to nobody."""
    recipient = envelope.recipients[number]
    destination, _, held = next(
        place for place in router.places(Envelope(envelope.sender, (recipient,), envelope.account))
    )
    if destination == LOCAL:
        return Explained(str(recipient), destination, held, None)
    to = Destination.parse(destination)
    way = ways[to.route]
    hosts: list[Candidate | HopFailed] = []
    try:
        async for found in candidates(to.domain, way, lookups):
            hosts.append(found.failed if isinstance(found, Unfit) else found)
            if len(hosts) == MOST:
                break
    except HopFailed as failed:
        hosts.append(failed)
    return Explained(str(recipient), destination, held, way, tuple(hosts))
