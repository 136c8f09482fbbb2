"""What `mailstack dns lookup` prints: lines for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mailstack.dns.lookup import Domain, Host, Seen
from mailstack.names import (
    AddressAnswer,
    Answer,
    BadName,
    MxAnswer,
    NoData,
    NoRecords,
    NoSuchName,
    TemporaryFailure,
    Tlsa,
)

_WORDS = {NoSuchName: "no such name", NoData: "no such records", TemporaryFailure: "unknown now", BadName: "bad name"}
SHOWN_TEXT = 400
"""Characters of a text that are shown to people."""


def domain_lines(domain: Domain) -> Iterator[str]:
    yield f"{domain.mx.name}  MX  {_about(domain.mx)}"
    if domain.accepts_no_mail:
        yield "  accepts no mail (null MX)"
    for host in domain.hosts:
        yield from _host_lines(host)
    if domain.more_hosts:
        yield f"  and {domain.more_hosts} more exchangers"
    for what, word, seen in (("MTA-STS", b"v=STSv1", domain.mta_sts), ("TLS-RPT", b"v=TLSRPTv1", domain.tls_rpt)):
        if seen is None:
            continue
        policies = [record for record in _records(seen) if record.startswith(word)]
        yield from (f"  {what}  {_text(record)}  {_about(seen)}" for record in policies)
        if not policies and not isinstance(seen.came, NoRecords):
            yield f"  {what}  {_about(seen)}" if not seen.found else f"  {what}  none among the records"
        elif not policies:
            yield f"  {what}  none"
    if isinstance(domain.policy, str):
        yield f"  MTA-STS policy  none: {_shown(domain.policy)}"
    elif domain.policy is not None:
        yield "  MTA-STS policy"
        yield from (f"    {line}" for line in domain.policy.lines)


def seen_lines(seen: Seen) -> Iterator[str]:
    yield f"{seen.name}  {seen.rdtype}  {_about(seen)}"
    yield from (f"  {_record(record)}" for record in _records(seen))
    if isinstance(seen.came, MxAnswer) and seen.came.left_out:
        yield f"  and {seen.came.left_out} more"


def _host_lines(host: Host) -> Iterator[str]:
    preference = "its own exchanger" if host.preference is None else f"{host.preference:5}"
    yield f"  {preference}  {host.name}  {_about(host.addresses)}"
    yield from (f"           {address}" for address in _records(host.addresses))
    if isinstance(host.addresses.came, AddressAnswer) and host.addresses.came.missing:
        yield f"           not all: {host.addresses.came.missing}"
    if host.tlsa.found:
        yield f"         {host.tlsa.name}  TLSA  {_about(host.tlsa)}"
        yield from (f"           {_record(record)}" for record in _records(host.tlsa))
    elif not isinstance(host.tlsa.came, NoRecords):
        yield f"         {host.tlsa.name}  TLSA  {_about(host.tlsa)}"


def _about(seen: Seen) -> str:
    """Whether, how sure, how long, from whom, how fast."""
    came, parts = seen.came, []
    if not isinstance(came, Answer):
        parts.append(_WORDS[type(came)] + (f": {came.why}" if came.why else ""))
    if isinstance(came, Answer | NoRecords):
        at = came.name if isinstance(came, Answer) else came.at
        if at != seen.name.lower().rstrip(".") and seen.rdtype != "PTR":
            parts.append(f"at {at}")
        parts.append("authenticated" if came.authenticated else "not authenticated")
        parts.append(f"ttl {came.ttl} s")
        parts.append(f"from {came.server}")
    return f"({', '.join(parts)}, {seen.seconds * 1000:.0f} ms)"


def _records(seen: Seen) -> tuple[Any, ...]:
    return getattr(seen.came, "records", ()) if seen.found else ()


def _record(record: Any) -> str:
    if isinstance(record, bytes):
        return _text(record)
    if isinstance(record, Tlsa):
        return f"{record.usage} {record.selector} {record.matching_type} {record.data.hex()}"
    return record if isinstance(record, str) else f"{record.preference:5}  {record.host}"


def _text(octets: bytes) -> str:
    """A text on a terminal: nothing that would change what stands elsewhere on it."""
    return f'"{_shown(octets.decode("utf-8", "replace"))}"'


def _shown(text: str) -> str:
    shown = "".join(character if character.isprintable() else "�" for character in text[:SHOWN_TEXT])
    return f"{shown}{'…' if len(text) > SHOWN_TEXT else ''}"


def domain_document(domain: Domain) -> dict[str, Any]:
    """As docs/commands.md says."""
    policy = domain.policy
    fetched: dict[str, Any] = {}
    if isinstance(policy, str):
        fetched = {"mta_sts_policy": {"error": policy}}
    elif policy is not None:
        fetched = {
            "mta_sts_policy": {"mode": policy.mode.value, "max_age": policy.max_age, "mx": list(policy.patterns)}
        }
    document = {
        "domain": domain.mx.name,
        "can_receive": domain.can_receive,
        "accepts_no_mail": domain.accepts_no_mail,
        "mx": seen_document(domain.mx),
        "hosts": [
            {
                "host": host.name,
                "preference": host.preference,
                "addresses": seen_document(host.addresses),
                "tlsa": seen_document(host.tlsa),
            }
            for host in domain.hosts
        ],
        "more_hosts": domain.more_hosts,
        "mta_sts": domain.mta_sts and seen_document(domain.mta_sts),
        "tls_rpt": domain.tls_rpt and seen_document(domain.tls_rpt),
    }
    return document | fetched


def seen_document(seen: Seen) -> dict[str, Any]:
    """As docs/commands.md says."""
    came = seen.came
    document: dict[str, Any] = {
        "name": seen.name,
        "type": seen.rdtype,
        "records": [_plain(record) for record in _records(seen)],
        "seconds": round(seen.seconds, 4),
    }
    if isinstance(came, Answer | NoRecords):
        at = came.name if isinstance(came, Answer) else came.at
        document |= {"at": at, "authenticated": came.authenticated, "ttl": came.ttl, "server": came.server}
    if not isinstance(came, Answer):
        document |= {"error": _WORDS[type(came)], "why": came.why}
    if isinstance(came, MxAnswer):
        document["left_out"] = came.left_out
    if isinstance(came, AddressAnswer):
        document["missing"] = came.missing
    return document


def _plain(record: Any) -> Any:
    if isinstance(record, bytes):
        return record.decode("utf-8", "replace")
    if isinstance(record, Tlsa):
        return {"usage": record.usage, "selector": record.selector, "matching_type": record.matching_type,
                "data": record.data.hex()}  # fmt: skip
    return record if isinstance(record, str) else {"preference": record.preference, "host": record.host}
