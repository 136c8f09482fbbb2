"""Production: the server that a configuration describes."""

from __future__ import annotations

import os
import socket
import sqlite3
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import apsw
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from mailstack.app import certification, descriptors, processes
from mailstack.app.among_others import AmongOthers
from mailstack.app.certification import CannotCertify, Certification
from mailstack.app.listening import CannotListen, PassedSockets
from mailstack.app.metrics_page import listen_metrics
from mailstack.app.outgoing import ways as outgoing_ways
from mailstack.app.privileges import CannotDrop, drop
from mailstack.app.readiness import Ready
from mailstack.app.rewriting import rewriter
from mailstack.app.run import run as run_until_stopped
from mailstack.app.server import (
    CannotUseData,
    Server,
    certificate_files,
    close_sockets,
    compose,
    open_sockets,
    use_data,
)
from mailstack.app.services import Manners, ServiceAccounts
from mailstack.app.ways import ways
from mailstack.auth.accounts import StoredAccounts
from mailstack.auth.bad_keys import BadKeys
from mailstack.auth.database import AccountDatabase, AccountsError
from mailstack.auth.directory import StoredDirectory
from mailstack.auth.known import KnownAccounts
from mailstack.auth.limits import LoginLimits
from mailstack.auth.passwords import VerifiedPasswords
from mailstack.auth.quotas import StoredQuotas
from mailstack.auth.sent import SENT_DATABASE, SentDatabase, SentMail
from mailstack.config.changes import changes
from mailstack.config.load import ConfigError, load
from mailstack.config.observing import LogLevel
from mailstack.config.sections import Config
from mailstack.net.tls import BadCertificate
from mailstack.observe.log import FORMATS, Level, LineStream, StructuredLog, Target
from mailstack.observe.twisted_log import capture
from mailstack.ports import Directory, Log
from mailstack.queue.database import QueueDatabaseError
from mailstack.relay.settings import BadRoute
from mailstack.store.workers import Workers

HASHING_THREADS = 2
"""Threads for password hashes: each takes 19 MiB and a core for 20 ms."""
LEVELS = {
    LogLevel.DEBUG: Level.DEBUG,
    LogLevel.INFO: Level.INFO,
    LogLevel.WARNING: Level.WARNING,
    LogLevel.ERROR: Level.ERROR,
}
Problems = (
    ConfigError, CannotListen, CannotUseData, CannotDrop, BadCertificate, AccountsError, BadKeys, BadRoute,
    CannotCertify, QueueDatabaseError, apsw.Error, sqlite3.Error, OSError,
)  # fmt: skip


@dataclass(slots=True)
class Hashing:
    """Threads of their own for password hashes."""

    reactor: Any
    pool: ThreadPool

    def run(self, fn: Callable[[], bool]) -> Awaitable[bool]:
        return deferToThreadPool(self.reactor, self.pool, fn)


@dataclass(slots=True)
class Identities:
    """Who is who, by the accounts database and a configuration. Failures that were counted and
    passwords that were verified outlive a change of the configuration."""

    database: AccountDatabase
    known: KnownAccounts
    limits: LoginLimits
    verified: VerifiedPasswords
    hashing: Hashing
    log: Log
    sent: SentMail | None = None

    @classmethod
    def of(cls, config: Config, hashing: Hashing, log: Log) -> Identities:
        """Raises: AccountsError."""
        auth = config.auth
        limits = LoginLimits(auth.failures_per_address, auth.failures_per_account, auth.failure_window, time.monotonic)
        verified = VerifiedPasswords(auth.verified_password_memory, time.monotonic)
        database = AccountDatabase(config.accounts_database)
        return cls(database, KnownAccounts(database), limits, verified, hashing, log)

    def under(self, config: Config) -> tuple[ServiceAccounts, Directory]:
        """Accounts and directory as this configuration wants them. Raises: BadKeys, OSError, AccountsError."""
        accounts = StoredAccounts(
            self.database, self.limits, self.verified, self.hashing.run, self.log,
            default_domain=config.domains[0].name.lower(), known=self.known,
            ways=ways(config, self.hashing.reactor, self.log),
        )  # fmt: skip
        return accounts, StoredDirectory(self.known, config.domains, rewriter(config, self.database))

    def take_up(self, config: Config) -> None:
        """Limits and memory as this configuration wants them."""
        auth = config.auth
        self.limits.set(auth.failures_per_address, auth.failures_per_account, auth.failure_window)
        self.verified.keep_for(auth.verified_password_memory)

    def sending(self, config: Config, workers: Workers) -> SentMail:
        """How much accounts may send. Raises: AccountsError."""
        path = config.accounts_database.with_name(SENT_DATABASE)
        try:
            database = SentDatabase(path)
        except (sqlite3.Error, OSError) as error:
            raise AccountsError(f"{path}: {error}") from error
        self.sent = SentMail(database, partial(workers.run_in_lane, SENT_DATABASE), config.sending)
        return self.sent

    def quotas(self, config: Config) -> StoredQuotas:
        """Who may use how much under this configuration."""
        return StoredQuotas(self.known, config.quota, config.domains)


