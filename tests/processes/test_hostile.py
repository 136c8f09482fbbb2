"""Clients that mean harm, against a real process."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from server_process import Dialogue, Server, send_message

from mailstack.app import descriptors

pytestmark = pytest.mark.processes

MIB = 1024 * 1024
GROWTH_LIMIT = 40 * MIB
"""What the process may grow while a client sends a hundred times MiB."""
FLOOD = 100 * MIB


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("hostile"), ("dev", "--ephemeral", "--ports", "0")) as running:
        yield running


def alive(server: Server) -> None:
    with server.connect("smtp") as client:
        client.smtp(b"NOOP", b"250")


@pytest.mark.parametrize(
    ("service", "start", "go", "injected", "check"),
    [
        ("smtp", b"EHLO x\r\nSTARTTLS\r\n", b"220", b"MAIL FROM:<evil@example.net>\r\n", b"NOOP\r\n"),
        ("imap", b"a STARTTLS\r\n", b"a OK", b"b NOOP\r\n", b"c NOOP\r\n"),
        ("pop3", b"STLS\r\n", b"+OK", b"USER evil@example.org\r\n", b"CAPA\r\n"),
    ],
)
def test_nothing_sent_before_tls_is_executed_in_it(
    server: Server, service: str, start: bytes, go: bytes, injected: bytes, check: bytes
) -> None:
    with server.connect(service) as client:
        client.send(start + injected)
        if service == "smtp":
            client.reply(b"250")
        client.until(go)
        assert client.silent(0.05), "an answer to the injected command, in plain text"
        client.start_tls()
        client.send(check)
        answer = client.line()
        expected = {"smtp": b"250", "imap": b"c OK", "pop3": b"+OK"}[service]
        assert answer.startswith(expected), answer
        if service == "smtp":
            # Had the injected MAIL been executed, RCPT would be in order.
            client.smtp(b"EHLO x", b"250")
            client.smtp(b"RCPT TO:<alice@example.org>", b"503")


def flood(client: Dialogue, octets: bytes, total: int) -> int:
    """Send until the server closes, at most `total` octets; returns how many it took."""
    sent = 0
    client.sock.settimeout(10)
    while sent < total:
        try:
            client.send(octets)
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            break
        sent += len(octets)
    return sent


@pytest.mark.parametrize(
    ("service", "before"), [("smtp", b"EHLO "), ("imap", b"a LOGIN "), ("pop3", b"USER ")], ids=["smtp", "imap", "pop3"]
)
def test_an_endless_line_takes_no_memory(server: Server, service: str, before: bytes) -> None:
    rss = server.rss()
    with server.connect(service) as client:
        client.send(before)
        flood(client, b"x" * MIB, FLOOD)
        assert server.rss() - rss < GROWTH_LIMIT
    alive(server)


def test_an_endless_line_of_mail_data_takes_no_memory(server: Server) -> None:
    rss = server.rss()
    with server.connect("smtp") as client:
        client.smtp(b"EHLO x", b"250")
        client.smtp(b"MAIL FROM:<a@example.net>", b"250")
        client.smtp(b"RCPT TO:<alice@example.org>", b"250")
        client.smtp(b"DATA", b"354")
        flood(client, b"x" * MIB, FLOOD)
        assert server.rss() - rss < GROWTH_LIMIT
    alive(server)


def test_a_client_that_never_reads_takes_no_memory(server: Server) -> None:
    send_message(server, "slow@example.org", b"Subject: big\r\n\r\n" + b"x" * 76 + b"\r\n" * (MIB // 2))
    rss = server.rss()
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect((server.host("imap"), server.port("imap")))
    with Dialogue(sock) as client:
        client.line()
        client.send(b"a LOGIN slow@example.org x\r\nb SELECT INBOX\r\n")
        client.until(b"b OK")
        sock.settimeout(1)
        try:
            for number in range(2000):
                client.send(b"c%d FETCH 1 BODY.PEEK[]\r\n" % number)
        except TimeoutError:
            pass  # the server stopped reading, as it should
        with server.connect("imap") as other:
            other.send(b"a NOOP\r\n")
            assert other.line().startswith(b"a OK"), "others are not served"
        assert server.rss() - rss < GROWTH_LIMIT
    alive(server)


BIG = 20 * MIB
FLAT = 8 * MIB
"""What the process may grow while it sends a message of BIG octets to somebody who does not read."""


@pytest.fixture(scope="module")
def big_message(server: Server) -> bytes:
    """A message of BIG octets in the mailbox of big@example.org, as it is in there behind its trace fields."""
    line = b"." + b"0123456789" * 7 + b"\r\n"
    octets = b"Subject: big\r\n\r\n" + line * (BIG // len(line))
    send_message(server, "big@example.org", octets)
    return octets


READERS = {
    "imap": (b"a LOGIN big@example.org x\r\nb SELECT INBOX\r\n", b"b OK", b"c FETCH 1 BODY.PEEK[]\r\n", b"* 1 FETCH"),
    "imaps": (b"a LOGIN big@example.org x\r\nb SELECT INBOX\r\n", b"b OK", b"c FETCH 1 BODY.PEEK[]\r\n", b"* 1 FETCH"),
    "pop3": (b"USER big@example.org\r\nPASS x\r\nSTAT\r\n", b"+OK 1 ", b"RETR 1\r\n", b"+OK"),
    "top": (b"USER big@example.org\r\nPASS x\r\nSTAT\r\n", b"+OK 1 ", b"TOP 1 99999999\r\n", b"+OK"),
}


@pytest.mark.parametrize("reader", READERS)
def test_a_big_answer_waits_for_its_reader_and_comes_whole(server: Server, big_message: bytes, reader: str) -> None:
    login, in_order, ask, first_line = READERS[reader]
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    service = {"top": "pop3"}.get(reader, reader)
    sock.connect((server.host(service), server.port(service)))
    sock.settimeout(10)
    with Dialogue(sock) as client:
        if service == "imaps":
            client.start_tls()
        client.line()
        client.send(login)
        client.until(in_order)
        rss = server.rss()
        client.send(ask)
        answer = client.line()
        assert answer.startswith(first_line)
        for number in range(5):  # others come, are served, and go, while nobody reads the answer
            others_are_served(server, number)
        assert server.rss() - rss < FLAT
        if service == "pop3":
            assert stuffed_rest(client).endswith(big_message)
        else:
            size = int(answer.rpartition(b"{")[2].removesuffix(b"}"))
            assert client.exactly(size).endswith(big_message)
            assert client.until(b"c OK") == [b")", b"c OK FETCH completed"]
        assert server.rss() - rss < FLAT


def stuffed_rest(client: Dialogue) -> bytes:
    """A multi-line response up to its end, without the dots that were put in."""
    received = bytearray(client.buffer)
    while not received.endswith(b"\r\n.\r\n"):
        received += client.sock.recv(1 << 20)
    client.buffer = b""
    return bytes(received[:-3]).replace(b"\r\n..", b"\r\n.")


def others_are_served(server: Server, number: int) -> None:
    user = f"other{number}@example.org"
    send_message(server, user, b"Subject: small\r\n\r\nsmall\r\n")
    with server.connect("imap") as client:
        client.send(b"a LOGIN %s x\r\nb SELECT INBOX\r\nc FETCH 1 BODY[TEXT]\r\n" % user.encode())
        assert b"small" in client.until(b"c OK")


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (b"a LOGIN {%d+}\r\n" % FLOOD, b"a BAD [LIMIT]"),
        (b"a LOGIN big@example.org x\r\na APPEND INBOX {%d+}\r\n" % FLOOD, b"a NO [TOOBIG]"),
        (b"a LOGIN big@example.org x\r\nb IDLE\r\n{%d+}\r\n" % FLOOD, b"b BAD expected DONE"),
        (b"a AUTHENTICATE PLAIN\r\n{%d+}\r\n" % FLOOD, b"a BAD expected one line"),
    ],
    ids=["login", "append", "idle", "authenticate"],
)
def test_a_literal_that_nobody_wants_is_read_over(server: Server, start: bytes, end: bytes) -> None:
    rss = server.rss()
    with server.connect("imap") as client:
        client.send(start)
        assert flood(client, b"z NOOP\r\n" * (MIB // 8), FLOOD) == FLOOD
        client.send(b"\r\nn NOOP\r\n")
        lines = client.until(b"n OK")
        assert lines[-2].startswith(end), lines
        assert not any(line.startswith(b"z ") for line in lines), "a literal was executed"
    assert server.rss() - rss < GROWTH_LIMIT


@pytest.mark.parametrize(
    ("service", "octets", "answer"),
    [
        ("smtp", b"EHLO a\0b\r\n", b"501"),
        ("smtp", b"NO\0OP\r\n", b"500"),
        ("imap", b'a LOGIN "a\0b" x\r\n', b"a BAD expected a quoted string at column 9"),
        ("imap", b"a NO\0OP\r\n", b"a BAD expected a command that is known at column 3"),
        ("imap", b"\0 NOOP\r\n", b"* BAD expected a tag at column 1"),
        ("imap", b"a LOGIN {3+}\r\na\0b x\r\n", b"a "),
        ("pop3", b"NO\0OP\r\n", b"-ERR unknown command 'NO\\x00OP'"),
        ("pop3", b"AUTH PLAIN AGEAYg==\0\r\n", b"-ERR expected base64"),
    ],
)
def test_a_nul_in_a_command_is_told_and_the_connection_lives(
    server: Server, service: str, octets: bytes, answer: bytes
) -> None:
    noop, fine = {"smtp": (b"NOOP", b"250"), "imap": (b"n NOOP", b"n OK"), "pop3": (b"CAPA", b"+OK")}[service]
    with server.connect(service) as client:
        client.send(octets)
        line = client.line()
        assert line.startswith(answer), line
        client.send(noop + b"\r\n")
        assert client.line().startswith(fine)
    assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize(
    ("service", "octets"),
    [
        ("imap", b'a LOGIN "a/../b" x\r\n'),
        ("imap", b'a LOGIN "\xc3\xbc@example.org" x\r\n'),
        ("pop3", b"USER \xff\xfe\r\nPASS \xff\r\n"),
        ("pop3", b"USER ../../etc\r\nPASS x\r\n"),
        ("pop3", b"USER a\0b\r\nPASS x\r\n"),
    ],
)
def test_odd_names_of_users_are_no_bugs(server: Server, service: str, octets: bytes) -> None:
    before = server.log.read_text().count("Traceback")
    with server.connect(service) as client:
        client.send(octets)
        client.line()
        if service == "pop3":
            client.line()
    alive(server)
    assert server.log.read_text().count("Traceback") == before


@pytest.mark.parametrize("service", ["smtp", "imap", "pop3"])
@pytest.mark.parametrize(
    "octets",
    [
        b"\0" * 1000 + b"\r\n",
        bytes(range(256)) * 8 + b"\r\n",
        b"\r\n" * 500,
        b"\n" * 500,
        b"\xff\xfe\r\n",
        b"{99999999}\r\n",
    ],
    ids=["nul", "all", "crlf", "lf", "utf16", "literal"],
)
def test_garbage_is_answered_or_closed_and_others_live(server: Server, service: str, octets: bytes) -> None:
    with server.connect(service) as client:
        flood(client, octets, 1)
        client.sock.settimeout(10)
        try:
            client.sock.shutdown(socket.SHUT_WR)
            while client.sock.recv(65536):
                pass
        except OSError:
            pass  # it was reset, which is an answer
    alive(server)
    assert "Traceback" not in server.log.read_text()


def test_nuls_in_a_message_are_kept_or_refused(server: Server) -> None:
    with server.connect("smtp") as client:
        client.smtp(b"EHLO x", b"250")
        client.smtp(b"MAIL FROM:<a@example.net>", b"250")
        client.smtp(b"RCPT TO:<nul@example.org>", b"250")
        client.smtp(b"DATA", b"354")
        client.send(b"Subject: nul\r\n\r\na\0b\r\n.\r\n")
        accepted = client.line().startswith(b"250")
    with server.connect("imap") as client:
        client.send(b"a LOGIN nul@example.org x\r\nb SELECT INBOX\r\n")
        exists = [line for line in client.until(b"b OK") if line.endswith(b" EXISTS")]
        assert exists == [b"* 1 EXISTS" if accepted else b"* 0 EXISTS"]


def test_smuggled_ends_of_data_end_nothing(server: Server) -> None:
    """Bare LFs around the dot (CVE-2023-51764 and its kin)."""
    for number, end in enumerate((b"\n.\r\n", b"\r.\r\n", b"\r\n.\n", b"\n.\n", b"\r\n.\r", b"\r.\r", b"\r\n\0.\r\n")):
        user = f"smuggled{number}@example.org"
        with server.connect("smtp") as client:
            client.smtp(b"EHLO x", b"250")
            client.smtp(b"MAIL FROM:<a@example.net>", b"250")
            client.smtp(b"RCPT TO:<%s>" % user.encode(), b"250")
            client.smtp(b"DATA", b"354")
            client.send(
                b"Subject: x\r\n\r\nbody" + end + b"MAIL FROM:<evil@example.net>\r\nRCPT TO:<%s>\r\n" % user.encode()
            )
            assert client.silent(0.05), f"{end!r} ended the data"
            client.send(b"\r\n.\r\n")
            assert client.line()[:3] in (b"250", b"554", b"550"), end
            client.smtp(b"NOOP", b"250")


SILENT = 1500
"""Connections; a development server takes 10,000, and with them it is the same, but longer to make."""
IDLE_LIMIT = 15 * 1024
"""Octets of memory for one of them (it is about 8 KiB)."""
WORK_LIMIT = 0.05
"""Seconds of the server's time for one message while they are there."""


def test_who_says_nothing_costs_little_and_keeps_nobody_waiting(server: Server) -> None:
    if descriptors.allow(SILENT + 500) < SILENT:
        pytest.skip("not so many file descriptors are allowed here")
    silent = [socket.create_connection((server.host("smtp"), server.port("smtp"))) for _ in range(100)]
    send_message(server, "alice@example.org", b"Subject: x\r\n\r\nx\r\n")
    before = pss(server)
    try:
        for _ in range(SILENT):
            silent.append(socket.create_connection((server.host("smtp"), server.port("smtp"))))
        for connection in silent:
            assert connection.recv(200).startswith(b"220 ")
        assert (pss(server) - before) / SILENT < IDLE_LIMIT
        worked = cpu_seconds(server)
        for _ in range(10):
            send_message(server, "alice@example.org", b"Subject: x\r\n\r\nx\r\n")
        assert (cpu_seconds(server) - worked) / 10 < WORK_LIMIT
    finally:
        for connection in silent:
            connection.close()


def pss(server: Server) -> int:
    """Octets of memory, of shared ones its share."""
    lines = Path(f"/proc/{server.process.pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def cpu_seconds(server: Server) -> float:
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
