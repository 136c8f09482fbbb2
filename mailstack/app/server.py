"""One server, composed: sockets, then resources, then listeners, in the order in which they fail."""

from __future__ import annotations

import os
import socket
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import apsw
from twisted.internet.task import deferLater

from mailstack.app.listening import PassedSockets, Where, address_of, open_socket, serve
from mailstack.app.outgoing import Around, ClosedQueue, LazyQueue, OutgoingMail, open_queue
from mailstack.app.run import Running
from mailstack.app.services import Manners, Resources, ServiceAccounts, service
from mailstack.config.sections import Config, Listener, ServiceName
from mailstack.dns.exchange import ReactorExchange
from mailstack.dns.resolver import DnsResolver
from mailstack.journeys import NoJournal
from mailstack.net.listener import Admission, connection_ids
from mailstack.net.listener import Listener as NetListener
from mailstack.net.streams import dial
from mailstack.net.tls import CertificateFiles, ServerTls
from mailstack.observe.journal import JOURNAL_DATABASE, JournalDatabase, RunningJournal
from mailstack.observe.metrics import Counts
from mailstack.ports import Directory, Log, Outbound, SendingLimits
from mailstack.queue.database import QueueDatabaseError
from mailstack.queue.queue import MailQueue
from mailstack.smtp.settings import Rates
from mailstack.store.acls import StoredAcls
from mailstack.store.api import Store
from mailstack.store.background import Background
from mailstack.store.expiry import Expiry
from mailstack.store.sharing import SharingStore
from mailstack.store.watch import Watch
from mailstack.store.workers import Workers

EXPIRY, EXPIRY_IN_DEVELOPMENT, EXPIRY_FIRST = 3600.0, 60.0, 60.0
"""Seconds between two looks for messages that expire, and before the first one."""
Sockets = list[tuple[Listener, list[socket.socket]]]
Identify = Callable[[], tuple[ServiceAccounts, Directory]]
"""Makes who-is-who; called when the data directory is there and the privileges are gone."""

Limit = Callable[[Workers], SendingLimits]
"""Makes what accounts may send."""


class CannotUseData(Exception):
    """The data directory is not one that we can work in; the message says why."""


class ReactorClock:
    """Implements `ports.Clock` on the reactor and the system's time."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def now(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await deferLater(self._reactor, seconds)


@dataclass(slots=True)
class Server:
    """What runs, and where it listens."""

    running: Running
    counts: Counts
    admission: Admission
    manners: Manners
    resources: Resources
    store: Store
    dns: DnsResolver
    expiry: Expiry
    background: Background
    outgoing: OutgoingMail | None = None
    """None in the development mode, which no mail leaves."""
    services: dict[str, tuple[str, int]] = field(default_factory=dict)

    def reconfigure(self, config: Config, accounts: ServiceAccounts, directory: Directory) -> None:
        """Connections to come are served by `config`, which has the listeners of the one before in
        its order; those that are open end as they began."""
        self.resources = replace(self.resources, accounts=accounts, directory=directory)
        self.dns.use(config.dns)
        if isinstance(self.resources.journal, RunningJournal):
            self.resources.journal.most, self.resources.journal.days = config.journal.events, config.journal.days
        self.expiry.rules = config.retention
        self.store.keep_texts(config.imap.keep_texts)
        self.background.wanted = config.imap.index_in_background
        self.expiry.wake()
        self.admission.limit = config.limits.connections
        self.admission.limit_per_address = config.limits.connections_per_address
        for section, listener in zip(config.listeners, self.running.listeners, strict=True):
            listener.offer(service(config, section, self.resources, self.manners))


def open_sockets(config: Config, passed: PassedSockets) -> Sockets:
    """Every listener's sockets: those that systemd passed for it, else one that is bound here.
    Raises: CannotListen; then none is open."""
    opened: Sockets = []
    try:
        for section in config.listeners:
            where = Where(section.service.value, section.address, section.port, section.unix)
            passed_for_it = [] if section.unix else passed.take(where, section.socket)
            opened.append((section, passed_for_it or [open_socket(where)]))
    except BaseException:
        close_sockets(opened)
        passed.close_rest()
        raise
    return opened


def close_sockets(opened: Sockets) -> None:
    """What was opened, when it turns out that there will be no server."""
    for _, sockets in opened:
        for each in sockets:
            each.close()


def compose(
    reactor: Any,
    config: Config,
    log: Log,
    opened: Sockets,
    identify: Identify,
    manners: Manners,
    limit: Limit | None = None,
) -> Server:
    """Make the resources, then listen. Raises: BadCertificate, CannotUseData, and what `identify`
    raises."""
    tls = _server_tls(config, log)
    running = Running(reactor, log, tls)
    admission = Admission(config.limits.connections, config.limits.connections_per_address)
    counts = Counts()
    store = _store(running, config)
    dns = DnsResolver(config.dns, reactor, ReactorExchange(reactor), log, counts)
    running.closers.append(dns.close)
    queue = _queue(running, config, store, manners)
    resources = _resources(running, counts, config, store, dns, queue, identify, limit, manners)
    expiry = Expiry(store, config.retention, resources.clock)
    background = Background(store.workers, resources.clock, counts, log)
    background.wanted = config.imap.index_in_background
    store.background = background
    outgoing = None
    if not manners.anybody and isinstance(queue, MailQueue):
        outgoing = _outgoing(running, counts, config, resources, queue, store, dns)
    server = Server(running, counts, admission, manners, resources, store, dns, expiry, background, outgoing)
    ids = connection_ids(int(time.time() * 8) % 2**20 * 2**15 + os.getpid() % 2**15)
    for section, sockets in opened:
        factory = NetListener(
            service(config, section, server.resources, manners),
            reactor=reactor, log=log, counters=server.counts, tls=_creator(tls, section), admission=admission, ids=ids,
        )  # fmt: skip
        ports = [serve(reactor, each, factory) for each in sockets]
        running.ports += ports
        running.listeners.append(factory)
        server.services.setdefault(section.service.value, address_of(ports[0]))
    server.counts.gauge("open_connections", "Connections now", lambda: admission.total)
    running.closers += [expiry.stop, background.stop]
    every = EXPIRY_IN_DEVELOPMENT if manners.anybody else EXPIRY
    expiry.start(min(EXPIRY_FIRST, every), every)
    return server


def use_data(path: Path) -> None:
    """Make the data directory, or see that we may write in it. Raises: CannotUseData."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CannotUseData(f"data directory {path}: {error.strerror}") from error
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise CannotUseData(f"data directory {path}: no permission to write in it")


