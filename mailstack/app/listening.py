"""Listening sockets: bound here, or passed by systemd. They are opened before privileges are given
up, and handed to the reactor when there is something to offer."""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import dataclass
from typing import Any

from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory

BACKLOG = 512
"""Connections that may wait to be accepted; the kernel's own limit may be lower."""


class CannotListen(Exception):
    """A socket cannot be had; the message says which, why, and what to do."""


@dataclass(frozen=True, slots=True)
class Where:
    """An address to listen at. Port 0 lets the kernel choose; "::" is IPv4 as well."""

    service: str
    address: str
    port: int


def open_socket(where: Where) -> socket.socket:
    """Bind and listen. Raises: CannotListen."""
    family = socket.AF_INET6 if ":" in where.address else socket.AF_INET
    if where.address == "::" and not socket.has_dualstack_ipv6():
        family, where = socket.AF_INET, Where(where.service, "0.0.0.0", where.port)
    try:
        opened = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise CannotListen(_explain(where, error)) from error
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, where.address != "::")
        opened.bind((where.address, where.port))
        opened.listen(BACKLOG)
    except OSError as error:
        opened.close()
        raise CannotListen(_explain(where, error)) from error
    return opened


def passed_socket(descriptor: int) -> socket.socket:
    """A socket that systemd opened. Raises: CannotListen when it is not a listening TCP socket."""
    try:
        passed = socket.socket(fileno=descriptor)
    except OSError as error:
        raise CannotListen(f"socket {descriptor} passed by systemd: {error.strerror}") from error
    if passed.family not in (socket.AF_INET, socket.AF_INET6):
        raise CannotListen(f"socket {descriptor} passed by systemd is not a TCP socket")
    return passed


def serve(reactor: Any, opened: socket.socket, factory: Factory) -> IListeningPort:
    """Hand a listening socket to the reactor, which has its own duplicate from then on."""
    with opened:
        opened.setblocking(False)
        port: IListeningPort = reactor.adoptStreamPort(opened.fileno(), opened.family, factory)
    return port


def address_of(port: IListeningPort) -> tuple[str, int]:
    """Host and port that a client on this machine may use."""
    host: Any = port.getHost()
    reachable = {"0.0.0.0": "127.0.0.1", "::": "127.0.0.1"}.get(host.host, host.host)
    return reachable, host.port


def _explain(where: Where, error: OSError) -> str:
    place = f"{where.address}:{where.port}" if ":" not in where.address else f"[{where.address}]:{where.port}"
    if error.errno == errno.EADDRINUSE:
        return f"{where.service}: {place} is in use by another program (is mailstack running already?)"
    if error.errno == errno.EACCES:
        return f"{where.service}: no permission to listen at {place}; ports below 1024 need root or systemd's sockets"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{where.service}: {where.address} is not an address of this machine"
    return f"{where.service}: cannot listen at {place}: {os.strerror(error.errno or 0)}"
