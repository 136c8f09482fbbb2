"""[acme] in a running server: a thread that looks after the certificate, what answers the authority, and taking a new
certificate into use without dropping a connection."""

from __future__ import annotations

import random
import socket
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from typing import Any

from twisted.internet.protocol import Factory

from mailstack.acme.keeping import LOOK_AT_MOST, Keeper, Outcome, Stopped, Wanted, What
from mailstack.acme.making import make_authority
from mailstack.acme.state import State
from mailstack.app.listening import PassedSockets, Where, address_of, open_socket, serve
from mailstack.app.server import Server, certificate_files
from mailstack.config.acme import Challenge
from mailstack.config.sections import Config
from mailstack.config.surroundings import ACME_MISSING
from mailstack.net.tls import RELOAD_INTERVAL, BadCertificate
from mailstack.net.tls_alpn import ValidationTls, validation_factory
from mailstack.ports import Log
from mailstack.store.workers import Workers

SERVICE = "acme"
"""What the listener for the authority's questions is called."""


class CannotCertify(Exception):
    """[acme] is set, and cannot be done; the message says what lacks."""


def open_challenge_sockets(config: Config, passed: PassedSockets) -> list[socket.socket]:
    """Where the authority asks; while we may still bind such ports. Raises: CannotListen."""
    if not config.acme.is_on:
        return []
    where = Where(SERVICE, config.acme.address, config.acme.challenge_port)
    return passed.take(where) or [open_socket(where)]


def begin(config: Config, log: Log) -> None:
    """See that there is something to serve TLS with. Raises: CannotCertify, OSError."""
    if not config.acme.is_on:
        return
    if find_spec("acme") is None:
        raise CannotCertify(f"[acme] {ACME_MISSING}")
    state = State(config.data)
    state.make()
    if config.tls.certificates:
        return
    hosts = config.acme.certified(config.hostname)
    state.begin_with_self_signed(hosts)
    if state.is_self_signed():
        log.warning("self-signed certificate until there is one of the authority", hosts=", ".join(hosts))


@dataclass(slots=True)
class Certification:
    """Runs from `start` to `stop`."""

    server: Server
    config: Config
    keeper: Keeper
    log: Log
    _stopping: threading.Event = field(default_factory=threading.Event)
    _wake: threading.Event = field(default_factory=threading.Event)
    _watching: Any = None

    @classmethod
    def of(cls, server: Server, config: Config) -> Certification:
        stopping = threading.Event()
        keeper = Keeper(State(config.data), partial(make_authority, stopping.wait), time.time, random.random)
        return cls(server, config, keeper, server.running.log, stopping)

    def hosts(self) -> tuple[str, ...]:
        """Those that the authority may ask about."""
        return self.config.acme.certified(self.config.hostname)

    def start(self) -> None:
        """The first look is now."""
        threading.Thread(target=self._work, name="acme", daemon=True).start()
        self._watch()

    def stop(self) -> None:
        """No look begins any more. One under way is not waited for: it may be waiting for an authority, and what it
        would write is there as a whole or not at all."""
        self._stopping.set()
        self._wake.set()
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None

    def use(self, config: Config) -> None:
        """Another configuration, of which hosts or the authority may be different: look at once."""
        self.config = config
        self._wake.set()

    def take_up(self) -> None:
        """Serve the certificate that is there now."""
        running = self.server.running
        files = certificate_files(self.config)
        if running.tls is None:
            return
        if running.tls.uses(files):
            running.tls.reload_if_changed()
            return
        try:
            running.tls.use(files, self.config.tls.client_ca)
        except BadCertificate as bad:
            self.log.warning("certificate not reloaded; the one in use stays", reason=str(bad))

    def _watch(self) -> None:
        """Another process may have renewed it, or `mailstack certificate renew`."""
        self.take_up()
        self._watching = self.server.running.reactor.callLater(RELOAD_INTERVAL, self._watch)

    def _work(self) -> None:
        """In the thread."""
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                outcome = self.keeper.look(Wanted.of(self.config.acme, self.config.hostname))
            except Stopped:
                return
            except OSError as error:
                outcome = Outcome(What.FAILED, LOOK_AT_MOST / 12, str(error))
            except Exception:
                self.log.failure("certificate not looked at")
                outcome = Outcome(What.NOTHING, LOOK_AT_MOST)
            self.server.running.reactor.callFromThread(self._came, outcome)
            self._wake.wait(outcome.wait)

    def _came(self, outcome: Outcome) -> None:
        """In the reactor's thread."""
        if self._stopping.is_set():
            return
        counters = self.server.resources.counters
        if outcome.what is What.RENEWED:
            counters.count("certificate_renewals", "renewed")
            self.log.event("certificate renewed", certificate=outcome.text)
        elif outcome.what is What.FAILED:
            counters.count("certificate_renewals", "failed")
            seconds = round(outcome.wait)
            self.log.warning("certificate not renewed; the one in use stays", reason=outcome.text, again_in=seconds)
        self.take_up()


def listen(certification: Certification, sockets: list[socket.socket]) -> None:
    """Answer the authority."""
    running = certification.server.running
    factory = _factory(certification, certification.server.store.workers)
    ports = [serve(running.reactor, each, factory) for each in sockets]
    running.ports += ports
    certification.server.services[SERVICE] = address_of(ports[0])


def _factory(certification: Certification, workers: Workers) -> Factory:
    challenges = certification.keeper.state.challenges
    if certification.config.acme.challenge is Challenge.TLS_ALPN:
        tls = ValidationTls(certification.hosts, challenges.certificate)
        return validation_factory(certification.server.running.reactor, tls)
    # Late: few serve anything by HTTP.
    from mailstack.web.acme_challenge import PREFIX, AcmeChallenge
    from mailstack.web.site import Root, site

    def find(token: str) -> Any:
        return workers.run(partial(challenges.authorization, token))

    root = Root()
    root.add(PREFIX, certification.hosts, AcmeChallenge(find, certification.log))
    return site(root)
