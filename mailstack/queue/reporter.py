"""Who hears what of a settlement: the runner's `Reporter`, on `reports.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from mailstack.config.returns import Reports
from mailstack.handover import Outcome
from mailstack.mail.address import Address, ascii_domain
from mailstack.ports import Counters, Log
from mailstack.queue.content import Slice
from mailstack.queue.items import LOCAL, Waiting
from mailstack.queue.queue import NewReport
from mailstack.queue.reports import Fate, Kind, Reported, ReportLimit, header_of, may_report, prepare
from mailstack.queue.settlement import Settlement

UNREADABLE = 1 << 62
"""The size of a message that cannot be given back."""


class SenderReports:
    """Implements `carrying.Reporter`. `original_sender` says whose address one is that we made when we forwarded."""

    def __init__(
        self,
        host: str,
        settings: Reports,
        original_sender: Callable[[Address], Address | None],
        log: Log,
        counters: Counters,
    ) -> None:
        self.original_sender = original_sender
        self.relay_domains: frozenset[str] = frozenset()
        self._host = host
        self._log = log
        self._counters = counters
        self.use(settings)

    def use(self, settings: Reports) -> None:
        """Of another configuration."""
        self._settings = settings
        self._limit = ReportLimit(settings.per_hour)

    async def reports(self, waiting: Waiting, settlement: Settlement, head: bytes, now: float) -> Sequence[NewReport]:
        item = waiting.item
        if not self._may_report(waiting):
            if settlement.failed:
                self._log.warning("failed without a report: the sender is not known to be one of ours", id=item.id)
            return ()
        size = item.size if head else UNREADABLE
        about = Reported(item.id, item.envelope, item.arrived, await header_of(_Head(head)), size)
        made = []
        for kind, outcomes in self._kinds(waiting, settlement, now):
            attempts = waiting.attempts if kind in (Kind.DELAYED, Kind.LATE) else waiting.attempts + 1
            fates = [
                Fate(number, outcome, attempts, waiting.last_at or now, _until(kind, waiting))
                for number, outcome in outcomes.items()
            ]
            prepared = prepare(about, fates, kind, now, self._host, self._settings)
            if prepared is None:
                continue
            if not self._limit.take(prepared.to, now):
                self._log.warning("report not sent: too many to this sender", id=item.id, kind=kind.value)
                continue
            whole = (Slice(item.id, item.offset, item.size),) if prepared.whole else ()
            envelope = replace(prepared.envelope, journey=item.envelope.journey)
            made.append(NewReport(envelope, (prepared.prefix, *whole, prepared.suffix)))
            self._counters.count("reports", kind.value)
        return made

    def _may_report(self, waiting: Waiting) -> bool:
        """As `may_report`; and of mail that we took from strangers because we are its domain's backup exchanger, for
        which nobody else answers."""
        envelope = waiting.item.envelope
        if may_report(envelope, lambda address: self.original_sender(address) is not None):
            return True
        domains = {ascii_domain(envelope.recipients[number].domain) for number in waiting.recipients}
        return envelope.sender is not None and domains <= self.relay_domains

    def _kinds(
        self, waiting: Waiting, settlement: Settlement, now: float
    ) -> Sequence[tuple[Kind, Mapping[int, Outcome]]]:
        by = waiting.item.envelope.parameters.deliver_by
        late = Kind.LATE if by is not None and not by.or_return and now >= by.time else Kind.DELAYED
        done = Kind.DELIVERED if waiting.destination == LOCAL else Kind.RELAYED
        found = ((Kind.FAILED, settlement.failed), (late, settlement.late), (done, settlement.done))
        return [(kind, outcomes) for kind, outcomes in found if outcomes]


def _until(kind: Kind, waiting: Waiting) -> float | None:
    return waiting.item.expires if kind in (Kind.DELAYED, Kind.LATE) else None


class _Head:
    """Implements `handover.Content` with the beginning of a message."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self.size = len(octets)

    async def read(self, start: int, end: int) -> bytes:
        return self._octets[start:end]
