"""The development mode: loopback only, anybody is welcome, nothing leaves the machine."""

from __future__ import annotations

import json
import os
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet.error import ConnectionDone

from mailstack.app import descriptors
from mailstack.app.ephemeral import EphemeralDirectory
from mailstack.app.http_api import HTTP, HttpPlace, open_http, serve_http
from mailstack.app.listening import CannotListen, PassedSockets
from mailstack.app.readiness import Ready
from mailstack.app.run import run as run_until_stopped
from mailstack.app.server import CannotUseData, Server, close_sockets, compose, open_sockets, use_data
from mailstack.app.services import Manners
from mailstack.app.surroundings import Alone
from mailstack.auth.anyone import AnyAccounts, AnyDirectory, AnyLimits
from mailstack.config.sections import (
    USUAL_PORTS,
    Auth,
    BareNewline,
    Certificate,
    Config,
    Domain,
    Limits,
    Listener,
    Retention,
    ServiceName,
    Smtp,
    Tls,
    Vrfy,
    usual_tls,
)
from mailstack.net.certificates import CERTIFICATE, KEY, usable, write_self_signed
from mailstack.observe.log import FORMATS, Level, StructuredLog, Target
from mailstack.observe.recent import RecentJournal
from mailstack.observe.twisted_log import capture
from mailstack.ports import Log

if TYPE_CHECKING:
    from mailstack.faults.rules import Rule

LOOPBACK = "127.0.0.1"
HOSTNAME = "localhost"
CERTIFICATE_NAMES = ("localhost", "127.0.0.1", "::1", "host.docker.internal")
DEVELOPMENT_PORTS: dict[ServiceName, int] = {
    ServiceName.SMTP: 2525,
    ServiceName.SUBMISSION: 2587,
    ServiceName.SUBMISSIONS: 2465,
    ServiceName.IMAP: 2143,
    ServiceName.IMAPS: 2993,
    ServiceName.POP3: 2110,
    ServiceName.POP3S: 2995,
}
HTTP_PORT = 2580
USUAL_HTTP_PORT = 80
"""To which a base is added."""
MANY = 10_000
"""Connections that one developer's programs may open."""
READY_FILE = "dev.json"
"""In the data directory: where it listens, for `mailstack send`."""
STANDARD_OUTPUT = Path("-")
"""As a ready file: one line of JSON instead of the announcement."""


DEFAULT_KEEP = 5000
"""Messages of a mailbox, unless it is said: more than anybody looks at, and little enough for any disk."""


@dataclass(frozen=True, slots=True)
class DevelopmentOptions:
    """What `mailstack dev` was asked for. `base_port` None is the usual development ports, 0 lets the
    kernel choose each."""

    data: Path
    ephemeral: bool
    base_port: int | None
    ready_file: Path | None
    domains: tuple[str, ...]
    log_form: str
    announce: bool
    keep: int = DEFAULT_KEEP
    """The newest messages of each mailbox; 0: all."""
    password: str = ""
    """Of all users; "": any."""
    faults: tuple[Rule, ...] = ()
    """That are set from the beginning."""
    transcripts: Path | None = None
    """Where dialogues are written down."""
    http_port: int | None = None
    """None: as the others are chosen."""
    http_address: str = LOOPBACK
    http_token: str = ""
    """Which clients of the HTTP API have to know; needed anywhere but on loopback."""
    command: tuple[str, ...] = ()
    """What is run beside it; it stops when that ends."""
    stop_with_stdin: bool = False
    """The server ends when its standard input does."""

    @property
    def http(self) -> HttpPlace:
        """Where the HTTP API is to listen."""
        port = self.http_port
        if port is None:
            port = HTTP_PORT if self.base_port is None else self.base_port and self.base_port + USUAL_HTTP_PORT
        return HttpPlace(self.http_address, port, self.http_token)


def run(options: DevelopmentOptions) -> int:
    """Serve until told to stop; the exit status."""
    with ExitStack() as stack:
        data = options.data
        if options.ephemeral:
            data = stack.enter_context(EphemeralDirectory())
        os.umask(0o077)
        try:
            use_data(data)
            server, config = _start(options, data.resolve())
        except (CannotListen, CannotUseData, OSError) as error:
            print(f"mailstack: {error}", file=sys.stderr)
            return 1
        return _serve(server, config, options)


def _start(options: DevelopmentOptions, data: Path) -> tuple[Server, Config]:
    from twisted.internet import reactor

    descriptors.allow(MANY)
    log = make_log(options.log_form)
    capture(log)
    return assemble(options, data, reactor, log)


def assemble(options: DevelopmentOptions, data: Path, reactor: Any, log: Log) -> tuple[Server, Config]:
    """A server that listens as soon as the reactor runs. Raises: CannotListen, CannotUseData, OSError."""
    config = configuration(options, data)
    opened = open_sockets(config, PassedSockets({}))
    try:
        http = open_http(options.http)
    except CannotListen:
        close_sockets(opened)
        raise
    if not usable(data / "tls"):
        write_self_signed(data / "tls", CERTIFICATE_NAMES)
    domains = frozenset(domain.lower() for domain in options.domains)
    accounts, journal = AnyAccounts(options.password), RecentJournal()
    server = compose(
        reactor, config, log, opened, lambda: (accounts, AnyDirectory(domains)),
        Manners(anybody=True, transcripts=options.transcripts), partial(Alone, journal=journal),
    )  # fmt: skip
    server.store.quotas.use(AnyLimits())
    assert server.resources.faults is not None
    for rule in options.faults:
        server.resources.faults.add(rule)
    serve_http(http, options.http, server, config, accounts, journal)
    return server, config


