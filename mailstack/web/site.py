"""An HTTP server for one port, made of resources that know nothing of each other. It gives what was put into it, to
the hosts that it was put there for, and 404 for everything else."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from twisted.internet.protocol import Factory
from twisted.protocols.policies import ThrottlingFactory
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

IDLE_TIME = 20
"""Seconds for a request, and between two."""
MAX_CONNECTIONS = 200
"""At the same time; more are closed at once."""
MAX_BODY = 64 * 1024
"""Octets of a request's body; a client that has more is cut off."""
Hosts = Callable[[], Collection[str]]
"""Names in lower case, asked at each request."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a resource is: paths that begin so, or with no "/" at the end just this one."""

    prefix: bytes
    hosts: Hosts
    resource: Resource

    def has(self, host: str, path: bytes) -> bool:
        fits = path.startswith(self.prefix) if self.prefix.endswith(b"/") else path == self.prefix
        return fits and host in self.hosts()


class Root(Resource):
    """The places of one port."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._places: list[Place] = []

    def add(self, prefix: bytes, hosts: Hosts, resource: Resource) -> None:
        """Serve a resource from now on, below a path and at these hosts."""
        self._places.append(Place(prefix, hosts, resource))

    def render(self, request: Request) -> Any:
        request.setHeader(b"server", b"mailstack")  # type: ignore[no-untyped-call]
        request.setHeader(b"x-content-type-options", b"nosniff")  # type: ignore[no-untyped-call]
        named: bytes = request.getRequestHostname()  # type: ignore[no-untyped-call]
        host = named.decode("ascii", "replace").lower().removesuffix(".")
        for place in self._places:
            if place.has(host, request.path):
                if request.method not in (b"GET", b"HEAD", b"POST"):
                    break
                return place.resource.render(request)  # type: ignore[no-untyped-call]
        return not_found(request)


def not_found(request: Request) -> bytes:
    """The page that is not there."""
    request.setResponseCode(404)
    request.setHeader(b"content-type", b"text/plain; charset=utf-8")  # type: ignore[no-untyped-call]
    return b"there is nothing here\n"


class BoundedRequest(Request):
    """One whose body is short."""

    def gotLength(self, length: int | None) -> None:
        if length is None or length > MAX_BODY:
            channel: Any = self.channel
            channel.loseConnection()
            length = 0
        super().gotLength(length)  # type: ignore[no-untyped-call]


class QuietSite(Site):
    """No line in the log for each request."""

    noisy = False

    def log(self, request: object) -> None:
        return


def site(root: Root) -> Factory:
    """What listens."""
    inner = QuietSite(root, timeout=IDLE_TIME, requestFactory=BoundedRequest)  # type: ignore[no-untyped-call]
    bounded: Any = ThrottlingFactory(inner, maxConnectionCount=MAX_CONNECTIONS)  # type: ignore[no-untyped-call]
    bounded.noisy = False
    factory: Factory = bounded
    return factory
