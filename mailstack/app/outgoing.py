"""Mail that leaves: the queue, what empties it, and the ways that a configuration gives."""

from __future__ import annotations

import hashlib
import json
import random
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import apsw
from twisted.internet.defer import Deferred

from mailstack.config.sections import Config
from mailstack.config.units import duration
from mailstack.dns.resolver import DnsResolver
from mailstack.errors import Problem, Refused
from mailstack.handover import Outcome
from mailstack.journeys import Event, Journal, Step
from mailstack.mail.address import ascii_domain
from mailstack.net.hop import Dialer
from mailstack.net.https import HttpsTexts
from mailstack.ports import Blob, Clock, Counters, Directory, Envelope, Log, MailStore, Spool
from mailstack.queue.content import QUEUE, Files
from mailstack.queue.database import DATABASE
from mailstack.queue.items import LOCAL, Waiting
from mailstack.queue.queue import MailQueue
from mailstack.queue.recovery import Recovery, open_database
from mailstack.queue.reporter import SenderReports
from mailstack.queue.runner import Runner
from mailstack.queue.schedule import Schedule
from mailstack.queue.settlement import Settlement
from mailstack.queue.suppression import SUPPRESSED_DATABASE, SuppressionDatabase, SuppressionList
from mailstack.relay.carrier import MailCarrier, Surroundings
from mailstack.relay.downgrades import Guard
from mailstack.relay.local import LocalHop
from mailstack.relay.routes import Router
from mailstack.relay.settings import Way, way
from mailstack.relay.sts import StsPolicies, StsSettings
from mailstack.relay.tls_database import TLS_DATABASE, TlsDatabase
from mailstack.relay.tls_notes import TlsNotes
from mailstack.smtp.client.downconversion import downconversion
from mailstack.store.workers import Workers

GAUGES = {
    "outbound_connections": "Connections to other servers now",
    "queue_messages": "Messages in the outbound queue",
    "queue_held": "Of what waits, held",
    "queue_failing_destinations": "Destinations at which something waits that cannot be reached",
    "queue_oldest_seconds": "Age of the oldest message in the queue",
}
"""Names and what they are, of what is measured here."""
TURN = 5.0
"""Seconds until a process looks again whether it is the one that sends, when another one on the same directory is."""
DRAIN_TIME = 20.0
"""Seconds that messages on their way to others have to arrive when the server stops."""


def schedule(config: Config) -> Schedule:
    """The times of a configuration."""
    outbound = config.outbound
    return Schedule(tuple(map(duration, outbound.retry)), outbound.expire, outbound.warn_after, random.random)


def router(config: Config) -> Router:
    """The ways of a configuration."""
    return Router([domain.name for domain in config.domains], config.routes, config.holds)


def signature(config: Config) -> str:
    """Of everything that decides where recipients go."""
    ours = sorted(ascii_domain(domain.name) for domain in config.domains)
    parts = json.dumps([ours, [repr(route) for route in config.routes]])
    return hashlib.sha256(parts.encode()).hexdigest()


def ways(config: Config) -> Mapping[str, Way]:
    """By the routes' names; "" is the way without one. Raises: BadRoute, OSError."""
    hostname = ascii_domain(config.hostname)
    named = [(route.name or f"route{number}", route) for number, route in enumerate(config.routes, 1)]
    return {name: way(config.outbound, route, hostname, _first_line) for name, route in [("", None), *named]}


def _relay_domains(config: Config) -> frozenset[str]:
    return frozenset(map(ascii_domain, config.smtp.relay_domains))


def _first_line(path: str) -> str:
    lines = Path(path).read_text().splitlines()
    return lines[0].strip() if lines else ""


def open_queue(config: Config, workers: Workers, log: Log) -> MailQueue:
    """The queue of a data directory, ready to take messages. Raises: OSError, QueueDatabaseError, apsw.Error."""
    files = Files(config.data / QUEUE)
    with ExitStack() as opened:
        opened.callback(files.close)
        alone = files.be_alone()
        if not alone:
            files.share()
        database = open_database(config.data / QUEUE / DATABASE, log, alone=alone)
        opened.callback(database.close)
        times, places = schedule(config), router(config)
        queue = MailQueue(files, database, workers, log, schedule=times, placing=places, clock=time.time)
        if alone:
            Recovery(queue, files, database, log, time.time()).run()
            files.share()
        opened.pop_all()
        return queue


