"""What our domains publish, by the configuration: the policy of MTA-STS, and the records that belong into DNS. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mailstack.config.sections import Config
from mailstack.mail.address import ascii_domain
from mailstack.mail.mta_sts import StsPolicy

PREFERENCE = 10
MAX_STRING = 255
"""Octets of one string of a TXT record."""


@dataclass(frozen=True, slots=True)
class Record:
    """`name` and names in `value` are without a dot at their end; that of TXT is its text."""

    name: str
    rdtype: str
    value: str

    @property
    def line(self) -> str:
        """As in a zone file."""
        value = self.value
        if self.rdtype == "TXT":
            parts = [value[start : start + MAX_STRING] for start in range(0, len(value) or 1, MAX_STRING)]
            value = " ".join(f'"{part}"' for part in parts)
        elif self.rdtype in ("MX", "CNAME"):
            value += "."
        return f"{self.name}.  IN  {self.rdtype}  {value}"


def policy_of(config: Config) -> StsPolicy:
    """The policy of each of our domains."""
    settings = config.mta_sts
    patterns = tuple(ascii_domain(host) for host in settings.mx) or (ascii_domain(config.hostname),)
    return StsPolicy(settings.mode, int(settings.max_age), patterns)


def host_records(config: Config, keys: Sequence[bytes]) -> Iterator[Record]:
    """Of the server itself. `keys` are SHA-256 digests of its certificates' keys: TLSA 3 1 1 (RFC 7672 §3.1.1), which
    need DNSSEC."""
    hostname = ascii_domain(config.hostname)
    yield Record(hostname, "TXT", "v=spf1 a -all")  # for HELO   ; RFC 7208 §2.3
    for key in dict.fromkeys(keys):
        yield Record(f"_25._tcp.{hostname}", "TLSA", f"3 1 1 {key.hex()}")


def domain_records(config: Config, name: str) -> Iterator[Record]:
    """Of one of our domains: MX, SPF (RFC 7208), MTA-STS (RFC 8461) and TLS reports (RFC 8460)."""
    domain, hostname, policy = ascii_domain(name), ascii_domain(config.hostname), policy_of(config)
    hosts = [pattern for pattern in policy.patterns if not pattern.startswith("*")] or [hostname]
    for number, host in enumerate(hosts, 1):
        yield Record(domain, "MX", f"{number * PREFERENCE} {host}")
    yield Record(domain, "TXT", "v=spf1 mx ~all")
    yield Record(f"_mta-sts.{domain}", "TXT", f"v=STSv1; id={policy.id}")
    yield Record(f"mta-sts.{domain}", "CNAME", hostname)
    yield Record(f"_smtp._tls.{domain}", "TXT", f"v=TLSRPTv1; rua=mailto:postmaster@{domain}")
