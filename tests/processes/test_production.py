"""Production mode as a process: who may do what, and what is said when it cannot start."""

from __future__ import annotations

import imaplib
import os
import poplib
import smtplib
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from production import (
    DOMAIN,
    HOSTNAME,
    NOT_ROOT,
    PASSWORD,
    SERVICES,
    configuration,
    given_to_nobody,
    listeners,
    plain,
    prepare,
    production,
    secured,
)
from server_process import REPOSITORY, Server, send_message

pytestmark = pytest.mark.processes

ALICE = f"alice@{DOMAIN}"
MESSAGE = b"Subject: one\r\n\r\nThe body.\r\n"


@pytest.fixture(scope="module")
def server(shared_directory: Path) -> Iterator[Server]:
    with production(shared_directory) as running:
        yield running


@pytest.fixture(scope="module")
def trust(server: Server) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(server.ca))


def test_mail_of_strangers_is_read_by_imap_and_pop3(server: Server, trust: ssl.SSLContext) -> None:
    send_message(server, ALICE, MESSAGE)
    with imaplib.IMAP4_SSL(server.host("imaps"), server.port("imaps"), ssl_context=trust) as imap:
        imap.login(ALICE, PASSWORD)
        imap.select("INBOX")
        assert imap.uid("fetch", "1:*", "(BODY.PEEK[TEXT])")[1][0][1] == b"The body.\r\n"
    pop = poplib.POP3_SSL(server.host("pop3s"), server.port("pop3s"), context=trust)
    pop.user("alice")  # the first domain is that of names without one
    pop.pass_(PASSWORD)
    assert pop.stat()[0] >= 1
    pop.quit()


@pytest.mark.parametrize(
    ("service", "commands", "refusal"),
    [
        ("imap", [b"a LOGIN alice@example.org x"], b"a NO [PRIVACYREQUIRED]"),
        ("pop3", [b"USER alice@example.org"], b"-ERR"),
        ("submission", [b"EHLO c.example", b"AUTH PLAIN " + plain()], b"538 5.7.11"),
    ],
)
def test_no_password_is_taken_in_plain_text(
    server: Server, service: str, commands: list[bytes], refusal: bytes
) -> None:
    with server.connect(service) as client:
        for command in commands[:-1]:
            client.smtp(command, b"250")
        client.send(commands[-1] + b"\r\n")
        line = client.line()
        assert line.startswith(refusal), line


def test_strangers_cannot_relay(server: Server) -> None:
    with server.connect("smtp") as client:
        client.smtp(b"EHLO client.example", b"250")
        client.smtp(b"MAIL FROM:<stranger@example.net>", b"250")
        client.smtp(b"RCPT TO:<somebody@example.com>", b"550 5.7.1")


def test_unknown_recipients_are_refused_at_rcpt(server: Server) -> None:
    with server.connect("smtp") as client:
        client.smtp(b"EHLO client.example", b"250")
        client.smtp(b"MAIL FROM:<stranger@example.net>", b"250")
        client.smtp(b"RCPT TO:<nobody@example.org>", b"550 5.1.1")
        client.smtp(b"RCPT TO:<alice+shop@example.org>", b"250")


def test_submission_wants_a_login_first(server: Server) -> None:
    with secured(server, "submission") as client:
        client.smtp(b"MAIL FROM:<alice@example.org>", b"530 5.7.0")


def test_mail_for_elsewhere_is_in_the_queue_before_the_250(server: Server, trust: ssl.SSLContext) -> None:
    before = set((server.data / "queue").rglob("*"))
    with smtplib.SMTP_SSL(server.host("submissions"), server.port("submissions"), context=trust) as client:
        client.login(ALICE, PASSWORD)
        assert client.sendmail(ALICE, ["somebody@example.com"], MESSAGE) == {}
    new = [path for path in set((server.data / "queue").rglob("*")) - before if path.is_file()]
    assert any(path.read_bytes().endswith(MESSAGE) for path in new)


