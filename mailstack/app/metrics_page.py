"""The page at /metrics, for a Prometheus server."""

from __future__ import annotations

from typing import Any

from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from mailstack.app.listening import Where, open_socket, serve
from mailstack.app.server import Server
from mailstack.observe.metrics import Counts, exposition


class MetricsPage(Resource):
    """The counters in Prometheus' text format."""

    isLeaf = True

    def __init__(self, counts: Counts) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._counts = counts

    def render_GET(self, request: Request) -> bytes:
        if request.path != b"/metrics":
            request.setResponseCode(404)
            return b"the page is /metrics\n"
        request.setHeader(b"content-type", b"text/plain; version=0.0.4; charset=utf-8")  # type: ignore[no-untyped-call]
        return exposition(self._counts)


def listen_metrics(server: Server, address: str, port: int) -> None:
    """Serve the page. Raises: CannotListen."""
    site: Any = Site(MetricsPage(server.counts))  # type: ignore[no-untyped-call]
    site.noisy = False
    bound = serve(server.running.reactor, open_socket(Where("metrics", address, port)), site)
    server.running.ports.append(bound)
    host = bound.getHost()
    server.services["metrics"] = (host.host, host.port)  # type: ignore[attr-defined]  # an IPv4Address or IPv6Address
