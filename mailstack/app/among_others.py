"""A server among others: it asks DNS, its mail leaves, and what happens to each message is taken down."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from functools import partial

import apsw

from mailstack.app.outgoing import Around, ClosedQueue, OutgoingMail, open_queue
from mailstack.app.run import Running
from mailstack.app.services import Resources
from mailstack.config.sections import Config
from mailstack.dns.exchange import ReactorExchange
from mailstack.dns.resolver import DnsResolver
from mailstack.journeys import NoJournal
from mailstack.observe.journal import JOURNAL_DATABASE, JournalDatabase, RunningJournal
from mailstack.observe.metrics import Counts
from mailstack.ports import Directory, Outbound
from mailstack.queue.database import QueueDatabaseError
from mailstack.queue.queue import MailQueue
from mailstack.relay.settings import Way
from mailstack.store.api import Store


class AmongOthers:
    """Implements `surroundings.Around`."""

    def __init__(self, running: Running, counts: Counts, config: Config, store: Store) -> None:
        self._running, self._counts, self._config, self._store = running, counts, config, store
        self.resolver = DnsResolver(config.dns, running.reactor, ReactorExchange(running.reactor), running.log, counts)
        running.closers.append(self.resolver.close)
        self.outbound = _queue(running, config, store)
        self.journal = _journal(running, config, store)
        self.outgoing: OutgoingMail | None = None

    def begin(self, resources: Resources) -> None:
        running, store = self._running, self._store
        if not isinstance(self.outbound, MailQueue):
            return
        around = Around(
            store, store.spool, resources.directory, self.resolver, store.workers, resources.clock, running.log,
            self._counts, self.journal or NoJournal(),
        )  # fmt: skip
        self.outgoing = OutgoingMail(running.reactor, self._config, self.outbound, around)
        for gauge in self.outgoing.gauges():
            self._counts.gauge(*gauge)
        running.closers.append(self.outgoing.stop)
        running.reactor.callWhenRunning(self.outgoing.start)

    def use(self, config: Config) -> None:
        self.resolver.use(config.dns)
        if self.journal is not None:
            self.journal.most, self.journal.days = config.journal.events, config.journal.days

    def send_by(self, config: Config, ways: Mapping[str, Way], directory: Directory) -> None:
        """Mail leaves as this configuration says."""
        if self.outgoing is not None:
            self.outgoing.use(config, ways, directory)


def _queue(running: Running, config: Config, store: Store) -> Outbound:
    """The queue; on a disk that cannot be written one that takes nothing, while mail can still be read."""
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
    running.closers.insert(0, database.close)  # when the workers have ended
    running.closers.append(journal.stop)
    return journal
