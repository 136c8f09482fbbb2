"""What TLS with a server has to be like: what the configuration says, the domain demands (DANE, RFC 7672; MTA-STS,
RFC 8461), and the message (REQUIRETLS, RFC 8689)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from mailstack.config.outgoing import OutboundTls
from mailstack.handover import Certainty, HopFailed, Outcome, TlsaRecord, TlsDemand, Verdict
from mailstack.names import BadName, NoRecords, Resolver, TemporaryFailure, Tlsa

USABLE_USAGES, USABLE_SELECTORS, USABLE_TYPES = (2, 3), (0, 1), (0, 1, 2)
"""RFC 7672 §3.1.3, RFC 6698 §2.1."""
DIGESTS = {1: 32, 2: 64}
"""Octets of a matching type."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A domain's policy of MTA-STS (RFC 8461 §3.2), as far as sending goes: only these hosts, with a certificate that
    is verified. `enforced` False: what goes against it is reported, not refused."""

    enforced: bool
    patterns: tuple[str, ...]
    lines: tuple[str, ...] = ()
    """Of the policy as it is published, for reports."""

    def allows(self, host: str) -> bool:
        """Whether the host is one of the policy's (RFC 8461 §4.1): "*." stands for one label."""
        return any(
            host == pattern or (pattern.startswith("*.") and host.partition(".")[2] == pattern[2:])
            for pattern in self.patterns
        )


NO_POLICY, STS, TLSA = "no-policy-found", "sts", "tlsa"
"""Kinds of policies, as reports call them (RFC 8460 §4.4)."""


@dataclass(frozen=True, slots=True)
class Applied:
    """Under which policy a session is counted (RFC 8460 §4.4). `domain` is the recipients', `policy_domain` who has
    published the policy: the same, or with DANE the host."""

    domain: str
    policy_domain: str
    kind: str = NO_POLICY
    lines: tuple[str, ...] = ()


class Policies(Protocol):
    """Knows domains' policies of MTA-STS."""

    async def policy(self, domain: str) -> Policy | None:
        """None where there is none, or it cannot be had and none is remembered."""


async def tlsa(resolver: Resolver, host: str, port: int) -> tuple[tuple[TlsaRecord, ...], bool]:
    """Usable records of a host whose address is authenticated, and whether there are any at all, usable or not: then
    TLS is demanded (RFC 7672 §2.2). Raises: HopFailed, when it cannot be known: whoever is in between must not be
    able to take the records away (§2.1.2)."""
    try:
        answer = await resolver.tlsa(f"_{port}._tcp.{host}")
    except (NoRecords, BadName):
        return (), False
    except TemporaryFailure as error:
        raise not_known_now(host, error) from error
    if not answer.authenticated:
        return (), False
    return tuple(TlsaRecord(r.usage, r.selector, r.matching_type, r.data) for r in answer.records if _usable(r)), True


def not_known_now(host: str, error: TemporaryFailure) -> HopFailed:
    """Whether a host has TLSA records."""
    text = f"the TLSA records of {host} cannot be looked up now: {error.why}"
    return HopFailed(Outcome(Verdict.LATER, "4.7.5", text, host, remote=False), tls="dnssec-invalid")


def _usable(record: Tlsa) -> bool:
    return (
        record.usage in USABLE_USAGES
        and record.selector in USABLE_SELECTORS
        and record.matching_type in USABLE_TYPES
        and len(record.data) == DIGESTS.get(record.matching_type, len(record.data))
    )


def demanded(mode: OutboundTls, names: tuple[str, ...], authorities: str) -> TlsDemand | None:
    """By the configuration; None: never TLS."""
    if mode is OutboundTls.NONE:
        return None
    certainty = Certainty.NOTED if names else Certainty.NONE
    if mode in (OutboundTls.VERIFIED, OutboundTls.IMPLICIT):
        certainty = Certainty.NAMED
    return TlsDemand(
        required=mode is not OutboundTls.OPPORTUNISTIC,
        certainty=certainty,
        names=names,
        authorities=authorities,
    )


def by_tlsa(demand: TlsDemand | None, records: tuple[TlsaRecord, ...], names: tuple[str, ...]) -> TlsDemand:
    """With TLSA records; where none is usable, TLS is demanded all the same, with any certificate (RFC 7672 §2.2),
    or with the one that the configuration demands."""
    base = demand or TlsDemand(names=names)
    if not records:
        return replace(base, required=True)
    return replace(base, required=True, certainty=Certainty.TLSA, records=records, names=names)


def by_policy(demand: TlsDemand | None, host: str, authorities: str) -> TlsDemand:
    """By an enforced policy of MTA-STS."""
    base = demand or TlsDemand(authorities=authorities)
    return replace(base, required=True, certainty=Certainty.NAMED, names=(host,))