@dataclass(slots=True)
class Production:
    """A running server, the configuration that it runs on, and the file that this came from."""

    server: Server
    config: Config
    path: Path
    identities: Identities
    target: Target
    certification: Certification | None = None

    def reload(self) -> None:
        """Take up what the file says now, or nothing of it if it cannot be used."""
        log = self.server.running.log
        try:
            found = changes(self.config, load(self.path))
            found_ways = outgoing_ways(found.usable)
            identities = self.identities.under(found.usable)
            stream = self._prepare(found.usable)
        except (ConfigError, BadCertificate, BadKeys, AccountsError, BadRoute, CannotCertify, OSError) as error:
            log.warning("configuration not reloaded; the one in use stays", reason=str(error))
            return
        self.config = found.usable
        before, self.target.stream = self.target.stream, stream
        _close(before)
        self.target.form = FORMATS[self.config.log.format.value]
        self.target.level = LEVELS[self.config.log.level]
        self.identities.take_up(self.config)
        if self.certification is not None:
            self.certification.use(self.config)
        self.server.reconfigure(self.config, *identities)
        if isinstance(self.server.around, AmongOthers):
            self.server.around.send_by(self.config, found_ways, identities[1])
        self.server.store.quotas.use(self.identities.quotas(self.config))
        if self.identities.sent is not None:
            self.identities.sent.sending = self.config.sending
        log.event("reloaded", changed=_listed(found.taken))
        if found.waiting:
            log.warning("changes that need a restart", keys=_listed(found.waiting))

    def _prepare(self, config: Config) -> TextIO:
        """Everything that can fail; the new stream of the log. Raises: BadCertificate, CannotCertify, OSError."""
        stream = open_stream(config)
        try:
            certification.begin(config, self.server.running.log)
            files = certificate_files(config)
            if self.server.running.tls is not None and files:
                self.server.running.tls.use(files, config.tls.client_ca)
        except (BadCertificate, CannotCertify, OSError):
            _close(stream)
            raise
        return stream


def serve(config_path: Path, ready_file: Path | None, passed: Mapping[str, Sequence[int]]) -> int:
    """Serve until told to stop; the exit status. `passed` are systemd's sockets, by `systemd.passed_sockets`."""
    os.umask(0o077)
    try:
        config = load(config_path)
        production = _start(config, config_path, PassedSockets(passed))
    except Problems as error:
        print(f"mailstack: {error}", file=sys.stderr)
        return 1
    return _serve(production, ready_file)


def _start(config: Config, path: Path, passed: PassedSockets) -> Production:
    from twisted.internet import reactor

    if os.getuid() == 0 and not config.user:
        drop("")  # says why root is not enough
    allowed = descriptors.allow(config.limits.connections)
    opened = open_sockets(config, passed)
    asked_at: list[socket.socket] = []
    try:
        asked_at += certification.open_challenge_sockets(config, passed)
        if os.getuid() == 0:
            _own_data(config)
        drop(config.user, config.group)
        # As the account that we became: what cannot be opened again at a reload fails now.
        target = Target(open_stream(config), FORMATS[config.log.format.value], LEVELS[config.log.level])
        log = StructuredLog(target)
        capture(log)
        if allowed < config.limits.connections:
            log.warning(
                "fewer file descriptors than connections", connections=config.limits.connections, enough_for=allowed
            )
        for place in passed.close_rest():
            log.warning("systemd's socket is not used: no listener is at its port", address=place)
        use_data(config.data)
        certification.begin(config, log)
        identities = Identities.of(config, Hashing(reactor, ThreadPool(1, HASHING_THREADS, name="hashing")), log)
        server = compose(
            reactor,
            config,
            log,
            opened,
            lambda: identities.under(config),
            Manners(),
            AmongOthers,
            partial(identities.sending, config),
        )
    except BaseException:
        close_sockets(opened)
        for each in asked_at:
            each.close()
        raise
    server.store.quotas.use(identities.quotas(config))
    identities.hashing.pool.start()
    server.running.closers.append(identities.hashing.pool.stop)
    if config.metrics.port is not None:
        listen_metrics(server, config.metrics.address, config.metrics.port)
    return Production(server, config, path, identities, target, _certification(server, config, asked_at))


def _certification(server: Server, config: Config, asked_at: list[socket.socket]) -> Certification | None:
    if not config.acme.is_on:
        return None
    made = Certification.of(server, config)
    certification.listen(made, asked_at)
    server.running.closers.append(made.stop)
    server.running.reactor.callWhenRunning(made.start)
    return made


def _own_data(config: Config) -> None:
    """As root: the data directory belongs to the account that we become."""
    import shutil

    new = not config.data.exists()
    use_data(config.data)
    if new:
        shutil.chown(config.data, config.user, config.group or None)


def _serve(production: Production, ready_file: Path | None) -> int:
    server, config = production.server, production.config
    files = certificate_files(config)
    ca = files[0].certificate if files else None
    ready = Ready(server.services, os.getpid(), config.data, ca, time.time())
    mine = processes.file_of(config.data, os.getpid())
    log = server.running.log

    def announce() -> None:
        if ready_file is not None:
            ready.write(ready_file)
        try:
            processes.sweep(config.data)
            ready.write(mine)
        except OSError as error:
            log.warning("mailstack status will not know of this process", reason=str(error))
        log.event("ready", pid=os.getpid(), **{name: f"{host}:{port}" for name, (host, port) in ready.services.items()})

    try:
        return run_until_stopped(server.running, ready=announce, reload=production.reload)
    finally:
        ready.withdraw(mine)
        if ready_file is not None:
            ready.withdraw(ready_file)


def open_stream(config: Config) -> TextIO:
    """What the log is written to. Raises: OSError."""
    return sys.stderr if config.log.file is None else config.log.file.open("a", encoding="utf-8")


def _close(stream: LineStream) -> None:
    if stream is not sys.stderr:
        stream.close()


def _listed(keys: tuple[str, ...]) -> str:
    return ", ".join(keys) or "nothing"
