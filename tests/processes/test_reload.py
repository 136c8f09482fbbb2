"""SIGHUP: what a running server takes up, and what it keeps when it cannot."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from production import DOMAIN, HOSTNAME, configuration, given_to_nobody, plain, production
from server_process import Server

from mailstack.net.certificates import write_self_signed

pytestmark = pytest.mark.processes


@pytest.fixture
def server(reachable: Path) -> Iterator[Server]:
    with production(reachable) as running:
        yield running


def rewrite(server: Server, text: str) -> None:
    (server.directory / "mailstack.toml").write_text(text)
    given_to_nobody(server.directory)
    server.hang_up()


def test_new_domains_and_limits_hold_for_connections_to_come(server: Server) -> None:
    old = server.connect("smtp")
    old.smtp(b"EHLO client.example", b"250")
    rewrite(
        server,
        configuration(
            server.directory,
            domains=f"{DOMAIN} example.com",
            tables="[limits]\nmax_message_size = 1000000\n[auth]\nfailures_per_address = 1\n",
        ),
    )
    line = server.wait_log(" reloaded ")
    for key in ("domains", "limits.max_message_size", "auth.failures_per_address"):
        assert key in line
    with server.connect("smtp") as client:
        assert any(word == b"250-SIZE 1000000" for word in client.smtp(b"EHLO client.example", b"250"))
        client.smtp(b"MAIL FROM:<stranger@example.net>", b"250")
        client.smtp(b"RCPT TO:<nobody@example.com>", b"550 5.1.1")
    old.smtp(b"NOOP", b"250")
    old.close()


def test_other_manners_and_sending_limits(server: Server) -> None:
    tables = (
        "[auth]\nrequire_tls = false\n[sending]\nmessages_per_hour = 1\n"
        '[policy]\nexempt = []\nhelo_ours = "reject"\ngreeting_delay = 0\n'
    )
    rewrite(server, configuration(server.directory, tables=tables))
    server.wait_log(" reloaded ")
    with server.connect("smtp") as client:
        client.smtp(f"EHLO {HOSTNAME}".encode(), b"550 5.7.1 EHLO with our own name")
    with server.connect("submission") as client:
        client.smtp(b"EHLO client.example", b"250")
        client.smtp(b"AUTH PLAIN " + plain(), b"235")
        client.smtp(f"MAIL FROM:<alice@{DOMAIN}>".encode(), b"250")
        client.smtp(b"RSET", b"250")
        client.smtp(f"MAIL FROM:<alice@{DOMAIN}>".encode(), b"450 4.7.1 This account may send 1 messages an hour")


def test_what_needs_a_restart_is_said(server: Server) -> None:
    rewrite(server, configuration(server.directory, tables="[metrics]\nport = 0").replace("/data", "/elsewhere"))
    line = server.wait_log("changes that need a restart")
    assert "data" in line
    assert "metrics" in line
    server.connect("smtp").close()


def test_a_broken_configuration_changes_nothing(server: Server) -> None:
    rewrite(server, "not a configuration")
    assert "not TOML" in server.wait_log("configuration not reloaded")
    with server.connect("smtp") as client:
        client.smtp(b"EHLO client.example", b"250")
        client.smtp(b"MAIL FROM:<stranger@example.net>", b"250")
        client.smtp(b"RCPT TO:<alice@example.org>", b"250")


def test_a_log_that_was_moved_away_is_begun_anew(reachable: Path) -> None:
    log = reachable / "mail.log"
    text = configuration(reachable, tables=f'[log]\nfile = "{log}"\nformat = "json"')
    with production(reachable, text) as server:
        server.wait_log('"event":"ready"', log)
        log.rename(reachable / "mail.log.1")
        server.hang_up()
        server.wait_log('"event":"reloaded"', log)
        server.connect("smtp").close()
        record = json.loads(server.wait_log('"event":"connected"', log))
        assert record["service"] == "smtp"


def served(server: Server, name: str = HOSTNAME) -> bytes:
    """The certificate that a client gets, in DER."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((server.host("imaps"), server.port("imaps")), timeout=10) as raw,
        context.wrap_socket(raw, server_hostname=name) as wrapped,
    ):
        certificate = wrapped.getpeercert(binary_form=True)
    assert certificate is not None
    return certificate


def test_renewed_and_added_certificates_are_served(server: Server) -> None:
    before = served(server)
    write_self_signed(server.directory / "tls", (HOSTNAME,))
    write_self_signed(server.directory / "other", ("other.example",))
    more = '[[tls.certificates]]\ncert = "other/cert.pem"\nkey = "other/key.pem"\n'
    rewrite(server, configuration(server.directory, tables=more))
    assert "tls.certificates" in server.wait_log(" reloaded ")
    renewed = served(server)
    assert renewed != before
    assert served(server, "other.example") == ssl.PEM_cert_to_DER_cert(
        (server.directory / "other" / "cert.pem").read_text()
    )
    assert renewed == ssl.PEM_cert_to_DER_cert((server.directory / "tls" / "cert.pem").read_text())


def test_a_broken_certificate_leaves_the_one_in_use(server: Server) -> None:
    before = served(server)
    (server.directory / "tls" / "cert.pem").write_text("nothing\n")
    server.hang_up()
    assert "not a certificate" in server.wait_log("not reloaded")
    assert served(server) == before
