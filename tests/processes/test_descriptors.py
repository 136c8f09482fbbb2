"""A server that has no file descriptor left: it goes on, and serves again when there is one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from production import configuration, production
from server_process import Dialogue, Server, send_message

pytestmark = pytest.mark.processes

ALICE = "alice@example.org"
MESSAGE = b"Subject: one\r\n\r\nThe body.\r\n"
DESCRIPTORS = 80
LIMITED = ("sh", "-c", f'ulimit -n {DESCRIPTORS}; exec "$@"', "sh")


def occupy(server: Server) -> list[Dialogue]:
    """Connections until there is no descriptor for another: that one is closed without a greeting."""
    taken: list[Dialogue] = []
    for _ in range(2 * DESCRIPTORS):
        client = server.connect("smtp", greeting=False)
        if not client.line():
            client.close()
            return taken
        taken.append(client)
    raise AssertionError(f"{len(taken)} connections with {DESCRIPTORS} descriptors")


def test_without_descriptors_it_refuses_and_then_serves_again(tmp_path: Path) -> None:
    with Server(tmp_path, prefix=LIMITED) as server:
        with server.connect("smtp") as client:
            client.smtp(b"EHLO client.example", b"250")
            taken = occupy(server)
            client.smtp(b"MAIL FROM:<bob@example.net>", b"250")
            client.smtp(b"RCPT TO:<%s>" % ALICE.encode(), b"250")
            client.smtp(b"DATA", b"354")
            client.send(MESSAGE + b".\r\n")
            client.reply(b"451 4.3.0")
            assert "Too many open files" in server.wait_log("delivery failed")
            refused = server.wait_log("connection refused")
            assert 'peer=127.0.0.1 reason="no file descriptor is left"' in refused, refused
            for other in taken:
                other.smtp(b"QUIT", b"221")
                assert other.at_end()
                other.close()
        assert not [path for path in (server.data / "mail").rglob("*") if path.is_file()]
        send_message(server, ALICE, MESSAGE)
        with server.connect("imap") as client:
            client.send(b"a LOGIN %s x\r\nb SELECT INBOX\r\n" % ALICE.encode())
            assert b"* 1 EXISTS" in client.until(b"b OK")
        with server.connect("pop3") as client:
            client.send(b"USER %s\r\nPASS x\r\nSTAT\r\n" % ALICE.encode())
            assert [client.line()[:5] for _ in range(3)][2] == b"+OK 1"


def allowed(server: Server) -> int:
    """The soft limit of the process."""
    limits = Path(f"/proc/{server.process.pid}/limits").read_text()
    found = re.search(r"^Max open files +(\d+)", limits, re.MULTILINE)
    assert found is not None
    return int(found[1])


def test_the_soft_limit_is_raised_for_the_connections_of_the_configuration(reachable: Path) -> None:
    text = configuration(reachable, tables="[limits]\nconnections = 700")
    prefix = ("sh", "-c", 'ulimit -Sn 256; exec "$@"', "sh")
    with production(reachable, text, prefix) as server:
        assert allowed(server) == 1700
        assert "fewer file descriptors" not in server.log.read_text()


def test_a_hard_limit_that_is_too_low_is_a_warning(reachable: Path) -> None:
    prefix = ("sh", "-c", 'ulimit -n 1400; exec "$@"', "sh")
    with production(reachable, prefix=prefix) as server:
        assert "connections=10000 enough_for=400" in server.wait_log("fewer file descriptors than connections")
        assert allowed(server) == 1400
