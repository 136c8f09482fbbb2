"""The report on TLS for one domain and day, as JSON has it (RFC 8460 §4.4). Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from mailstack.relay.tls_database import Count, Session
from mailstack.relay.tls_policy import NO_POLICY, STS, TLSA

MAX_DETAILS = 500
"""Different failures of one policy in a report; the summary counts all."""


def report(day: str, domain: str, counts: Iterable[Count], organization: str, contact: str) -> Mapping[str, Any]:
    """Of counts of this day and domain. Its id is the same however often it is made."""
    ordered = sorted(counts, key=lambda count: _policy_key(count.session))
    digest = hashlib.sha256(f"{organization} {day} {domain}".encode()).hexdigest()[:16]
    return {
        "organization-name": organization,
        "date-range": {"start-datetime": f"{day}T00:00:00Z", "end-datetime": f"{day}T23:59:59Z"},
        "contact-info": contact,
        "report-id": f"{day}-{digest}@{organization}",
        "policies": [
            _policy(list(equal)) for _, equal in groupby(ordered, key=lambda count: _policy_key(count.session))
        ],
    }


def totals(counts: Iterable[Count]) -> tuple[int, int]:
    """Sessions that went well, and that failed."""
    good = failed = 0
    for count in counts:
        if count.session.failure:
            failed += count.number
        else:
            good += count.number
    return good, failed


def _policy_key(session: Session) -> tuple[str, str, str]:
    return session.kind, session.policy_domain, session.policy


def _policy(counts: Sequence[Count]) -> Mapping[str, Any]:
    kind, domain, text = _policy_key(counts[0].session)
    policy: dict[str, Any] = {"policy-type": kind}
    lines = text.splitlines()
    if kind != NO_POLICY and lines:
        policy["policy-string"] = lines
    policy["policy-domain"] = domain
    hosts = [line.removeprefix("mx: ") for line in lines if line.startswith("mx: ")]
    if kind == STS and hosts:
        policy["mx-host"] = hosts
    elif kind == TLSA:
        policy["mx-host"] = [domain]
    good, failed = totals(counts)
    made: dict[str, Any] = {
        "policy": policy,
        "summary": {"total-successful-session-count": good, "total-failure-session-count": failed},
    }
    failures = sorted((count for count in counts if count.session.failure), key=lambda count: -count.number)
    if failures:
        made["failure-details"] = [_detail(count) for count in failures[:MAX_DETAILS]]
    return made


def _detail(count: Count) -> Mapping[str, Any]:
    session = count.session
    found = {
        "result-type": session.failure,
        "sending-mta-ip": session.source,
        "receiving-mx-hostname": session.host,
        "receiving-ip": session.address,
        "failed-session-count": count.number,
        "failure-reason-code": count.reason,
    }
    return {key: value for key, value in found.items() if value}
