"""Balancers, systemd's sockets, limits and the metrics page: production mode over real sockets."""

from __future__ import annotations

import socket
import ssl
import struct
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from production import DOMAIN, HOSTNAME, PASSWORD, configuration, listeners, plain, prepare, production, secured
from server_process import Dialogue, Server, send_message

from mailstack.net.proxy_protocol import SIGNATURE
from mailstack.observe.metrics import COUNTERS

pytestmark = pytest.mark.processes

ALICE = f"alice@{DOMAIN}"
BEHIND_BALANCER = ("smtp", "imaps", "pop3")
DIRECT = ("submission", "imap")


@pytest.fixture(scope="module")
def server(shared_directory: Path) -> Iterator[Server]:
    behind = listeners(services=BEHIND_BALANCER, more='proxy_trusted = ["127.0.0.0/8", "::1/128"]')
    direct = listeners(services=DIRECT, more='proxy_trusted = ["192.0.2.0/24"]')
    text = configuration(
        shared_directory,
        rest=behind + direct,
        tables="[metrics]\nport = 0\n[limits]\nconnections_per_address = 3\n[auth]\nfailures_per_address = 2\n"
        '[policy]\nsender_domain = "off"',  # no DNS server of the test's knows example.net
    )
    with production(shared_directory, text) as running:
        yield running


def version_1(host: str) -> bytes:
    return f"PROXY TCP4 {host} 192.0.2.25 40000 25\r\n".encode()


def version_2(host: str) -> bytes:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    address = socket.inet_pton(family, host)
    body = address * 2 + struct.pack("!HH", 40000, 25) + b"\x04\x00\x02ab"  # with a TLV behind the addresses
    return SIGNATURE + struct.pack("!BBH", 0x21, 0x21 if ":" in host else 0x11, len(body)) + body


def behind(server: Server, service: str, header: bytes) -> Dialogue:
    client = server.connect(service, greeting=False)
    client.send(header)
    return client


def deliver(client: Dialogue) -> None:
    client.smtp(b"EHLO client.example", b"250")
    client.smtp(b"MAIL FROM:<a@example.net>", b"250")
    client.smtp(b"RCPT TO:<alice@example.org>", b"250")
    client.smtp(b"DATA", b"354")
    client.smtp(b"Subject: x\r\n\r\nx\r\n.", b"250")
    client.smtp(b"QUIT", b"221")


@pytest.mark.parametrize(
    ("header", "literal"),
    [
        (version_1("203.0.113.1"), "[203.0.113.1]"),
        (version_2("203.0.113.2"), "[203.0.113.2]"),
        (version_2("2001:db8::3"), "[IPv6:2001:db8::3]"),
        (b"PROXY UNKNOWN\r\n", "[127.0.0.1]"),
    ],
    ids=["version 1", "version 2", "version 2, IPv6", "unknown"],
)
@pytest.mark.parametrize("whole", [True, False])
def test_the_balancers_header_is_what_the_message_says(
    server: Server, header: bytes, literal: str, whole: bool
) -> None:
    for old in server.data.rglob("new/*"):
        old.unlink()
    with behind(server, "smtp", header if whole else b"") as client:
        if not whole:
            client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for octet in header:
                client.send(bytes([octet]))
        client.reply(b"220")
        deliver(client)
    (message,) = server.data.rglob("new/*")
    received = message.read_text().partition("Subject")[0]
    assert literal in received


def test_tls_may_begin_in_the_header_s_segment(server: Server) -> None:
    context = ssl.create_default_context(cafile=str(server.ca))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=HOSTNAME)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    with behind(server, "imaps", version_2("203.0.113.4") + outgoing.read()) as client:
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                client.send(outgoing.read())
                incoming.write(client.sock.recv(65536))
        client.send(outgoing.read())
        greeting = b""
        while not greeting:
            try:
                greeting = tls.read()
            except ssl.SSLWantReadError:
                incoming.write(client.sock.recv(65536))
    assert greeting.startswith(b"* OK")
    server.wait_log("peer=203.0.113.4")


def test_a_strangers_header_is_not_believed(server: Server) -> None:
    with behind(server, "imap", version_1("203.0.113.5")) as client:
        assert client.line().startswith(b"* OK")
        assert client.line().startswith(b"PROXY BAD"), "it was read as a command"
        client.send(b"a NOOP\r\n")
        assert client.line().startswith(b"a OK")
    with behind(server, "submission", version_1("203.0.113.5")) as client:
        client.reply(b"220")
        client.reply(b"500")
    assert "203.0.113.5" not in server.log.read_text()


@pytest.mark.parametrize("octets", [b"EHLO client.example\r\n", b"PROXY TCP4 x y 1 2\r\n", b"\x16\x03\x01\x02\x00"])
def test_without_a_header_nothing_is_said(server: Server, octets: bytes) -> None:
    with behind(server, "smtp", octets) as client:
        assert client.at_end()
        assert client.buffer == b""
    server.wait_log("PROXY header refused")


