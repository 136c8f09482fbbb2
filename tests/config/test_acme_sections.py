"""What of [acme] a running server takes up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mailstack.config.acme import Acme, Challenge
from mailstack.config.changes import changes
from mailstack.config.sections import Certificate, Config, Domain, Listener, ServiceName, Tls, TlsMode

OFF, ON = Acme(), Acme(agree_to_terms=True)


def config(acme: Acme, tls: Tls | None = None) -> Config:
    listener = Listener(ServiceName.SMTP, 25, TlsMode.STARTTLS)
    return Config(Path("/data"), "mail.example.org", (Domain("example.org"),), (listener,), tls=tls or Tls(), acme=acme)


def test_hosts_and_authority_are_taken_up() -> None:
    wanted = replace(ON, hosts=("a.example",), directory="https://other.example/dir", renew_after=0.5)
    found = changes(config(ON), config(wanted))
    assert found.usable.acme == wanted
    assert (found.taken, found.waiting) == (("acme.directory", "acme.hosts", "acme.renew_after"), ())


@pytest.mark.parametrize(
    ("key", "value"), [("challenge", Challenge.TLS_ALPN), ("port", 8080), ("address", "127.0.0.1")]
)
def test_where_the_authority_asks_stays(key: str, value: object) -> None:
    found = changes(config(ON), config(replace(ON, **{key: value}, email="me@example.org")))  # type: ignore[arg-type]
    assert found.usable.acme == replace(ON, email="me@example.org")
    assert found.waiting == (f"acme.{key}",)


@pytest.mark.parametrize(("running", "wanted"), [(ON, OFF), (OFF, ON)])
def test_on_or_off_waits(running: Acme, wanted: Acme) -> None:
    found = changes(config(running), config(wanted))
    assert found.usable.acme == running
    assert found.waiting == ("acme.agree_to_terms",)


def test_certificates_can_be_added_where_acme_has_made_tls_possible() -> None:
    tls = Tls((Certificate(Path("cert.pem"), Path("key.pem")),))
    assert changes(config(ON), config(ON, tls)).usable.tls == tls
    assert changes(config(OFF), config(OFF, tls)).usable.tls == Tls()


def test_the_hosts_are_those_of_dns_and_once_each() -> None:
    assert replace(ON, hosts=("Mail.Example", "mail.example", "bücher.example")).certified("x") == (
        "mail.example", "xn--bcher-kva.example"
    )  # fmt: skip
    assert ON.certified("Mail.Example.ORG") == ("mail.example.org",)
    assert (ON.challenge_port, replace(ON, challenge=Challenge.TLS_ALPN).challenge_port) == (80, 443)
