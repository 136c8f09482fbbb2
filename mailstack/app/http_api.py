"""The HTTP API of the development mode, composed."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import Any

from mailstack.app.listening import Where, address_of, open_socket, serve
from mailstack.app.readiness import Ready
from mailstack.app.server import Server
from mailstack.app.services import service
from mailstack.auth.anyone import AnyAccounts
from mailstack.config.sections import Config, ServiceName
from mailstack.net.listener import Service
from mailstack.observe.recent import RecentJournal

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
    """Serve it from now on."""
    from mailstack.web.api import RESOURCES
    from mailstack.web.catch import Catch
    from mailstack.web.guards import Guards
    from mailstack.web.library import Library
    from mailstack.web.mail_api import MailApi
    from mailstack.web.rows import Routes
    from mailstack.web.server import ApiFactory

    reactor, store = server.running.reactor, server.store
    library = Library(store)
    catch = store.witness = Catch(store, library, reactor)
    submission = next(each for each in config.listeners if each.service is ServiceName.SUBMISSION)

    def offered() -> Service:
        return service(config, submission, server.resources, server.manners)

    def ready() -> dict[str, Any]:
        ca = config.tls.certificates[0].cert
        return Ready(server.services, os.getpid(), config.data, ca).document()

    api = MailApi(
        store, library, catch, accounts, journal, offered, ready, config.limits.max_message_size
    )  # fmt: skip
    factory = ApiFactory(
        api, Routes(RESOURCES), Guards(place.token), server.running.log, reactor, BODY * api.max_message
    )
    port = serve(reactor, opened, factory)
    server.running.ports.append(port)
    server.services[HTTP] = address_of(port)
    server.running.closers.append(catch.close)
