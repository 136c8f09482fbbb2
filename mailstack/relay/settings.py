"""A way as it is gone: [outbound] and one of [[routes]] together, their files read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mailstack.auth.client import LoginAs
from mailstack.auth.sasl import Secret
from mailstack.config.outgoing import Carriage, Outbound, OutboundTls, Route
from mailstack.net.socks import SocksProxy
from mailstack.queue.carrying import Pace

SMTPS_PORT = 465
"""Where TLS begins with the first octet (RFC 8314 §7.3)."""
UNIX = "unix:"
_PLAIN = Route()


class BadRoute(Exception):
    """A route that cannot be gone; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Server:
    """A next hop: `host` is a name, an IP address, or the path of a unix socket."""

    host: str
    port: int

    @property
    def is_unix(self) -> bool:
        """Whether it is a path."""
        return self.host.startswith("/")


@dataclass(frozen=True, slots=True)
class Way:
    """Everything about a way. `servers` are () where DNS names them."""

    servers: tuple[Server, ...]
    port: int
    lmtp: bool
    tls: OutboundTls
    dane: bool
    ipv6: bool
    helo: str
    sources: tuple[str, ...]
    authorities: str
    identity: tuple[str, str] | None
    login: LoginAs | None
    proxy: SocksProxy | None
    pace: Pace

    def source(self, address: str) -> str:
        """The address of ours of the same family, "" for any."""
        return next((own for own in self.sources if (":" in own) == (":" in address)), "")


def way(outbound: Outbound, route: Route | None, hostname: str, read: Callable[[str], str]) -> Way:
    """The way of a route, or without one. `read` gives the first line of a file. Raises: BadRoute, OSError."""
    by = route or _PLAIN
    try:
        servers = tuple(server(text, _usual_port(by, outbound)) for text in by.hosts)
        proxy = _proxy(by.proxy)
    except ValueError as error:
        raise BadRoute(f"[[routes]] {by.name}: {error}") from error
    tls = by.tls or (outbound.tls if not servers else OutboundTls.VERIFIED if by.user else OutboundTls.OPPORTUNISTIC)
    certificate, key = by.client_certificate, by.client_key
    return Way(
        servers=servers,
        port=outbound.port,
        lmtp=by.protocol is Carriage.LMTP,
        tls=tls,
        dane=outbound.dane and not servers,
        ipv6=outbound.ipv6,
        helo=by.helo or outbound.helo or hostname,
        sources=by.source or outbound.source,
        authorities=str(by.ca or outbound.ca or ""),
        identity=(str(certificate), str(key or certificate)) if certificate else None,
        login=LoginAs(by.user, Secret(read(str(by.password)))) if by.user else None,
        proxy=proxy,
        pace=Pace(
            by.connections or outbound.connections_per_destination, outbound.messages_per_connection, by.per_minute
        ),
    )  # fmt: skip


def _usual_port(route: Route, outbound: Outbound) -> int:
    return SMTPS_PORT if route.tls is OutboundTls.IMPLICIT else outbound.port


def server(text: str, usual: int) -> Server:
    """Of "host", "host:port", "[2001:db8::1]:port" or "unix:/path". Raises: ValueError."""
    if text.startswith(UNIX):
        path = text.removeprefix(UNIX)
        if not path.startswith("/"):
            raise ValueError(f'expected a path as "unix:/run/dovecot/lmtp", not "{text}"')
        return Server(path, 0)
    host, port = text, ""
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise ValueError(f'expected an address as "[2001:db8::1]:24", not "{text}"')
        port = port.removeprefix(":")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if not host or (port and not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536)):
        raise ValueError(f'expected a server as "smtp.example.net:587", not "{text}"')
    return Server(host, int(port) if port else usual)


def _proxy(text: str) -> SocksProxy | None:
    if not text:
        return None
    found = server(text, SocksProxy("").port)
    return SocksProxy(found.host, found.port)
