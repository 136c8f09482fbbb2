"""Certificates from pebble, the ACME server that Let's Encrypt tests clients with."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command_line import invoke
from pebble_process import Pebble, configuration, pebble, section
from production import HOSTNAME, NOT_ROOT, given_to_nobody, prepare, production
from server_process import REPOSITORY, Server

from mailstack.acme.challenges import Challenges
from mailstack.net.certificate_facts import facts_of

pytest.importorskip("acme", reason="the extra acme is not installed")
pytestmark = [pytest.mark.interop, pytest.mark.needs("pebble")]

ELSEWHERE = "elsewhere.example.org"
"""A host that DNS leads to where nobody listens."""


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="mailstack-test-"))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def authority(place: Path) -> Iterator[Pebble]:
    with pebble(place, {HOSTNAME: "127.0.0.1", ELSEWHERE: "127.0.0.2"}) as running:
        yield running


@contextmanager
def serving(authority: Pebble, directory: Path, tables: str) -> Iterator[Server]:
    prepare(directory, configuration(directory, tables))
    for path in (directory.parent, authority.directory):
        given_to_nobody(path)
    with production(directory) as server:
        yield server


def tls_client(server: Server, **trust: str) -> ssl.SSLSocket:
    """A client of IMAP that verifies, if it has what to trust."""
    context = ssl.create_default_context(**trust)  # type: ignore[arg-type]  # cafile
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if not trust:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    raw = socket.create_connection((server.host("imaps"), server.port("imaps")), timeout=10)
    return context.wrap_socket(raw, server_hostname=HOSTNAME)


def serial(client: ssl.SSLSocket) -> str:
    octets = client.getpeercert(binary_form=True)
    assert octets is not None
    return facts_of(ssl.DER_cert_to_PEM_cert(octets).encode()).serial


def config(server: Server) -> tuple[str, str]:
    return "--config", str(server.directory / "mailstack.toml")


def mailstack(server: Server, *words: str) -> subprocess.CompletedProcess[str]:
    command = (*NOT_ROOT, sys.executable, "-m", "mailstack", *words)
    return subprocess.run((*command, *config(server)), capture_output=True, text=True, cwd=REPOSITORY, timeout=30)


def until(server: Server, condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, server.log.read_text()
        time.sleep(0.01)


def wants_elsewhere(server: Server, authority: Pebble, challenge: str) -> None:
    """From now on the certificate is to be for a host, too, that is not ours."""
    tables = section(authority, challenge, f'hosts = ["{HOSTNAME}", "{ELSEWHERE}"]')
    (server.directory / "mailstack.toml").write_text(configuration(server.directory, tables))
    given_to_nobody(server.directory)
    server.hang_up()
    assert f"{ELSEWHERE}: {challenge}:" in server.wait_log("certificate not renewed")


def test_http_and_a_renewal_while_a_connection_is_open(authority: Pebble, place: Path) -> None:
    directory = place / "http"
    with serving(authority, directory, section(authority)) as server:
        server.wait_log("self-signed certificate until")
        server.wait_log("certificate renewed")
        current = directory / "data/acme/current/cert.pem"
        with tls_client(server, cafile=str(current)) as old:
            first = serial(old)
            assert first == facts_of(current.read_bytes()).serial
            result = mailstack(server, "certificate", "renew", "--force")
            assert (result.returncode, result.stdout[:9]) == (0, "renewed: "), result.stderr
            second = facts_of(current.read_bytes()).serial
            assert second != first
            server.hang_up()  # else within ten seconds
            server.wait_log(" reloaded changed")
            with tls_client(server, cafile=str(current)) as new:
                assert serial(new) == second
            old.recv(1000)
            old.sendall(b"a NOOP\r\n")
            assert old.recv(1000).startswith(b"a OK")
        shown = json.loads(invoke("certificate", "list", "--json", *config(server)).stdout)
        assert [(each["names"], each["acme"]) for each in shown["certificates"]] == [([HOSTNAME], True)]
        wants_elsewhere(server, authority, "http-01")
        with tls_client(server, cafile=str(current)) as client:
            assert serial(client) == second
        assert f"{ELSEWHERE}: http-01:" in invoke("status", *config(server)).stdout
        assert not list((directory / "data/acme/challenges").iterdir())


def after_the_handshake(server: Server, directory: Path) -> bytes:
    """What an authority gets that would like more than the handshake (RFC 8737 §3)."""
    challenges = Challenges(directory / "data/acme/challenges")
    challenges.put_certificate(HOSTNAME, "token.thumbprint")
    given_to_nobody(directory)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["acme-tls/1"])
    raw = socket.create_connection((server.host("acme"), server.port("acme")), timeout=10)
    with context.wrap_socket(raw, server_hostname=HOSTNAME) as client:
        assert client.selected_alpn_protocol() == "acme-tls/1"
        octets = client.recv(1000)
    challenges.remove("", HOSTNAME)
    return octets


def test_tls_with_another_kind_of_key_and_a_revocation(authority: Pebble, place: Path) -> None:
    directory = place / "tls"
    with serving(authority, directory, section(authority, "tls-alpn-01", 'key = "rsa"')) as server:
        server.wait_log("certificate renewed")
        current = directory / "data/acme/current/cert.pem"
        with tls_client(server, cafile=str(current)) as client:
            first = serial(client)
        assert len((directory / "data/acme/current/key.pem").read_bytes()) > 1500  # RSA
        assert after_the_handshake(server, directory) == b""
        result = mailstack(server, "certificate", "revoke", "--yes")
        assert result.returncode == 0, result.stderr
        assert "POST /revoke" in authority.log.read_text()
        server.hang_up()
        until(server, lambda: facts_of(current.read_bytes()).serial != first)
        second = facts_of(current.read_bytes()).serial
        wants_elsewhere(server, authority, "tls-alpn-01")
        with tls_client(server, cafile=str(current)) as client:
            assert serial(client) == second
        assert not list((directory / "data/acme/challenges").iterdir())