@dataclass(frozen=True, slots=True)
class ClosedQueue:
    """Implements `ports.Outbound` where there is no queue: nothing is taken. `reason` is for the log."""

    reason: str

    async def enqueue(self, envelope: Envelope, prefix: bytes, blob: Blob) -> str:
        raise Refused(Problem.QUEUE_UNAVAILABLE, self.reason)

    async def hasten(self, domain: str, *, subdomains: bool = False) -> int:
        raise Refused(Problem.QUEUE_UNAVAILABLE, self.reason)


@dataclass(frozen=True, slots=True)
class Around:
    """What mail that leaves needs of the server."""

    store: MailStore
    spool: Spool
    directory: Directory
    resolver: DnsResolver
    workers: Workers
    clock: Clock
    log: Log
    counters: Counters
    journal: Journal


class OutgoingMail:
    """Empties a queue. Raises: BadRoute, OSError, sqlite3.Error."""

    def __init__(self, reactor: Any, config: Config, queue: MailQueue, around: Around) -> None:
        self.queue = queue
        self._config = config
        self._around = around
        self._directory = around.directory
        self._reactor = reactor
        self._later: Any = None
        self._ways = ways(config)
        log, counters = around.log, around.counters
        self._dialer = Dialer(reactor, log, (f"out{number}" for number in count(1)))
        path = config.accounts_database.with_name(SUPPRESSED_DATABASE)
        self._suppressed = SuppressionList(
            SuppressionDatabase(path), partial(around.workers.run_in_lane, SUPPRESSED_DATABASE), config.reports
        )
        self._reports = SenderReports(
            ascii_domain(config.hostname), config.reports, self._original_sender, log, counters
        )
        self._reports.relay_domains = _relay_domains(config)
        self._tls = OthersTls(reactor, config, around)
        guard = Guard(self._tls.notes, lambda: self._config.outbound.downgrade, around.clock.now, log, counters)
        surroundings = Surroundings(
            self._dialer, around.resolver, self._tls.policies, self._names(), around.clock, log, counters,
            self._tls.notes, guard, downconversion(around.workers.run),
        )  # fmt: skip
        self.runner = Runner(
            queue, MailCarrier(surroundings, self._way, self._local), self._reports,
            LogJournal(log, counters, around.journal), self, reactor=reactor, now=around.clock.now, log=log,
            counters=counters, connections=config.outbound.connections,
        )  # fmt: skip

    def start(self) -> None:
        """Begin; what fails is a line in the log."""
        Deferred.fromCoroutine(self._start()).addErrback(self._failed)

    async def _start(self) -> None:
        if not self.queue.may_send():
            if self._later is None:
                self._around.log.event("another process sends what is queued")
            self._later = self._reactor.callLater(TURN, self.start)
            return
        moved = await self.queue.reroute(self._choose(), signature(self._config))
        if moved:
            self._around.log.event("queue rerouted", rows=moved)
        self._tls.policies.start()
        await self.runner.start()

    async def stop(self) -> None:
        """Let what is on its way arrive, for a while."""
        if self._later is not None and self._later.active():
            self._later.cancel()
        await self.runner.stop(DRAIN_TIME)
        self._dialer.cut()
        await self._tls.stop()

    def use(self, config: Config, found: Mapping[str, Way], directory: Directory) -> None:
        """Of another configuration: what is on its way goes on as it began."""
        self._config, self._ways, self._directory = config, found, directory
        self.queue.schedule, self.queue.placing = schedule(config), router(config)
        self.runner.connections = config.outbound.connections
        self._reports.use(config.reports)
        self._reports.relay_domains = _relay_domains(config)
        self._tls.policies.settings = sts_settings(config)
        self._suppressed.settings = config.reports
        Deferred.fromCoroutine(self._place_anew()).addErrback(self._failed)

    async def _place_anew(self) -> None:
        moved = await self.queue.reroute(self._choose(), signature(self._config))
        if moved:
            self._around.log.event("queue rerouted", rows=moved)
            await self.runner.look_again()

    def gauges(self) -> Iterator[tuple[str, str, Callable[[], float]]]:
        """GAUGES, with their values."""
        runner = self.runner
        values: tuple[Callable[[], float], ...] = (
            lambda: runner.active, lambda: runner.census.messages, lambda: runner.census.held,
            lambda: runner.census.failing, self._oldest,
        )  # fmt: skip
        for (name, text), value in zip(GAUGES.items(), values, strict=True):
            yield name, text, value

    def _oldest(self) -> float:
        oldest = self.runner.census.oldest
        return 0.0 if oldest is None else max(0.0, self._around.clock.now() - oldest)

    # --- queue.carrying.Screen

    async def suppressed(self, waiting: Waiting, now: float) -> Mapping[int, Outcome]:
        addresses = {waiting.item.envelope.recipients[number]: number for number in waiting.recipients}
        try:
            found = await self._suppressed.suppressed(list(addresses), now)
        except Refused as refused:
            self._around.log.warning("suppression list not asked", reason=str(refused))
            return {}
        return {addresses[address]: entry.outcome() for address, entry in found.items()}

    async def tried(self, waiting: Waiting, settlement: Settlement, now: float) -> None:
        recipients = waiting.item.envelope.recipients
        outcomes = {**settlement.done, **settlement.failed}
        try:
            await self._suppressed.tried([(recipients[n], outcome) for n, outcome in outcomes.items()], now)
        except Refused as refused:
            self._around.log.warning("suppression list not written", reason=str(refused))

    # --- inside

    def _way(self, route: str) -> Way:
        return self._ways.get(route) or self._ways[""]  # a route that is gone: it is rerouted in a moment

    def _choose(self) -> Callable[[Envelope, int], str]:
        """Where a recipient goes, by his number."""
        made = router(self._config)
        return lambda envelope, number: made.destination(envelope, envelope.recipients[number])

    def _original_sender(self, address: Any) -> Any:
        return self._directory.original_sender(address)

    def _local(self) -> LocalHop:
        around = self._around
        hostname = ascii_domain(self._config.hostname)
        return LocalHop(around.store, around.spool, self._directory, self.queue, hostname, around.log)

    def _names(self) -> Sequence[str]:
        return (ascii_domain(self._config.hostname),)

    def _failed(self, failure: Any) -> None:
        try:
            failure.raiseException()
        except (apsw.Error, OSError, sqlite3.Error) as error:
            self._around.log.warning("mail does not leave", reason=str(error))
        except Exception:
            self._around.log.failure("mail does not leave")