def _server_tls(config: Config, log: Log) -> ServerTls | None:
    if not config.tls.certificates:
        return None
    return ServerTls(certificate_files(config), log, config.tls.client_ca)


def _creator(tls: ServerTls | None, section: Listener) -> Any:
    """What makes a listener's TLS: other servers, which bring mail, are not asked for a certificate."""
    return tls if tls is None or section.service in (ServiceName.SMTP, ServiceName.LMTP) else tls.asking


def certificate_files(config: Config) -> list[CertificateFiles]:
    """The files of the configuration's certificates, in its order."""
    return [CertificateFiles(pair.cert, pair.key) for pair in config.tls.certificates]


def _store(running: Running, config: Config) -> Store:
    use_data(config.data)
    workers = Workers(running.reactor)
    store = Store(
        config.data, workers, running.log, Watch(running.reactor, running.log), texts=config.imap.keep_texts
    )  # fmt: skip
    running.closers += [workers.close, store.close]
    return store


def _resources(
    running: Running,
    counts: Counts,
    config: Config,
    store: Store,
    dns: DnsResolver,
    queue: Outbound,
    identify: Identify,
    limit: Limit | None,
    manners: Manners,
) -> Resources:
    accounts, directory = identify()
    return Resources(
        store=store,
        shared=SharingStore(store, StoredAcls(store)),
        spool=store.spool,
        accounts=accounts,
        directory=directory,
        outbound=queue,
        log=running.log,
        counters=counts,
        clock=ReactorClock(running.reactor),
        rates=Rates(),
        resolver=dns,
        journal=None if manners.anybody else _journal(running, config, store),
        sending=limit(store.workers) if limit else None,
        dial=partial(dial, running.reactor),
    )


def _queue(running: Running, config: Config, store: Store, manners: Manners) -> Outbound:
    """The queue; on a disk that cannot be written one that takes nothing, while mail can still be read."""
    if manners.anybody:
        lazy = LazyQueue(config, store.workers, running.log)
        running.closers.insert(0, lazy.close)
        return lazy
    try:
        queue = open_queue(config, store.workers, running.log)
    except (QueueDatabaseError, apsw.Error, OSError) as error:
        running.log.warning("queue cannot be used: mail for others is not taken", reason=str(error))
        return ClosedQueue(str(error))
    running.closers.insert(0, queue.close)  # when the workers have ended
    return queue


def _journal(running: Running, config: Config, store: Store) -> RunningJournal | None:
    """The journal; None if it cannot be written, for nothing depends on it."""
    path = config.data / JOURNAL_DATABASE
    try:
        database = JournalDatabase(path)
    except (sqlite3.Error, OSError) as error:
        running.log.warning("journal cannot be used", file=str(path), reason=str(error))
        return None
    run = partial(store.workers.run_in_lane, JOURNAL_DATABASE)
    journal = RunningJournal(
        database, run, running.reactor, running.log, time.time, config.journal.events, config.journal.days
    )
    running.closers.append(journal.stop)
    return journal


def _outgoing(
    running: Running,
    counts: Counts,
    config: Config,
    resources: Resources,
    queue: MailQueue,
    store: Store,
    dns: DnsResolver,
) -> OutgoingMail:
    around = Around(
        store, store.spool, resources.directory, dns, store.workers, resources.clock, running.log, counts,
        resources.journal or NoJournal(),
    )  # fmt: skip
    outgoing = OutgoingMail(running.reactor, config, queue, around)
    for gauge in outgoing.gauges():
        counts.gauge(*gauge)
    running.closers.append(outgoing.stop)
    running.reactor.callWhenRunning(outgoing.start)
    return outgoing
