"""One server, composed: sockets, then resources, then listeners, in the order in which they fail."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet.task import deferLater

from mailstack.acme.state import served
from mailstack.app.listening import PassedSockets, Where, address_of, open_socket, serve
from mailstack.app.run import Running
from mailstack.app.services import Manners, Resources, ServiceAccounts, protocol_of, service
from mailstack.app.surroundings import Around, MakeAround
from mailstack.config.sections import Config, Listener, ServiceName
from mailstack.net.listener import Admission, connection_ids
from mailstack.net.listener import Listener as NetListener
from mailstack.net.streams import dial
from mailstack.net.tls import CertificateFiles, ServerTls
from mailstack.observe.metrics import Counts
from mailstack.ports import Directory, Log, SendingLimits
from mailstack.smtp.settings import Rates
from mailstack.store.acls import StoredAcls
from mailstack.store.api import Store
from mailstack.store.background import Background
from mailstack.store.expiry import Expiry
from mailstack.store.sharing import SharingStore
from mailstack.store.watch import Watch
from mailstack.store.workers import Workers

if TYPE_CHECKING:
    from mailstack.faults.book import FaultBook

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
    around: Around
    expiry: Expiry
    background: Background
    services: dict[str, tuple[str, int]] = field(default_factory=dict)

    def reconfigure(self, config: Config, accounts: ServiceAccounts, directory: Directory) -> None:
        """Connections to come are served by `config`, which has the listeners of the one before in
        its order; those that are open end as they began."""
        self.resources = replace(self.resources, accounts=accounts, directory=directory)
        self.around.use(config)
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
    make_around: MakeAround,
    limit: Limit | None = None,
) -> Server:
    """Make the resources, then listen. Raises: BadCertificate, CannotUseData, and what `identify` and
    `make_around` raise."""
    tls = _server_tls(config, log)
    running = Running(reactor, log, tls)
    admission = Admission(config.limits.connections, config.limits.connections_per_address)
    counts = Counts()
    store = _store(running, config)
    around = make_around(running, counts, config, store)
    resources = _resources(running, counts, store, around, identify, limit)
    if manners.anybody:
        from mailstack.faults.book import FaultBook

        resources = replace(resources, faults=FaultBook(), transcripts=manners.transcripts)
    expiry = Expiry(store, config.retention, resources.clock)
    background = Background(store.workers, resources.clock, counts, log)
    background.wanted = config.imap.index_in_background
    store.background = background
    around.begin(resources)
    server = Server(running, counts, admission, manners, resources, store, around, expiry, background)
    ids = connection_ids(int(time.time() * 8) % 2**20 * 2**15 + os.getpid() % 2**15)
    for section, sockets in opened:
        factory = NetListener(
            service(config, section, server.resources, manners),
            reactor=reactor, log=log, counters=server.counts, tls=_creator(tls, section, config, resources.faults),
            admission=admission, ids=ids,
        )  # fmt: skip
        ports = [serve(reactor, each, factory) for each in sockets]
        running.ports += ports
        running.listeners.append(factory)
        server.services.setdefault(section.service.value, address_of(ports[0]))
    if tls is not None:
        server.counts.gauges("certificate_expiry_seconds", "name", "When the certificate ends, Unix time", tls.ends)
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
    files = certificate_files(config)
    return ServerTls(files, log, config.tls.client_ca) if files else None


def _creator(tls: ServerTls | None, section: Listener, config: Config, faults: FaultBook | None) -> Any:
    """What makes a listener's TLS: other servers, which bring mail, are not asked for a certificate."""
    asks = tls is not None and section.service not in (ServiceName.SMTP, ServiceName.LMTP)
    creator = tls.asking if asks and tls is not None else tls
    if creator is None or faults is None:
        return creator
    from mailstack.faults.rules import Protocol
    from mailstack.faults.tls import FaultyTls

    return FaultyTls(creator, faults, Protocol(protocol_of(section.service)), certificate_files(config)[0])


def certificate_files(config: Config) -> list[CertificateFiles]:
    """The files of the certificates, the one first that serves clients which name no host."""
    return [CertificateFiles(*pair) for pair in served(config)]


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
    store: Store,
    around: Around,
    identify: Identify,
    limit: Limit | None,
) -> Resources:
    accounts, directory = identify()
    return Resources(
        store=store,
        shared=SharingStore(store, StoredAcls(store)),
        spool=store.spool,
        accounts=accounts,
        directory=directory,
        outbound=around.outbound,
        log=running.log,
        counters=counts,
        clock=ReactorClock(running.reactor),
        rates=Rates(),
        resolver=around.resolver,
        journal=around.journal,
        sending=limit(store.workers) if limit else None,
        dial=partial(dial, running.reactor),
    )
