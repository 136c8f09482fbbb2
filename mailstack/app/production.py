"""Production: the server that a configuration describes."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from mailstack.app.listening import CannotListen
from mailstack.app.metrics_page import listen_metrics
from mailstack.app.privileges import CannotDrop, drop
from mailstack.app.readiness import Ready
from mailstack.app.run import run as run_until_stopped
from mailstack.app.server import CannotUseData, Server, close_sockets, compose, open_sockets, use_data
from mailstack.app.services import Manners
from mailstack.auth.accounts import StoredAccounts
from mailstack.auth.database import AccountDatabase, AccountsError
from mailstack.auth.directory import StoredDirectory
from mailstack.auth.limits import LoginLimits
from mailstack.auth.passwords import VerifiedPasswords
from mailstack.config.load import ConfigError, load
from mailstack.config.sections import Config, LogLevel
from mailstack.net.systemd import passed_sockets
from mailstack.net.tls import BadCertificate
from mailstack.observe.log import FORMATS, Level, StructuredLog
from mailstack.observe.twisted_log import capture
from mailstack.ports import Accounts, Directory, Log

HASHING_THREADS = 2
"""Threads for password hashes: each takes 19 MiB and a core for 20 ms."""
LEVELS = {
    LogLevel.DEBUG: Level.DEBUG,
    LogLevel.INFO: Level.INFO,
    LogLevel.WARNING: Level.WARNING,
    LogLevel.ERROR: Level.ERROR,
}
Problems = (ConfigError, CannotListen, CannotUseData, CannotDrop, BadCertificate, AccountsError, OSError)


@dataclass(slots=True)
class Hashing:
    """Threads of their own for password hashes."""

    reactor: Any
    pool: ThreadPool

    def run(self, fn: Callable[[], bool]) -> Awaitable[bool]:
        return deferToThreadPool(self.reactor, self.pool, fn)


def serve(config_path: Path, ready_file: Path | None) -> int:
    """Serve until told to stop; the exit status."""
    os.umask(0o077)
    try:
        config = load(config_path)
        server = _start(config)
    except Problems as error:
        print(f"mailstack: {error}", file=sys.stderr)
        return 1
    return _serve(server, config, config_path, ready_file)


def _start(config: Config) -> Server:
    from twisted.internet import reactor

    if os.getuid() == 0 and not config.user:
        drop("")  # says why root is not enough
    opened = open_sockets(config, passed_sockets(os.environ))
    try:
        log = make_log(config)
        capture(log)
        if os.getuid() == 0:
            _own_data(config)
        drop(config.user, config.group)
        hashing = Hashing(reactor, ThreadPool(1, HASHING_THREADS, name="hashing"))
        server = compose(reactor, config, log, opened, lambda: _identify(config, log, hashing), Manners())
    except BaseException:
        close_sockets(opened)
        raise
    hashing.pool.start()
    server.running.closers.append(hashing.pool.stop)
    if config.metrics.port is not None:
        listen_metrics(server, config.metrics.address, config.metrics.port)
    return server


def _own_data(config: Config) -> None:
    """As root: the data directory belongs to the account that we become."""
    import shutil

    new = not config.data.exists()
    use_data(config.data)
    if new:
        shutil.chown(config.data, config.user, config.group or None)


def _identify(config: Config, log: Log, hashing: Hashing) -> tuple[Accounts, Directory]:
    database = AccountDatabase(config.accounts_database)
    auth = config.auth
    limits = LoginLimits(auth.failures_per_address, auth.failures_per_account, auth.failure_window, time.monotonic)
    verified = VerifiedPasswords(auth.verified_password_memory, time.monotonic)
    accounts = StoredAccounts(
        database, limits, verified, hashing.run, log, default_domain=config.domains[0].name.lower()
    )
    return accounts, StoredDirectory(database, config.domains)


def _serve(server: Server, config: Config, config_path: Path, ready_file: Path | None) -> int:
    certificates = config.tls.certificates
    ca = certificates[0].cert if certificates else None
    ready = Ready(server.services, os.getpid(), config.data, ca)
    log = server.running.log

    def announce() -> None:
        if ready_file is not None:
            ready.write(ready_file)
        log.event("ready", pid=os.getpid(), **{name: f"{host}:{port}" for name, (host, port) in ready.services.items()})

    def reload() -> None:
        try:
            changed = load(config_path)
        except (ConfigError, OSError) as error:
            log.warning("configuration not reloaded; the one in use stays", reason=str(error))
        else:
            if changed != config:
                log.warning("the configuration has changed; what is not certificates needs a restart")
        if server.running.tls is not None:
            server.running.tls.reload_if_changed()
        log.event("reloaded")

    try:
        return run_until_stopped(server.running, ready=announce, reload=reload)
    finally:
        if ready_file is not None:
            ready_file.unlink(missing_ok=True)


def make_log(config: Config) -> StructuredLog:
    """The log as configured. Raises: OSError."""
    stream = sys.stderr if config.log.file is None else config.log.file.open("a", encoding="utf-8")
    return StructuredLog(stream, FORMATS[config.log.format.value], LEVELS[config.log.level])
