"""Listening sockets: bound here, or passed by systemd."""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import dataclass
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory

BACKLOG = 512
"""Connections that may wait to be accepted; the kernel's own limit may be lower."""


class CannotListen(Exception):
    """A socket cannot be had; the message says which, why, and what to do."""


@dataclass(frozen=True, slots=True)
class Where:
    """An address to listen at. Port 0 lets the kernel choose."""

    service: str
    address: str
    port: int


def listen(reactor: Any, where: Where, factory: Factory) -> IListeningPort:
    """Raises: CannotListen."""
    try:
        port: IListeningPort = reactor.listenTCP(where.port, factory, backlog=BACKLOG, interface=where.address)
    except CannotListenError as error:
        raise CannotListen(_explain(where, error.socketError)) from error
    return port


def adopt(reactor: Any, descriptor: int, factory: Factory) -> IListeningPort:
    """A socket that systemd opened. Raises: CannotListen when it is not a listening TCP socket."""
    try:
        with socket.socket(fileno=os.dup(descriptor)) as passed:
            family = passed.family
            if family not in (socket.AF_INET, socket.AF_INET6):
                raise CannotListen(f"socket {descriptor} passed by systemd is not a TCP socket")
        port: IListeningPort = reactor.adoptStreamPort(descriptor, family, factory)
    except OSError as error:
        raise CannotListen(f"socket {descriptor} passed by systemd: {error.strerror}") from error
    os.close(descriptor)  # the reactor has its own duplicate
    return port


def address_of(port: IListeningPort) -> tuple[str, int]:
    """Host and port that a client on this machine may use."""
    host: Any = port.getHost()
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host.host, host.host)
    return reachable, host.port


def _explain(where: Where, error: object) -> str:
    number = getattr(error, "errno", None)
    place = f"{where.address or '*'}:{where.port}"
    if number == errno.EADDRINUSE:
        return f"{where.service}: {place} is in use by another program (is mailstack running already?)"
    if number == errno.EACCES:
        return f"{where.service}: no permission to listen at {place}; ports below 1024 need root or systemd's sockets"
    if number == errno.EADDRNOTAVAIL:
        return f"{where.service}: {where.address} is not an address of this machine"
    return f"{where.service}: cannot listen at {place}: {error}"
