"""What is counted. Counting is an addition to a dict, so that sessions may do it freely;
`prometheus_client` turns it into Prometheus' text format when somebody asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client.core import Metric


@dataclass(frozen=True, slots=True)
class Counter:
    """One counter: its name without prefix and `_total`, its label's name or "", its help text.

    `known` are values of the label that are on the page as 0 before they are counted: Prometheus
    cannot see a first event when the series begins with it."""

    name: str
    label: str
    text: str
    known: tuple[str, ...] = ()


COUNTERS = (
    Counter("connections", "service", "Connections accepted"),
    Counter(
        "connections_refused", "reason", "Connections refused before a session began",
        ("too many connections", "too many connections from your address", "not for your address"),
    ),
    Counter("smtp_messages", "outcome", "Messages at the end of mail data", ("accepted", "refused", "failed")),
    Counter("smtp_recipients", "outcome", "RCPT commands", ("accepted", "refused")),
    Counter("smtp_refusals", "check", "What checks of SMTP refused"),
    Counter("milter_failures", "milter", "How often a milter could not be reached or did not do its work"),
    Counter("smtp_commands", "command", "SMTP commands"),
    Counter("imap_commands", "command", "IMAP commands"),
    Counter("pop3_commands", "command", "POP3 commands"),
    Counter("logins", "outcome", "Attempts to log in", ("accepted", "failed")),
    Counter("deliveries", "outcome", "Copies put into mailboxes", ("delivered", "failed")),
    Counter("queued", "", "Messages taken into the outbound queue", ("",)),
    Counter(
        "dns_lookups", "outcome", "Questions about DNS, and those that no server had to be asked",
        ("cached", "joined", "found", "none", "failed"),
    ),
    Counter("outbound", "outcome", "Recipients at other servers", ("sent", "failed", "deferred")),
    Counter("outbound_sent", "domain", "Recipients at other servers that have it, by their domains"),
    Counter("outbound_failed", "domain", "Recipients that will never have it"),
    Counter("outbound_deferred", "domain", "Attempts after which recipients still wait"),
    Counter("outbound_tls", "tls", "Sessions with other servers", ("none", "unverified", "verified", "failed")),
    Counter("outbound_tls_resumed", "", "Sessions with other servers that go on with TLS of an earlier one", ("",)),
    Counter("outbound_tls_sessions", "result", "Sessions with other servers as reports on TLS count them", ("good",)),
    Counter("outbound_tls_uncounted", "", "Sessions that reports on TLS lack", ("",)),
    Counter("outbound_downgrades", "", "Sessions with hosts whose TLS was better before", ("",)),
    Counter("mta_sts_fetches", "outcome", "Policies of MTA-STS", ("fetched", "failed")),
    Counter("reports", "kind", "Reports to senders", ("failed", "delayed")),
    Counter("messages_indexed", "", "Messages of which the index was filled while nobody waited", ("",)),
    Counter("certificate_renewals", "outcome", "Attempts to get a certificate by ACME", ("renewed", "failed")),
    Counter("internal_errors", "protocol", "Commands that met a bug of ours", ("smtp", "imap", "pop3", "queue")),
)  # fmt: skip
MAX_LABELS = 200
"""Label values of one counter; past it they are counted as "other", so memory stays bounded."""


class Counts:
    """Implements `ports.Counters`, and the collector that prometheus_client asks."""

    def __init__(self) -> None:
        self._known = {counter.name: counter for counter in COUNTERS}
        self._counts: dict[str, dict[str, int]] = {
            counter.name: dict.fromkeys(counter.known, 0) for counter in COUNTERS
        }
        self._gauges: dict[str, tuple[str, Callable[[], float]]] = {}
        self._labelled: dict[str, tuple[str, str, Callable[[], Mapping[str, float]]]] = {}

    def count(self, name: str, /, label: str = "", amount: int = 1) -> None:
        labels = self._counts.get(name)
        if labels is None:
            raise KeyError(f"{name} is not in COUNTERS")
        if label in labels:
            labels[label] += amount
        elif len(labels) < MAX_LABELS:
            labels[label] = amount
        else:
            labels["other"] = labels.get("other", 0) + amount

    def gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Report what `value` returns at the time of asking."""
        self._gauges[name] = (text, value)

    def gauges(self, name: str, label: str, text: str, values: Callable[[], Mapping[str, float]]) -> None:
        """The same of several things, by the value of a label."""
        self._labelled[name] = (label, text, values)

    def value(self, name: str, label: str = "") -> int:
        """The count so far."""
        return self._counts[name].get(label, 0)

    def collect(self) -> Iterator[Metric]:
        """All of them, in prometheus_client's own form."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        for counter in COUNTERS:
            labels = [counter.label] if counter.label else []
            family = CounterMetricFamily(f"mailstack_{counter.name}", counter.text, labels=labels)
            for label, amount in sorted(self._counts[counter.name].items()):
                family.add_metric([label] if labels else [], amount)
            yield family
        for name, (text, value) in self._gauges.items():
            yield GaugeMetricFamily(f"mailstack_{name}", text, value=value())
        for name, (label, text, values) in self._labelled.items():
            gauges = GaugeMetricFamily(f"mailstack_{name}", text, labels=[label])
            for each, number in values().items():
                gauges.add_metric([each], number)
            yield gauges


def exposition(counts: Counts) -> bytes:
    """The page that a Prometheus server reads (text format 0.0.4)."""
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(counts)
    return generate_latest(registry)