def served(server: Server, header: bytes) -> bool:
    with behind(server, "pop3", header) as client:
        return client.line().startswith(b"+OK")


def test_the_clients_address_is_limited_not_the_balancers(server: Server) -> None:
    busy, other = version_1("203.0.113.6"), version_1("203.0.113.7")
    clients = [behind(server, "pop3", busy) for _ in range(3)]
    try:
        assert [client.line()[:3] for client in clients] == [b"+OK"] * 3
        with behind(server, "pop3", busy) as one_more:
            assert one_more.line().startswith(b"-ERR [SYS/TEMP] too many connections from your address")
            assert one_more.at_end()
        with behind(server, "smtp", busy) as one_more:
            assert one_more.line().startswith(b"421 4.3.2")
        with behind(server, "smtp", other) as another:
            another.reply(b"220")
        clients.pop().close()
        assert any(served(server, busy) for _ in range(1000)), "the server sees the end of a connection in its own time"
    finally:
        for client in clients:
            client.close()


def failed_login(server: Server, header: bytes, password: bytes = b"guess") -> bytes:
    context = ssl.create_default_context(cafile=str(server.ca))
    with behind(server, "imaps", header) as client:
        client.sock = context.wrap_socket(client.sock, server_hostname=HOSTNAME)
        client.line()
        client.send(b'a LOGIN %s "%s"\r\n' % (ALICE.encode(), password))
        return client.until(b"a ")[-1]


def test_wrong_passwords_count_against_the_client(server: Server) -> None:
    guesser, owner = version_2("203.0.113.8"), version_2("203.0.113.9")
    for _ in range(2):
        assert failed_login(server, guesser).startswith(b"a NO [AUTHENTICATIONFAILED]")
    assert failed_login(server, guesser, PASSWORD.encode()).startswith(b"a NO [UNAVAILABLE]")
    assert failed_login(server, owner, PASSWORD.encode()).startswith(b"a OK")


# --- systemd

AS_SYSTEMD = """
import os, socket, sys
names, wrong_pid, command = sys.argv[1], sys.argv[2] == "wrong", sys.argv[3:]
listening = [socket.create_server(("127.0.0.1", 0)) for _ in names.split(":")]
with open(os.environ["PORTS"], "w") as file:
    print(*[each.getsockname()[1] for each in listening], file=file)
spare = [os.dup(each.fileno()) for each in listening]
while min(spare) < 3 + len(spare):
    spare = [os.dup(each) for each in spare]
for number, descriptor in enumerate(spare):
    os.dup2(descriptor, 3 + number, inheritable=True)
os.environ.update(LISTEN_PID="1" if wrong_pid else str(os.getpid()), LISTEN_FDS=str(len(spare)), LISTEN_FDNAMES=names)
os.execv(command[0], command)
"""


def activated(directory: Path, text: str, names: str, pid: str = "right") -> tuple[Server, list[int]]:
    """A server started as systemd would with one socket for each name, and the sockets' ports."""
    prepare(directory, text)
    ports = directory / "ports"
    prefix = (sys.executable, "-c", AS_SYSTEMD, names, pid)
    server = production(directory, prefix=prefix, PORTS=str(ports)).wait_ready()
    return server, [int(word) for word in ports.read_text().split()]


def greeting(port: int) -> bytes:
    with Dialogue(socket.create_connection(("127.0.0.1", port), timeout=10)) as client:
        return client.line()


def test_sockets_of_systemd_go_to_the_listeners_of_their_name(reachable: Path) -> None:
    named = listeners(services=("smtp",), more='socket = "mail-in"') + listeners(
        services=("imap",), more='socket = "mail-out"'
    )
    text = configuration(reachable, rest=named + listeners(services=("pop3",), more='socket = "not-passed"'))
    server, ports = activated(reachable, text, "mail-in:mail-out:mail-in")
    with server:
        assert greeting(ports[0]).startswith(b"220 ")
        assert greeting(ports[2]).startswith(b"220 "), "the second socket of one name"
        assert greeting(ports[1]).startswith(b"* OK")
        assert server.port("smtp") == ports[0]
        assert server.port("imap") == ports[1]
        assert server.port("pop3") not in ports
        assert greeting(server.port("pop3")).startswith(b"+OK")
        with open(f"/proc/{server.process.pid}/environ", "rb") as environment:
            assert b"LISTEN_FDS=3" in environment.read(), "the test did what systemd does"


def test_sockets_for_another_process_are_left_alone(reachable: Path) -> None:
    text = configuration(reachable, rest=listeners(services=("smtp",), more='socket = "smtp"'))
    server, ports = activated(reachable, text, "smtp", pid="wrong")
    with server:
        assert server.port("smtp") not in ports
        assert greeting(server.port("smtp")).startswith(b"220 ")


# --- metrics


