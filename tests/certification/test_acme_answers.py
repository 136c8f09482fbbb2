"""What a server with [acme] says to the authority, to strangers at the same port, and to its operator; its authority
cannot be reached."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import ssl
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from acme_fakes import START, issued
from command_line import invoke
from cryptography import x509
from production import HOSTNAME, NOBODY_KNOWS, given_to_nobody, listeners, prepare, production
from server_process import Server

from mailstack.acme.challenges import ACME_IDENTIFIER, Challenges
from mailstack.acme.state import State
from mailstack.app.certification import CannotCertify, begin
from mailstack.cli.main import run
from mailstack.config.load import load
from mailstack.net.tls_alpn import ValidationTls
from mailstack.testing.log import RecordingLog

pytest.importorskip("acme", reason="the extra acme is not installed")
pytestmark = pytest.mark.processes

TOKEN, PROOF = "LB91CX6Mx-j_IoO5k4VT2E6Vi0i0OOU7", "LB91CX6Mx-j_IoO5k4VT2E6Vi0i0OOU7.thumbprint"
ACME = '[acme]\nagree_to_terms = true\ndirectory = "http://127.0.0.1:1/dir"\naddress = "127.0.0.1"\nport = 0\n'


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    directory = Path(tempfile.mkdtemp(prefix="mailstack-test-"))
    text = (
        f'data = "{directory}/data"\nhostname = "{HOSTNAME}"\n[[domains]]\nname = "example.org"\n'
        f"{listeners(services=('smtp', 'imaps'))}{NOBODY_KNOWS}{ACME}[metrics]\nport = 0\n"
    )
    prepare(directory, text)
    with production(directory) as running:
        Challenges(directory / "data/acme/challenges").put_token(TOKEN, PROOF)
        given_to_nobody(directory)
        yield running
    shutil.rmtree(directory)


def said(server: Server, octets: bytes) -> bytes:
    """All that comes back until the end of the connection."""
    with socket.create_connection((server.host("acme"), server.port("acme")), timeout=10) as client:
        client.sendall(octets)
        answer = b""
        try:
            while piece := client.recv(65536):
                answer += piece
        except ConnectionResetError:
            pass
        return answer


def get(server: Server, path: str, host: str = HOSTNAME, method: str = "GET", more: str = "") -> bytes:
    return said(server, f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n".encode())


@pytest.mark.parametrize("host", [HOSTNAME, f"{HOSTNAME}:80", HOSTNAME.upper(), f"{HOSTNAME}."])
def test_the_proof_is_given(server: Server, host: str) -> None:
    head, _, body = get(server, f"/.well-known/acme-challenge/{TOKEN}", host).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"application/octet-stream" in head
    assert b"Server: mailstack" in head
    assert PROOF.encode() in body


@pytest.mark.parametrize(
    "path",
    [
        "/", "/index.html", "/.well-known/acme-challenge/", f"/.well-known/acme-challenge/{TOKEN[:-1]}",
        f"/.well-known/acme-challenge/{TOKEN}/", f"/.well-known/acme-challenge//{TOKEN}",
        f"/.well-known/acme-challenge/..%2f..%2f{TOKEN}", "/.well-known/acme-challenge/../state.json",
        "/.well-known/acme-challenge/../../../../../etc/passwd", f"/.well-known/acme-challenge/{TOKEN}%00",
        "/.well-known/acme-challenge/" + "a" * 3000, "/metrics", "*", "http://evil.example/",
    ],
)  # fmt: skip
def test_there_is_nothing_else(server: Server, path: str) -> None:
    assert get(server, path).startswith((b"HTTP/1.1 404 ", b"HTTP/1.1 400 ", b"HTTP/1.1 405 "))


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "", "mail.example.org.evil.example", "\xff"])
def test_other_hosts_get_nothing(server: Server, host: str) -> None:
    answer = get(server, f"/.well-known/acme-challenge/{TOKEN}", host)
    assert answer.startswith((b"HTTP/1.1 404 ", b"HTTP/1.1 400 "))
    assert PROOF.encode() not in answer


def test_methods(server: Server) -> None:
    path = f"/.well-known/acme-challenge/{TOKEN}"
    assert b" 200 " in get(server, path, method="HEAD")
    for method in ("POST", "PUT", "DELETE", "CONNECT", "X"):
        assert get(server, path, method=method, more="Content-Length: 0\r\n").startswith(b"HTTP/1.1 4"), method


def test_a_body_that_is_too_long_is_not_taken(server: Server) -> None:
    head = f"POST / HTTP/1.1\r\nHost: {HOSTNAME}\r\nContent-Length: 1000000000\r\n\r\n"
    assert said(server, head.encode() + b"x" * 1000).count(b"200 OK") == 0
    chunked = f"POST / HTTP/1.1\r\nHost: {HOSTNAME}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
    assert b"200 OK" not in said(server, chunked.encode())


@pytest.mark.parametrize(
    "octets", [b"\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"GET\r\n\r\n"]
)
def test_what_is_no_http(server: Server, octets: bytes) -> None:
    assert b"200 OK" not in said(server, octets + b"GET / HTTP/1.0\r\n\r\n")
    assert b" 404 " in get(server, "/")  # others are still served


def test_it_serves_with_a_self_signed_certificate_and_says_so(server: Server) -> None:
    assert HOSTNAME in server.wait_log("self-signed certificate until")
    line = server.wait_log("certificate not renewed")
    assert "cannot be reached" in line
    context = ssl.create_default_context(cafile=str(server.ca))
    with (
        socket.create_connection((server.host("imaps"), server.port("imaps")), timeout=10) as raw,
        context.wrap_socket(raw, server_hostname=HOSTNAME) as client,
    ):
        assert client.recv(1000).startswith(b"* OK")
    assert State(server.data).is_self_signed()


def test_its_end_is_in_the_metrics(server: Server) -> None:
    url = f"http://{server.host('metrics')}:{server.port('metrics')}/metrics"
    server.wait_log("certificate not renewed")
    with urllib.request.urlopen(url, timeout=10) as page:
        lines = page.read().decode().splitlines()
    (line,) = [line for line in lines if line.startswith('mailstack_certificate_expiry_seconds{name="')]
    name, value = line.rsplit(" ", 1)
    ends = x509.load_pem_x509_certificate(server.ca.read_bytes()).not_valid_after_utc.timestamp()
    assert (name, float(value)) == (f'mailstack_certificate_expiry_seconds{{name="{HOSTNAME}"}}', ends)
    assert 'mailstack_certificate_renewals_total{outcome="failed"} 1.0' in lines


def test_status_says_what_it_sees(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    server.wait_log("certificate not renewed")
    assert run(["mailstack", "status", "--json", "--config", str(server.directory / "mailstack.toml")]) == 1
    found = json.loads(capsys.readouterr().out)
    (process,) = found["processes"]
    assert process["pid"] == server.process.pid
    assert 0 <= process["uptime"] < 600
    assert {each["service"]: each["answers"] for each in found["services"]} == {
        "smtp": True, "imaps": True, "metrics": True, "acme": True
    }  # fmt: skip
    assert found["queue"] == {"messages": 0}
    assert found["accounts"] == {"accounts": 2, "aliases": 0}
    assert [(each["names"], each["self_signed"]) for each in found["certificates"]] == [([HOSTNAME], True)]
    assert found["acme"]["failures"] == 1
    assert found["metrics"]["pages"][0]["open_connections"] is not None
    assert any("no certificate by [acme] yet" in problem for problem in found["problems"])


def test_status_for_people(server: Server) -> None:
    shown = invoke("status", "--config", server.directory / "mailstack.toml").stdout
    assert f"{server.process.pid}, up " in shown
    assert "takes connections" in shown
    assert "wrong: no certificate by [acme]" in shown


# --- tls-alpn-01, through handshakes in memory


def handshake(tls: ValidationTls, host: str | None, protocols: list[str]) -> tuple[bytes | None, str | None]:
    """The certificate that a client is shown, and the protocol; raises ssl.SSLError."""
    from OpenSSL import SSL

    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(protocols)
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(to_client, to_server, server_hostname=host)
    server = tls.serverConnectionForTLS(None)
    server.set_accept_state()
    for _ in range(6):
        try:
            client.do_handshake()
            return client.getpeercert(binary_form=True), client.selected_alpn_protocol()
        except ssl.SSLWantReadError:
            server.bio_write(to_server.read())
        try:
            server.do_handshake()
        except SSL.WantReadError:
            pass
        except SSL.Error:
            to_client.write(server.bio_read(65536))
            client.do_handshake()
            raise AssertionError("the client was not told") from None
        to_client.write(server.bio_read(65536))
    raise AssertionError("no end to the handshake")


@pytest.fixture
def validation(tmp_path: Path) -> ValidationTls:
    challenges = Challenges(tmp_path / "challenges")
    for host in (HOSTNAME, "not.ours.example"):
        challenges.put_certificate(host, PROOF)
    return ValidationTls(lambda: (HOSTNAME, "idle.example.org"), challenges.certificate)


def test_an_authority_sees_the_proof(validation: ValidationTls) -> None:
    octets, protocol = handshake(validation, HOSTNAME, ["acme-tls/1"])
    assert protocol == "acme-tls/1"
    certificate = x509.load_der_x509_certificate(octets or b"")
    extension = certificate.extensions.get_extension_for_oid(ACME_IDENTIFIER)
    assert extension.critical
    assert extension.value.public_bytes() == b"\x04\x20" + hashlib.sha256(PROOF.encode()).digest()
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [HOSTNAME]


@pytest.mark.parametrize(
    ("host", "protocols"),
    [
        (HOSTNAME, ["h2", "http/1.1"]), (HOSTNAME, ["http/1.1", "acme-tls/1"]), (None, ["acme-tls/1"]),
        ("idle.example.org", ["acme-tls/1"]), ("not.ours.example", ["acme-tls/1"]), ("other.example", []),
    ],
)  # fmt: skip
def test_nobody_else_gets_through_the_handshake(
    validation: ValidationTls, host: str | None, protocols: list[str]
) -> None:
    with pytest.raises(ssl.SSLError):
        handshake(validation, host, protocols)


# --- what needs no server


def test_a_certificate_by_acme_is_listed_and_its_end_is_a_problem(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = config.parent / "data"
    config.write_text(config.read_text() + ACME)
    state = State(data)
    state.make()
    fresh = issued((HOSTNAME,), START, 90)  # of years ago
    state.keep(fresh.chain, fresh.key)
    assert run(["mailstack", "certificate", "list", "--config", str(config)]) == 1
    assert "EXPIRED" in capsys.readouterr().out
    assert run(["mailstack", "status", "--config", str(config)]) == 1
    shown = capsys.readouterr().out
    assert f"wrong: the certificate of {HOSTNAME} has expired" in shown
    assert "wrong: no process is known" in shown


def test_acme_must_be_on_to_renew(config: Path) -> None:
    result = invoke("certificate", "renew", "--config", config)
    assert result.exit_code == 1
    assert "[acme] is not on" in result.stderr


@pytest.fixture
def config(tmp_path: Path) -> Path:
    text = f'data = "{tmp_path}/etc/data"\nhostname = "{HOSTNAME}"\n[[domains]]\nname = "example.org"\n'
    written = text + listeners(services=("smtp",), more='tls = "none"') + NOBODY_KNOWS
    return prepare(tmp_path / "etc", written)


@pytest.mark.parametrize(
    ("section", "place"),
    [
        ('email = "me@example.org"', "agree_to_terms"),
        ('agree_to_terms = true\nhosts = ["*.example.org"]', "hosts"),
        ('agree_to_terms = true\nhosts = ["192.0.2.1"]', "hosts"),
        ('agree_to_terms = true\ndirectory = "http://acme.example/"', "directory"),
        ("agree_to_terms = true\nrenew_after = 1", "renew_after"),
        ('agree_to_terms = true\nrenew_after = "0.5"', "renew_after"),
        ("agree_to_terms = true\nport = 70000", "port"),
        ('agree_to_terms = true\naddress = "here"', "address"),
        ('agree_to_terms = true\nemail = "me"', "email"),
        ('agree_to_terms = true\nchallenge = "dns-01"', "challenge"),
    ],
)
def test_what_a_configuration_cannot_say(config: Path, section: str, place: str) -> None:
    config.write_text(f"{config.read_text()}[acme]\n{section}\n")
    result = invoke("config", "check", "--syntax-only", "--config", config)
    assert result.exit_code == 1
    assert f"[acme] {place}: " in result.stderr


def test_the_package_is_missed_in_words(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text(config.read_text() + ACME)
    monkeypatch.setattr("mailstack.config.surroundings.find_spec", lambda name: None)
    result = invoke("config", "check", "--config", config)
    assert "[acme]: needs the package acme: pip install 'mailstack[acme]'" in result.stderr
    monkeypatch.setattr("mailstack.app.certification.find_spec", lambda name: None)
    with pytest.raises(CannotCertify, match="pip install"):  # and no server starts
        begin(load(config), RecordingLog())


def test_quickstart_writes_the_section(tmp_path: Path) -> None:
    places = ("--dir", tmp_path / "etc", "--data", tmp_path / "data", "--hostname", HOSTNAME)
    result = invoke("quickstart", "me@example.org", *places, "--port-base", "10000", "--acme", "me@example.org")
    assert "Let's Encrypt" in result.stdout
    text = (tmp_path / "etc" / "mailstack.toml").read_text()
    assert '[acme]\nagree_to_terms = true\nemail = "me@example.org"\nport = 10080\n' in text
    assert "[[tls.certificates]]" not in text
    assert not (tmp_path / "etc" / "tls").exists()
    assert invoke("config", "check", "--syntax-only", "--config", tmp_path / "etc" / "mailstack.toml").exit_code == 0
