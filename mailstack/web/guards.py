"""Who may ask. A server on loopback is reached by every web page that the developer looks at: what a browser would send
on behalf of a page of another site is refused. There is no CORS."""

from __future__ import annotations

import hmac
from ipaddress import ip_address
from urllib.parse import urlsplit

from mailstack.web.values import HttpProblem

NAMES = frozenset({"localhost", "host.docker.internal"})
"""Host names that can be nobody else's: no page of another site gets them resolved to us (DNS rebinding)."""


class Guards:
    """With a `token` a client has to know it; then it may call the server as it likes."""

    def __init__(self, token: str = "") -> None:
        self._token = token.encode()

    def check(self, host: str, origin: str | None, fetch_site: str | None, authorization: str) -> None:
        """Raises: HttpProblem."""
        if self._token:
            scheme, _, given = authorization.partition(" ")
            if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self._token):
                problem = HttpProblem(401, "no-token", "expected Authorization: Bearer and the token of --http-token")
                problem.headers["WWW-Authenticate"] = "Bearer"
                raise problem
        elif not is_loopback(host):
            raise HttpProblem(
                403, "foreign-host", f"Host: {host!r} is not a name of this machine's loopback, as localhost is"
            )
        if origin is not None and origin.lower() not in (f"http://{host}".lower(), f"https://{host}".lower()):
            raise HttpProblem(403, "foreign-origin", f"Origin: {origin!r} may not use this server")
        if fetch_site not in (None, "same-origin", "none"):
            raise HttpProblem(403, "foreign-origin", f"Sec-Fetch-Site: {fetch_site!r} may not use this server")


def is_loopback(host: str) -> bool:
    """Whether a Host field's value names loopback."""
    try:
        parts = urlsplit(f"//{host}")
        name = (parts.hostname or "").removesuffix(".")
        _ = parts.port
    except ValueError:
        return False
    if parts.netloc != host or "@" in host or parts.path:
        return False
    if name in NAMES or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
