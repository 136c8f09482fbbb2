"""The HTTP API of the development mode, composed."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.protocol import Factory

from mailstack.app.listening import Where, address_of, open_socket, serve
from mailstack.app.readiness import Ready
from mailstack.app.server import Server
from mailstack.app.services import service
from mailstack.auth.anyone import AnyAccounts
from mailstack.config.sections import Config, ServiceName
from mailstack.net.listener import Service
from mailstack.observe.recent import RecentJournal
from mailstack.web.catch import Catch

HTTP = "http"
"""In the ready file."""
BODY = 2
"""How many times a message's size a request may have: base64 and JSON around it."""


@dataclass(frozen=True, slots=True)
class HttpPlace:
    """Where the API listens, and the token without which it does nothing; "" for none."""

    address: str
    port: int
    token: str = ""


def open_http(place: HttpPlace) -> socket.socket:
    """Raises: CannotListen."""
    return open_socket(Where(HTTP, place.address, place.port))


def serve_http(
    opened: socket.socket, place: HttpPlace, server: Server, config: Config, accounts: AnyAccounts,
    journal: RecentJournal,
) -> None:  # fmt: skip
    """Serve it from now on. What comes is remembered at once; the code of the API is loaded when somebody asks for it,
    which takes as long as a tenth of the start."""
    catch = server.store.witness = Catch(server.store, server.running.reactor)

    def load() -> Factory:
        return _factory(place, server, config, accounts, journal, catch)

    port = serve(server.running.reactor, opened, _Loading(load))
    server.running.ports.append(port)
    server.services[HTTP] = address_of(port)
    server.running.closers.append(catch.close)


class _Loading(Factory):
    """A factory that is made when the first client comes."""

    noisy = False

    def __init__(self, load: Callable[[], Factory]) -> None:
        self._load = load
        self._loaded: Factory | None = None

    def buildProtocol(self, addr: Any) -> Any:
        if self._loaded is None:
            self._loaded = self._load()
        return self._loaded.buildProtocol(addr)


def _factory(
    place: HttpPlace, server: Server, config: Config, accounts: AnyAccounts, journal: RecentJournal, catch: Catch
) -> Factory:
    from mailstack.web.api import RESOURCES
    from mailstack.web.guards import Guards
    from mailstack.web.library import Library
    from mailstack.web.mail_api import MailApi
    from mailstack.web.rows import Routes
    from mailstack.web.server import ApiFactory

    reactor, store = server.running.reactor, server.store
    submission = next(each for each in config.listeners if each.service is ServiceName.SUBMISSION)

    def offered() -> Service:
        return service(config, submission, server.resources, server.manners)

    faults = server.resources.faults
    assert faults is not None, "they are in the development mode"

    def undo_faults() -> None:
        faults.clear()

    def ready() -> dict[str, Any]:
        ca = config.tls.certificates[0].cert
        return Ready(server.services, os.getpid(), config.data, ca).document()

    api = MailApi(
        store, Library(store), catch, accounts, journal, offered, ready, config.limits.max_message_size, faults,
        [undo_faults],
    )  # fmt: skip
    return ApiFactory(
        api, Routes(RESOURCES), Guards(place.token), server.running.log, reactor, BODY * api.max_message
    )  # fmt: skip
