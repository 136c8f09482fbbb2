"""Listening sockets: bound here, or passed by systemd. They are opened before privileges are given
up, and handed to the reactor when there is something to offer."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from twisted.internet import tcp
from twisted.internet.address import UNIXAddress
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory

from mailstack.net.prompt_transport import PromptServer

BACKLOG = 512
"""Connections that may wait to be accepted; the kernel's own limit may be lower."""


class CannotListen(Exception):
    """A socket cannot be had; the message says which, why, and what to do."""


UNIX_MODE = 0o666
"""Of a unix socket: who may use it is said by the directory that it is in."""


@dataclass(frozen=True, slots=True)
class Where:
    """An address to listen at, or with `unix` a path. Port 0 lets the kernel choose; "::" is IPv4 as well."""

    service: str
    address: str
    port: int
    unix: str = ""


class PassedSockets:
    """The sockets that systemd opened for us, until the listeners have taken theirs."""

    def __init__(self, descriptors: Mapping[str, Sequence[int]]) -> None:
        """By `FileDescriptorName=`. Raises: CannotListen when one is not a listening TCP socket."""
        self._waiting = [(name, passed_socket(each)) for name, numbers in descriptors.items() for each in numbers]

    def take(self, where: Where, name: str = "") -> list[socket.socket]:
        """The sockets at this address and port. With a `name` those of that name, whatever their
        port is, unless one of them has the listener's."""
        fitting = [(label, each) for label, each in self._waiting if name in ("", label) and _is_at(each, where)]
        if name and not fitting:
            fitting = [(label, each) for label, each in self._waiting if label == name]
        self._waiting = [pair for pair in self._waiting if pair not in fitting]
        return [each for _, each in fitting]

    def close_rest(self) -> list[str]:
        """Close what no listener took; the addresses, to tell of them."""
        rest, self._waiting = self._waiting, []
        places = [_place(*each.getsockname()[:2]) for _, each in rest]
        for _, each in rest:
            each.close()
        return places


def open_socket(where: Where) -> socket.socket:
    """Bind and listen. Raises: CannotListen."""
    if where.unix:
        return open_unix_socket(where)
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


def open_unix_socket(where: Where) -> socket.socket:
    """Bind and listen at a path. A socket that nobody listens at any more, left by a process that was killed,
    is replaced. Raises: CannotListen."""
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if _is_left_over(where.unix):
            os.unlink(where.unix)
        opened.bind(where.unix)
        os.chmod(where.unix, UNIX_MODE)
        opened.listen(BACKLOG)
    except OSError as error:
        opened.close()
        in_use = "is in use by another program (is mailstack running already?)"
        why = in_use if error.errno == errno.EADDRINUSE else str(error.strerror or error)
        raise CannotListen(f"{where.service}: {where.unix}: {why}") from error
    return opened


def _is_left_over(path: str) -> bool:
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return False
    except FileNotFoundError:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        return asking.connect_ex(path) == errno.ECONNREFUSED


def passed_socket(descriptor: int) -> socket.socket:
    """A socket that systemd opened. Raises: CannotListen when it is not a listening TCP socket."""
    try:
        passed = socket.socket(fileno=descriptor)
    except OSError as error:
        raise CannotListen(f"socket {descriptor} passed by systemd: {error.strerror}") from error
    tcp = passed.family in (socket.AF_INET, socket.AF_INET6) and passed.type == socket.SOCK_STREAM
    if not tcp or not passed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        passed.close()
        raise CannotListen(f"socket {descriptor} passed by systemd is not a listening TCP socket")
    return passed


def serve(reactor: Any, opened: socket.socket, factory: Factory) -> IListeningPort:
    """Hand a listening socket to the reactor, which has its own duplicate from then on."""
    with opened:
        opened.setblocking(False)
        port: IListeningPort = reactor.adoptStreamPort(opened.fileno(), opened.family, factory)
        internet = opened.family in (socket.AF_INET, socket.AF_INET6)
    if internet and isinstance(port, tcp.Port):
        port.transport = PromptServer
    return port


def address_of(port: IListeningPort) -> tuple[str, int]:
    """Host and port that a client on this machine may use; of a unix socket its path and 0."""
    host: Any = port.getHost()
    if isinstance(host, UNIXAddress):
        return os.fsdecode(host.name or b""), 0
    reachable = {"0.0.0.0": "127.0.0.1", "::": "127.0.0.1"}.get(host.host, host.host)
    return reachable, host.port


def _is_at(passed: socket.socket, where: Where) -> bool:
    host, port = passed.getsockname()[:2]
    return bool(port == where.port and (host in ("::", "0.0.0.0") or ip_address(host) == ip_address(where.address)))


def _place(address: str, port: int) -> str:
    return f"{address}:{port}" if ":" not in address else f"[{address}]:{port}"


def _explain(where: Where, error: OSError) -> str:
    place = _place(where.address, where.port)
    if error.errno == errno.EADDRINUSE:
        return f"{where.service}: {place} is in use by another program (is mailstack running already?)"
    if error.errno == errno.EACCES:
        return f"{where.service}: no permission to listen at {place}; ports below 1024 need root or systemd's sockets"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{where.service}: {where.address} is not an address of this machine"
    return f"{where.service}: cannot listen at {place}: {os.strerror(error.errno or 0)}"