def _serve(server: Server, config: Config, options: DevelopmentOptions) -> int:
    on_terminal = sys.stdin is not None and sys.stdin.isatty()
    ready = Ready(server.services, os.getpid(), config.data, config.tls.certificates[0].cert)
    to_stdout = options.ready_file == STANDARD_OUTPUT
    files = [config.data / READY_FILE] + ([options.ready_file] if options.ready_file and not to_stdout else [])
    if options.stop_with_stdin:
        EndOfInput(sys.stdin.fileno(), server.running.reactor)
    command = None
    if options.command:
        from mailstack.app.command import BesideCommand, variables

        command = BesideCommand(options.command, server.running.reactor)

    def announce() -> None:
        for path in files:
            ready.write(path)
        if to_stdout:
            _say(json.dumps(ready.document()))
        elif options.announce:
            _say(announcement(ready, options.ephemeral, options.keep, options.password))
        if command is not None:
            command.start(variables(ready, options.http_token))

    def reload() -> None:
        if on_terminal:  # it has been closed; nobody would stop us
            server.running.reactor.stop()
            return
        server.running.log.event("reload")
        if server.running.tls is not None:
            server.running.tls.reload_if_changed()

    try:
        status = run_until_stopped(server.running, ready=announce, reload=reload)
        return status if command is None else status or command.status
    finally:
        for path in files:
            ready.withdraw(path)


class EndOfInput:
    """Stops the reactor when there is nothing more to be read, as when the process at the other end of the pipe has
    died. What is read is dropped."""

    def __init__(self, descriptor: int, reactor: Any) -> None:
        self._descriptor = descriptor
        self._reactor = reactor
        reactor.addReader(self)

    def fileno(self) -> int:
        return self._descriptor

    def logPrefix(self) -> str:
        return "standard input"

    def doRead(self) -> Exception | None:
        try:
            return None if os.read(self._descriptor, 4096) else ConnectionDone()
        except BlockingIOError:
            return None

    def connectionLost(self, reason: object) -> None:
        """A pipe's end; also called when the reactor has stopped."""
        if self._reactor.running:
            self._reactor.stop()


def _say(text: str) -> None:
    """Print it. A server does not end because nobody reads on, as in `mailstack dev | head -1`."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # so that the last flush at exit does not fail either


def configuration(options: DevelopmentOptions, data: Path) -> Config:
    """The development mode as a configuration."""
    listeners = tuple(
        Listener(service=service, port=_port(options, service), tls=usual_tls(service), address=LOOPBACK)
        for service in DEVELOPMENT_PORTS
    )
    return Config(
        data=data,
        hostname=HOSTNAME,
        domains=tuple(Domain(name) for name in options.domains),
        listeners=listeners,
        tls=Tls((Certificate(data / "tls" / CERTIFICATE, data / "tls" / KEY),)),
        limits=Limits(connections=MANY, connections_per_address=MANY),
        auth=Auth(require_tls=False),
        smtp=Smtp(bare_newline=BareNewline.REPAIR, vrfy=Vrfy.EVERYBODY),
        retention=(Retention(mailbox="*", messages=options.keep),) if options.keep else (),
    )


def announcement(ready: Ready, ephemeral: bool, keep: int, password: str = "") -> str:
    """What a person is told at the start."""
    at = {name: f"{host}:{port}" for name, (host, port) in ready.services.items()}
    kept = "mail is gone when it stops" if ephemeral else f"mail is kept in {ready.data}"
    passwords = "the password of --password" if password else "any password"
    newest = f"the newest {keep} messages of each mailbox (--keep)" if keep else "all messages"
    return "\n".join((
        f"mailstack is ready for development; {kept}",
        f"  send to     SMTP {at['smtp']}    submission {at['submission']}, with TLS {at['submissions']}",
        f"  read from   IMAP {at['imap']}, with TLS {at['imaps']}    POP3 {at['pop3']}, with TLS {at['pop3s']}",
        f"  or by HTTP  http://{_authority(*ready.services[HTTP])}/api/v1/    docs: /api/v1/openapi.json",
        f"  log in as   any address, {passwords}: its mailbox is made when mail or a login for it comes",
        f"  keeps       {newest}",
        f"  trust       {ready.ca}",
    ))  # fmt: skip


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def make_log(form: str) -> Log:
    """The log on the standard error stream."""
    if form == "none":
        return StructuredLog(Target(sys.stderr, FORMATS["text"], Level.WARNING))
    return StructuredLog(Target(sys.stderr, FORMATS[form]))


def _port(options: DevelopmentOptions, service: ServiceName) -> int:
    if options.base_port is None:
        return DEVELOPMENT_PORTS[service]
    return options.base_port + USUAL_PORTS[service] if options.base_port else 0