def page(server: Server) -> dict[str, float]:
    url = f"http://{server.host('metrics')}:{server.port('metrics')}/metrics"
    with urllib.request.urlopen(url, timeout=10) as answer:
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        lines = answer.read().decode().splitlines()
    samples = dict(line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
    for counter in COUNTERS:
        assert f"# HELP mailstack_{counter.name}_total {counter.text}" in lines
        assert f"# TYPE mailstack_{counter.name}_total counter" in lines
    return {name: float(value) for name, value in samples.items()}


def busy_day(server: Server) -> None:
    """Something of everything that is counted, but no bug."""
    send_message(server, ALICE, b"Subject: x\r\n\r\nx\r\n")
    with server.connect("smtp") as client:
        client.smtp(b"EHLO client.example", b"250")
        client.smtp(b"MAIL FROM:<a@example.net>", b"250")
        client.smtp(b"RCPT TO:<nobody@example.org>", b"550")
        client.smtp(b"NONSENSE", b"500")
    with secured(server, "submission") as client:
        client.smtp(b"AUTH PLAIN " + plain(password="wrong"), b"535")
        client.smtp(b"AUTH PLAIN " + plain(), b"235")
        client.smtp(b"MAIL FROM:<alice@example.org>", b"250")
        client.smtp(b"RCPT TO:<somebody@example.com>", b"250")
        client.smtp(b"DATA", b"354")
        client.smtp(b"Subject: x\r\n\r\nx\r\n.", b"250")
    with server.connect("imap") as client:
        client.send(b"a CAPABILITY\r\n")
        client.until(b"a OK")
    with server.connect("pop3") as client:
        client.send(b"CAPA\r\nNONSENSE\r\n")
        client.until(b".")


def test_every_counter_is_on_the_page_and_moves(reachable: Path) -> None:
    text = configuration(reachable, tables="[metrics]\nport = 0\n[limits]\nconnections_per_address = 2")
    with production(reachable, text) as server:
        before = page(server)
        assert before["mailstack_open_connections"] == 0
        assert before["mailstack_queued_total"] == 0
        busy_day(server)
        with server.connect("smtp"), server.connect("imap"):
            with server.connect("pop3", greeting=False) as refused:
                refused.line()
            assert page(server)["mailstack_open_connections"] == 2
        after = page(server)
    moved = {name for name in after if after[name] > before.get(name, 0)}
    for expected in (
        'connections_total{service="smtp"}', 'connections_total{service="submission"}',
        'connections_total{service="imap"}', 'connections_total{service="pop3"}',
        'connections_refused_total{reason="too many connections from your address"}',
        'smtp_messages_total{outcome="accepted"}', 'smtp_recipients_total{outcome="accepted"}',
        'smtp_recipients_total{outcome="refused"}', 'smtp_commands_total{command="MAIL"}',
        'smtp_commands_total{command="unknown"}', 'imap_commands_total{command="CAPABILITY"}',
        'pop3_commands_total{command="CAPA"}', 'pop3_commands_total{command="unknown"}',
        'logins_total{outcome="accepted"}', 'logins_total{outcome="failed"}',
        'deliveries_total{outcome="delivered"}', "queued_total",
    ):  # fmt: skip
        assert f"mailstack_{expected}" in moved, sorted(after)
    names = {name.partition("{")[0].removeprefix("mailstack_").removesuffix("_total") for name in moved}
    elsewhere = {  # tests of these move them
        "internal_errors", "outbound_tls", "outbound_tls_resumed", "outbound_downgrades", "reports", "milter_failures",
        "messages_indexed", "outbound_sent", "outbound_failed", "outbound_tls_uncounted", "outbound_tls_sessions",
        "mta_sts_fetches", "certificate_renewals",
    }  # fmt: skip
    assert {counter.name for counter in COUNTERS} - names == elsewhere


def test_only_the_page_itself_is_there(server: Server) -> None:
    base = f"http://{server.host('metrics')}:{server.port('metrics')}"
    for path, method, status in (("/", "GET", 404), ("/metrics/x", "GET", 404), ("/metrics", "POST", 405)):
        data = b"x" if method == "POST" else None
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(urllib.request.Request(base + path, data, method=method), timeout=10)
        assert caught.value.code == status
        caught.value.close()


@pytest.mark.parametrize("user", [b"\xff\xfe", b"a\x00b", b"../../etc", b"'; DROP TABLE accounts; --", b"\xed\xa0\x80"])
def test_odd_names_are_unknown_users(server: Server, user: bytes) -> None:
    with behind(server, "pop3", version_1(f"203.0.113.{100 + len(user)}")) as client:
        client.line()
        client.send(b"STLS\r\n")
        assert client.line().startswith(b"+OK")
        client.start_tls()
        client.send(b"USER %b\r\nPASS %b\r\nCAPA\r\n" % (user, user))
        assert client.line().startswith((b"+OK", b"-ERR expected text in UTF-8"))
        assert client.line().startswith((b"-ERR [AUTH]", b"-ERR expected text in UTF-8"))
        assert client.line().startswith(b"+OK")
    assert "Traceback" not in server.log.read_text()
