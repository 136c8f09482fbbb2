"""What mail sees of a domain, for people to look at: which questions it asks, and what comes back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

from mailstack.mail.mta_sts import StsPolicy
from mailstack.names import Answer, LookupFailed, MxAnswer, NoData, NoRecords, Resolver

SHOWN_HOSTS = 10
"""Mail exchangers that are looked up."""
SMTP_TLSA = "_25._tcp."
"""Where the TLSA records of a mail exchanger are (RFC 7672 §2.2.3)."""

ASK: dict[str, Callable[[Resolver, str], Awaitable[Answer]]] = {
    "MX": lambda resolver, name: resolver.mx(name),
    "A": lambda resolver, name: resolver.addresses(name, ipv6=False),
    "AAAA": lambda resolver, name: resolver.addresses(name, ipv4=False),
    "TXT": lambda resolver, name: resolver.txt(name),
    "TLSA": lambda resolver, name: resolver.tlsa(name),
    "CNAME": lambda resolver, name: resolver.cname(name),
    "PTR": lambda resolver, name: resolver.ptr(name),
}
"""Each type that can be asked for; PTR takes an IP address."""
_BOTH = "A+AAAA"


@dataclass(frozen=True, slots=True)
class Seen:
    """One question, and what came of it after `seconds`."""

    name: str
    rdtype: str
    came: Answer | LookupFailed
    seconds: float

    @property
    def found(self) -> bool:
        return isinstance(self.came, Answer)


@dataclass(frozen=True, slots=True)
class Host:
    """A mail exchanger. `preference` is None when the domain is its own."""

    name: str
    preference: int | None
    addresses: Seen
    tlsa: Seen


@dataclass(slots=True)
class Domain:
    """All that sending to a domain begins with."""

    mx: Seen
    hosts: list[Host] = field(default_factory=list)
    more_hosts: int = 0
    """Exchangers that were not looked up."""
    mta_sts: Seen | None = None
    tls_rpt: Seen | None = None
    policy: StsPolicy | str | None = None
    """Of MTA-STS, or why it cannot be had; None: nobody has asked."""

    @property
    def can_receive(self) -> bool:
        """Whether there is an address to send to."""
        return any(host.addresses.found for host in self.hosts)

    @property
    def accepts_no_mail(self) -> bool:
        """It says so (RFC 7505)."""
        return isinstance(self.mx.came, MxAnswer) and self.mx.came.is_null

    def __iter__(self) -> Iterator[Seen]:
        """Every question."""
        yield self.mx
        for host in self.hosts:
            yield from (host.addresses, host.tlsa)
        yield from (each for each in (self.mta_sts, self.tls_rpt) if each is not None)


@dataclass(frozen=True, slots=True)
class Lookup:
    """Asks `resolver`; `now` is time that never goes back, in seconds."""

    resolver: Resolver
    now: Callable[[], float]

    async def one(self, name: str, rdtype: str) -> Seen:
        """One question of ASK."""
        return await self._timed(name, rdtype, ASK[rdtype])

    async def domain(self, name: str) -> Domain:
        """Exchangers, their addresses and TLSA records, and what the domain says of TLS (RFC 8461, RFC 8460)."""
        domain = Domain(await self.one(name, "MX"))
        came = domain.mx.came
        if isinstance(came, MxAnswer) and not came.is_null:
            for mx in came.records[:SHOWN_HOSTS]:
                domain.hosts.append(await self._host(mx.host, mx.preference))
            domain.more_hosts = len(came.records[SHOWN_HOSTS:]) + came.left_out
        elif isinstance(came, NoData):  # RFC 5321 §5.1
            domain.hosts.append(await self._host(name, None))
        if not isinstance(came, LookupFailed) or isinstance(came, NoRecords):
            domain.mta_sts = await self.one(f"_mta-sts.{name}", "TXT")
            domain.tls_rpt = await self.one(f"_smtp._tls.{name}", "TXT")
        return domain

    async def _host(self, name: str, preference: int | None) -> Host:
        addresses = await self._timed(name, _BOTH, lambda resolver, host: resolver.addresses(host))
        at = addresses.came.name if isinstance(addresses.came, Answer) and addresses.came.authenticated else name
        return Host(name, preference, addresses, await self.one(SMTP_TLSA + at, "TLSA"))

    async def _timed(self, name: str, rdtype: str, ask: Callable[[Resolver, str], Awaitable[Answer]]) -> Seen:
        begun = self.now()
        try:
            came: Answer | LookupFailed = await ask(self.resolver, name)
        except LookupFailed as failed:
            came = failed
        return Seen(name, rdtype, came, self.now() - begun)