def sts_settings(config: Config) -> StsSettings:
    """How policies are looked for."""
    outbound = config.outbound
    return StsSettings(outbound.mta_sts_port, str(outbound.ca or ""), outbound.mta_sts)


def tls_database(path: Path, log: Log) -> TlsDatabase:
    """The file; where it cannot be used, memory, for mail can do without."""
    try:
        return TlsDatabase(path)
    except (sqlite3.Error, OSError) as error:
        log.warning("what is known of others' TLS is forgotten at a restart", file=str(path), reason=str(error))
        return TlsDatabase(None)


class OthersTls:
    """What other servers demand of TLS, and how it was."""

    def __init__(self, reactor: Any, config: Config, around: Around) -> None:
        database = tls_database(config.data / TLS_DATABASE, around.log)
        run = partial(around.workers.run_in_lane, TLS_DATABASE)
        now, log, counters = around.clock.now, around.log, around.counters
        self.notes = TlsNotes(reactor, database, run, now, log, counters)
        texts = HttpsTexts(reactor, around.resolver)
        self.policies = StsPolicies(
            reactor, around.resolver, texts, database, run, self.notes, now, log, counters, sts_settings(config)
        )

    async def stop(self) -> None:
        """Write what is not written yet."""
        self.policies.stop()
        await self.notes.flush()


class LogJournal:
    """Implements `carrying.Journal`: a line for each recipient."""

    def __init__(self, log: Log, counters: Counters, journal: Journal) -> None:
        self._log = log
        self._counters = counters
        self._journal = journal

    def settled(self, waiting: Waiting, settlement: Settlement, now: float) -> None:
        later = (
            settlement.rest.last if settlement.rest is not None and settlement.rest.attempts > waiting.attempts else {}
        )
        for step, outcomes in ((Step.SENT, settlement.done), (Step.FAILED, settlement.failed), (Step.DEFERRED, later)):
            word = step.value
            for number, outcome in outcomes.items():
                self._log.event(
                    f"mail {word}", id=waiting.item.id, to=str(waiting.item.envelope.recipients[number]),
                    mta=outcome.mta, status=outcome.status, reply=outcome.text,
                    seconds=round(now - waiting.item.arrived, 3),
                )  # fmt: skip
                self._counters.count(f"outbound_{word}", waiting.item.envelope.recipients[number].domain.lower())
                self._note(step, waiting, number, outcome, now)
            if outcomes:
                self._counters.count("outbound", word, len(outcomes))

    def _note(self, step: Step, waiting: Waiting, number: int, outcome: Outcome, now: float) -> None:
        envelope = waiting.item.envelope
        if step is Step.SENT and waiting.destination == LOCAL:
            step = Step.DELIVERED
        self._journal.note(
            Event(
                now, envelope.journey or waiting.item.id, step, str(envelope.recipients[number]).lower(),
                str(envelope.sender or "<>"), where=outcome.mta or waiting.item.id, status=outcome.status,
                reason=outcome.text,
            )
        )  # fmt: skip
