"""The policy of MTA-STS by HTTP, octet by octet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.web.server import Site

from mailstack.config.publishing import MtaSts
from mailstack.config.sections import Config, Domain
from mailstack.mail.mta_sts import StsMode, StsPolicy, parse_policy
from mailstack.web.mta_sts import MtaStsPolicies


def asked(host: str, path: str = "/.well-known/mta-sts.txt", method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    domains = (Domain("example.org"), Domain("b\u00fccher.example"))
    config = Config(Path("/nowhere"), "Mail.example.org", domains, (), mta_sts=MtaSts(StsMode.ENFORCE, 86400.0))
    site: Any = Site(MtaStsPolicies(lambda: config), reactor=Clock())
    protocol, transport = site.buildProtocol(None), StringTransport()
    protocol.makeConnection(transport)
    protocol.dataReceived(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    head, _, body = transport.value().partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    return int(status.split()[1]), {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}, body


@pytest.mark.parametrize("host", ["mta-sts.example.org", "MTA-STS.example.org:443", "mta-sts.xn--bcher-kva.example"])
def test_the_policy_is_at_its_place(host: str) -> None:
    status, fields, body = asked(host)
    assert (status, fields["content-type"]) == (200, "text/plain; charset=utf-8")
    assert parse_policy(body) == StsPolicy(StsMode.ENFORCE, 86400, ("mail.example.org",))
    assert asked(host, method="HEAD")[::2] == (200, b"")


@pytest.mark.parametrize(
    ("host", "path"),
    [
        ("example.org", "/.well-known/mta-sts.txt"),
        ("mta-sts.elsewhere.example", "/.well-known/mta-sts.txt"),
        ("mta-sts.example.org", "/"),
        ("mta-sts.example.org", "/.well-known/mta-sts.txt/more"),
    ],
)
def test_nothing_else_is(host: str, path: str) -> None:
    assert asked(host, path)[0] == 404


def test_other_methods_are_not_there() -> None:
    assert asked("mta-sts.example.org", method="POST")[0] == 405