def test_nobody_sends_as_somebody_else(server: Server) -> None:
    with secured(server, "submission") as client:
        client.smtp(b"AUTH PLAIN " + plain(), b"235")
        client.smtp(b"MAIL FROM:<bob@example.org>", b"550 5.7.1")
        client.smtp(b"MAIL FROM:<alice+list@example.org>", b"250")


def test_an_account_added_while_it_runs_can_be_used_at_once(server: Server) -> None:
    command = [*NOT_ROOT, sys.executable, "-m", "mailstack", "account", "add"]
    config = ["--config", str(server.directory / "mailstack.toml"), "--password-stdin"]
    subprocess.run(
        [*command, f"carol@{DOMAIN}", *config], input=b"a new password\n", cwd=REPOSITORY, check=True,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    send_message(server, f"carol@{DOMAIN}", MESSAGE)
    with secured(server, "submission") as client:
        client.smtp(b"AUTH PLAIN " + plain(f"carol@{DOMAIN}", "a new password"), b"235")


def test_wrong_passwords_are_counted_by_address(reachable: Path) -> None:
    text = configuration(reachable, tables="[auth]\nfailures_per_address = 3")
    with production(reachable, text) as server:
        with secured(server, "submission") as client:
            client.smtp(b"AUTH PLAIN " + plain(), b"235")
        for _ in range(3):
            with secured(server, "submission") as client:
                client.smtp(b"AUTH PLAIN " + plain("bob@example.org", "guess"), b"535 5.7.8")
        with secured(server, "submission") as client:
            client.smtp(b"AUTH PLAIN " + plain("bob@example.org"), b"454 4.7.0")
        with secured(server, "submission") as client:  # who has logged in from here before is let in
            client.smtp(b"AUTH PLAIN " + plain(), b"235")
        assert PASSWORD not in server.log.read_text()
        assert "guess" not in server.log.read_text()


def test_an_address_has_so_many_connections_and_no_more(reachable: Path) -> None:
    text = configuration(reachable, tables="[limits]\nconnections_per_address = 2")
    with production(reachable, text) as server:
        with server.connect("smtp"), server.connect("imap"):
            with server.connect("smtp", greeting=False) as third:
                assert third.line().startswith(b"421 4.3.2")
            with server.connect("imap", greeting=False) as third:
                assert third.line().startswith(b"* BYE [UNAVAILABLE]")
            with server.connect("pop3", greeting=False) as third:
                assert third.line().startswith(b"-ERR [SYS/TEMP]")
        server.wait_log("disconnected")
        server.connect("smtp").close()


def test_metrics_are_a_page_on_loopback(reachable: Path) -> None:
    with production(reachable, configuration(reachable, tables="[metrics]\nport = 0")) as server:
        send_message(server, ALICE, MESSAGE)
        url = f"http://{server.host('metrics')}:{server.port('metrics')}/metrics"
        with urllib.request.urlopen(url, timeout=10) as page:
            text = page.read().decode()
    assert 'mailstack_connections_total{service="smtp"} 1' in text
    assert "mailstack_open_connections 0" in text


def test_a_balancers_header_names_the_client(reachable: Path) -> None:
    trusting = listeners(services=("smtp",), more='proxy_trusted = ["127.0.0.0/8"]')
    with production(reachable, configuration(reachable, rest=trusting)) as server:
        with server.connect("smtp", greeting=False) as client:
            client.send(b"PROXY TCP4 192.0.2.7 192.0.2.25 40000 25\r\n")
            client.reply(b"220")
            client.smtp(b"EHLO client.example", b"250")
            client.smtp(b"QUIT", b"221")
        server.wait_log(" peer=192.0.2.7 port=40000")
        with server.connect("smtp", greeting=False) as client:
            client.send(b"EHLO client.example\r\n")
            assert client.at_end()
        server.wait_log("PROXY header refused")


LISTEN_AS_SYSTEMD = """
import os, socket, sys
listening = socket.create_server(("127.0.0.1", int(sys.argv[1])))
os.dup2(listening.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="smtp")
os.execv(sys.argv[2], sys.argv[2:])
"""


def test_systemds_socket_is_taken_and_it_is_told_of_the_start(reachable: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    sockets = listeners(services=("smtp",), more='socket = "smtp"')
    prepare(reachable, configuration(reachable, rest=sockets))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(reachable / "notify"))
        manager.settimeout(20)
        prefix = (sys.executable, "-c", LISTEN_AS_SYSTEMD, str(port))
        with production(reachable, prefix=prefix, NOTIFY_SOCKET=str(reachable / "notify")) as server:
            assert manager.recv(100) == b"READY=1"
            assert server.port("smtp") == port
            with server.connect("smtp") as client:
                client.smtp(b"EHLO client.example", b"250")
        assert manager.recv(100) == b"STOPPING=1"


def refused(directory: Path, text: str = "", *, as_root: bool = False) -> str:
    """What the server says that does not start; its exit status must be 1."""
    if not (directory / "mailstack.toml").exists():
        prepare(directory)
    if text:
        (directory / "mailstack.toml").write_text(text)
    given_to_nobody(directory)
    command = [sys.executable, "-m", "mailstack", "serve", "--config", str(directory / "mailstack.toml")]
    ended = subprocess.run(
        command if as_root else [*NOT_ROOT, *command], cwd=REPOSITORY, capture_output=True, text=True, timeout=30
    )
    assert ended.returncode == 1, ended
    assert "Traceback" not in ended.stderr
    return ended.stderr


def test_a_busy_port_is_named(reachable: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        busy = f'[[listeners]]\nservice = "smtp"\naddress = "127.0.0.1"\nport = {port}\n'
        said = refused(reachable, configuration(reachable, rest=busy))
    assert f"smtp: 127.0.0.1:{port} is in use by another program" in said


def test_a_broken_certificate_is_named(reachable: Path) -> None:
    prepare(reachable)
    (reachable / "tls" / "cert.pem").write_text("nothing\n")
    assert f"{reachable}/tls/cert.pem: not a certificate in PEM form" in refused(reachable)


def test_an_unknown_key_is_named_with_its_table(reachable: Path) -> None:
    said = refused(reachable, configuration(reachable, tables="[limits]\nmax_recipient = 5"))
    assert f"{reachable}/mailstack.toml: [limits] max_recipient: " in said
    assert "max_recipients" in said


def test_a_data_directory_that_is_a_file_is_named(reachable: Path) -> None:
    (reachable / "file").write_text("")
    prepare(reachable)
    text = configuration(reachable).replace(f"{reachable}/data", f"{reachable}/file")
    assert f"data directory {reachable}/file" in refused(reachable, text)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be refused for being root")
def test_root_without_a_user_to_become_is_refused(reachable: Path) -> None:
    assert "refusing to run as root: set `user`" in refused(reachable, as_root=True)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_root_becomes_nobody_but_an_unknown_user_is_an_error(reachable: Path) -> None:
    text = configuration(reachable, top='user = "no-such-user"')
    assert "cannot become no-such-user" in refused(reachable, text, as_root=True)
    assert "cannot run as root: it is root" in refused(reachable, text.replace("no-such-user", "root"), as_root=True)


def test_every_service_greets_with_its_host_name(server: Server, trust: ssl.SSLContext) -> None:
    greetings = {}
    for service in SERVICES:
        with server.connect(service, greeting=False) as client:
            if service in ("submissions", "imaps", "pop3s"):
                client.sock = trust.wrap_socket(client.sock, server_hostname=HOSTNAME)
            greetings[service] = client.line()
    assert all(HOSTNAME.encode() in greeting for greeting in greetings.values()), greetings
