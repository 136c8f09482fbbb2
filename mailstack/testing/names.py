"""DNS in memory.

    resolver = FakeResolver({"example.org": {"MX": [(10, "mx.example.org")]}}, signed=["example.org"])
    answer = await resolver.mx("example.org")

The zones are as in `mailstack.testing.zones`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from ipaddress import ip_address

from mailstack.names import (
    AddressAnswer,
    BadName,
    LookupFailed,
    Mx,
    MxAnswer,
    NamesAnswer,
    NoData,
    NoRecords,
    NoSuchName,
    TemporaryFailure,
    Tlsa,
    TlsaAnswer,
    TxtAnswer,
    domain_name,
)
from mailstack.testing.zones import MAX_ALIASES, Fault, Field, Zone, Zones

__all__ = ("FakeResolver", "Fault", "Zones")


@dataclass(frozen=True, slots=True)
class _Found:
    name: str
    authenticated: bool
    records: tuple[tuple[Field, ...], ...]


class FakeResolver:
    """Implements `names.Resolver`. A timeout takes no time. What was asked is in `asked`."""

    def __init__(self, zones: Zone | Zones | None = None, *, signed: Collection[str] = (), ttl: int = 300) -> None:
        self.zones = zones if isinstance(zones, Zones) else Zones(zones, signed=signed, ttl=ttl)
        self.asked: list[tuple[str, str]] = []

    async def mx(self, domain: str) -> MxAnswer:
        found = self._find(domain, "MX")
        records = tuple(sorted(Mx(int(preference), _name(host)) for preference, host in found.records))
        return MxAnswer(name=found.name, records=records, authenticated=found.authenticated, ttl=self.zones.ttl)

    async def addresses(self, host: str, *, ipv4: bool = True, ipv6: bool = True) -> AddressAnswer:
        answer, failures = None, list[LookupFailed]()
        for rdtype in ("A" if ipv4 else "", "AAAA" if ipv6 else ""):
            if rdtype:
                try:
                    found = self._find(host, rdtype)
                except BadName:
                    raise
                except LookupFailed as failed:
                    failures.append(failed)
                    continue
                answer = _with(answer, found, rdtype, self.zones.ttl)
        unknown = next((failed for failed in failures if isinstance(failed, TemporaryFailure)), None)
        if answer is None:
            raise unknown or failures[0]
        if unknown is not None:
            return replace(answer, authenticated=False, missing=str(unknown))
        denied = all(failed.authenticated for failed in failures if isinstance(failed, NoRecords))
        return replace(answer, authenticated=answer.authenticated and denied)

    async def txt(self, name: str) -> TxtAnswer:
        found = self._find(name, "TXT")
        texts = tuple(b"".join(_octets(field) for field in record) for record in found.records)
        return TxtAnswer(name=found.name, records=texts, authenticated=found.authenticated, ttl=self.zones.ttl)

    async def ptr(self, address: str) -> NamesAnswer:
        try:
            name = ip_address(address).reverse_pointer
        except ValueError:
            raise BadName(address, "not an IP address") from None
        return self._names(self._find(name, "PTR"))

    async def tlsa(self, name: str) -> TlsaAnswer:
        found = self._find(name, "TLSA")
        records = tuple(
            Tlsa(int(usage), int(selector), int(kind), data if isinstance(data, bytes) else bytes.fromhex(str(data)))
            for usage, selector, kind, data in found.records
        )
        return TlsaAnswer(name=found.name, records=records, authenticated=found.authenticated, ttl=self.zones.ttl)

    async def cname(self, name: str) -> NamesAnswer:
        return self._names(self._find(name, "CNAME"))

    def _names(self, found: _Found) -> NamesAnswer:
        names = tuple(_name(name) for (name,) in found.records)
        return NamesAnswer(name=found.name, records=names, authenticated=found.authenticated, ttl=self.zones.ttl)

    def _find(self, name: str, rdtype: str) -> _Found:
        asked = domain_name(name)
        self.asked.append((asked, rdtype))
        found = self.zones.find(asked, rdtype)
        authenticated = self.zones.is_signed(found.name, *(alias for alias, _ in found.aliases))
        if found.fault is not None:
            raise TemporaryFailure(asked, found.fault.value)
        if len(found.aliases) == MAX_ALIASES:
            raise TemporaryFailure(asked, "too many aliases")
        if not found.records:
            failure = NoData if found.exists else NoSuchName
            raise failure(asked, authenticated=authenticated, ttl=self.zones.ttl, at=found.name)
        return _Found(found.name, authenticated, found.records)


def _with(answer: AddressAnswer | None, found: _Found, rdtype: str, ttl: int) -> AddressAnswer:
    addresses = tuple(str(ip_address(str(address))) for (address,) in found.records)
    if answer is None:
        answer = AddressAnswer(name=found.name, authenticated=found.authenticated, ttl=ttl)
    answer = replace(answer, authenticated=answer.authenticated and found.authenticated)
    return replace(answer, ipv4=addresses) if rdtype == "A" else replace(answer, ipv6=addresses)


def _name(field: Field) -> str:
    return domain_name(str(field))


def _octets(field: Field) -> bytes:
    return field if isinstance(field, bytes) else str(field).encode()
