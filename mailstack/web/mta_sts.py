"""Our domains' policy of MTA-STS by HTTP, for whoever asks mta-sts.example.org for it (RFC 8461 §3.2). It must be
served over TLS with a certificate of that name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.web.resource import Resource

from mailstack.config.records import policy_of
from mailstack.config.sections import Config
from mailstack.mail.address import ascii_domain
from mailstack.mail.mta_sts import POLICY_PATH

PREFIX = "mta-sts."


class MtaStsPolicies(Resource):
    """The policy at its path, of each of our domains; everything else is not there. `config` gives the configuration
    as it is now."""

    isLeaf = True

    def __init__(self, config: Callable[[], Config]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._config = config

    def render_GET(self, request: Any) -> bytes:
        """HEAD, too."""
        config = self._config()
        host = request.getRequestHostname().decode("latin-1").lower().rstrip(".")
        names = {PREFIX + ascii_domain(domain.name) for domain in config.domains}
        request.setHeader(b"content-type", b"text/plain; charset=utf-8")
        if request.path != POLICY_PATH.encode() or host not in names:
            request.setResponseCode(404)
            return b"not here\r\n"
        return policy_of(config).text.encode()
