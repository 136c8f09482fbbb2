"""A server process from its start to its end, and what a crash leaves."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from server_process import REPOSITORY, START_LIMIT, Dialogue, Server, send_message

pytestmark = pytest.mark.processes

USER = "alice@example.org"
MESSAGE = b"Subject: one\r\n\r\nThe body.\r\n"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path) as running:
        yield running


def logged_in(server: Server, user: str = USER) -> Dialogue:
    client = server.connect("imap")
    client.send(b"a LOGIN %s secret\r\n" % user.encode())
    assert client.until(b"a ")[-1].startswith(b"a OK")
    return client


def uids(server: Server) -> tuple[bytes, list[bytes]]:
    """UIDVALIDITY, and UID and subject line of each message."""
    with logged_in(server) as client:
        client.send(b"b SELECT INBOX\r\n")
        lines = client.until(b"b ")
        assert lines[-1].startswith(b"b OK"), lines
        validity = next(line for line in lines if b"UIDVALIDITY" in line)
        client.send(b"c UID FETCH 1:* (UID BODY.PEEK[HEADER.FIELDS (SUBJECT)])\r\n")
        fetched = client.until(b"c ")
        assert fetched[-1].startswith(b"c OK"), fetched
        return validity, [line for line in fetched[:-1] if line not in (b"", b")")]


def test_the_ready_file_says_where_everything_is(server: Server) -> None:
    document = json.loads(server.ready_file.read_text())
    assert document["pid"] == server.process.pid
    for service in ("smtp", "submission", "submissions", "imap", "imaps", "pop3", "pop3s"):
        assert document[service]["port"] > 0, service
        socket.create_connection((document[service]["host"], document[service]["port"]), timeout=5).close()


def test_it_listens_on_loopback_only(server: Server) -> None:
    for service in ("smtp", "imap", "pop3"):
        assert server.host(service) in ("127.0.0.1", "::1")


def test_sigterm_ends_it_with_status_zero(server: Server) -> None:
    assert server.stop() == 0


def test_an_ephemeral_store_is_removed(tmp_path: Path) -> None:
    with Server(tmp_path, ("dev", "--ephemeral", "--ports", "0")) as server:
        data = server.data
        send_message(server, USER, MESSAGE)
        assert data.exists()
    assert not data.exists()


def test_uids_survive_a_restart(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        for _ in range(3):
            send_message(server, USER, MESSAGE)
        before = uids(server)
    with Server(tmp_path) as server:
        assert uids(server) == before
        send_message(server, USER, MESSAGE)
        validity, lines = uids(server)
        assert validity == before[0]
        assert lines[: len(before[1])] == before[1]
        assert any(b"UID 4" in line for line in lines)


def test_a_crash_right_after_250_loses_nothing(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        send_message(server, USER, MESSAGE)
        with server.connect("smtp") as client:
            client.smtp(b"EHLO client.example", b"250")
            client.smtp(b"MAIL FROM:<bob@example.net>", b"250")
            client.smtp(b"RCPT TO:<%s>" % USER.encode(), b"250")
            client.smtp(b"DATA", b"354")
            client.send(b"Subject: acknowledged\r\n\r\nx\r\n.\r\n")
            client.reply(b"250")
            server.kill()
    with Server(tmp_path) as server:
        _, lines = uids(server)
        assert sum(b"Subject:" in line for line in lines) == 2
        assert sum(b"acknowledged" in line for line in lines) == 1


def test_a_crash_changes_no_uid(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        send_message(server, USER, MESSAGE)
        send_message(server, USER, MESSAGE)
        before = uids(server)
        server.kill()
    with Server(tmp_path) as server:
        assert uids(server) == before


def test_sigterm_says_bye_to_idling_clients(server: Server) -> None:
    with logged_in(server) as client:
        client.send(b"b SELECT INBOX\r\n")
        client.until(b"b OK")
        client.send(b"c IDLE\r\n")
        client.until(b"+")
        assert server.stop() == 0
        assert client.until(b"* BYE")
        assert client.at_end()


def test_sigterm_tells_smtp_and_pop3_clients(server: Server) -> None:
    send_message(server, USER, MESSAGE)
    with server.connect("smtp") as smtp, server.connect("pop3") as pop3:
        pop3.send(b"USER %s\r\nPASS x\r\nDELE 1\r\n" % USER.encode())
        assert [pop3.line()[:3] for _ in range(3)] == [b"+OK"] * 3
        assert server.stop() == 0
        assert smtp.line().startswith(b"421 4.3.2 ")
        assert smtp.at_end()
        assert pop3.line() == b"-ERR [SYS/TEMP] the server is stopping; nothing was deleted"
        assert pop3.at_end()
    assert len(stored(server)) == 1


def stored(server: Server) -> list[bytes]:
    """Every message in the user's INBOX, as it is on disk."""
    folder = server.data / "mail" / USER
    return [path.read_bytes() for name in ("new", "cur") for path in (folder / name).iterdir()]


def half_sent(server: Server) -> Dialogue:
    """A connection in the middle of its mail data, which the server has begun to read."""
    client = server.connect("smtp")
    client.smtp(b"EHLO client.example", b"250")
    client.smtp(b"MAIL FROM:<bob@example.net>", b"250")
    client.smtp(b"RCPT TO:<%s>" % USER.encode(), b"250")
    client.smtp(b"DATA", b"354")
    client.send(b"Subject: in flight\r\n")
    return client


def test_a_message_in_flight_is_finished_when_stopping(server: Server) -> None:
    with half_sent(server) as client:
        server.process.terminate()
        server.wait_log("stopping")
        assert not server.exited_within(0.2)
        client.send(b"\r\nx\r\n.\r\n")
        client.reply(b"250")
        assert server.exited_within(START_LIMIT)
    assert server.process.returncode == 0
    assert [b"Subject: in flight\r\n\r\nx\r\n" in octets for octets in stored(server)] == [True]


def test_an_append_in_flight_is_finished_when_stopping(server: Server) -> None:
    with logged_in(server) as client:
        client.send(b"b APPEND INBOX {%d}\r\n" % len(MESSAGE))
        client.until(b"+")
        client.send(MESSAGE[:10])
        server.process.terminate()
        server.wait_log("stopping")
        assert not server.exited_within(0.2)
        client.send(MESSAGE[10:] + b"\r\n")
        assert client.until(b"b ")[-1].startswith(b"b OK [APPENDUID")
        client.until(b"* BYE")
        assert server.exited_within(START_LIMIT)
    assert stored(server) == [MESSAGE]


def test_a_second_sigterm_ends_it_at_once(server: Server) -> None:
    send_message(server, USER, MESSAGE)
    with half_sent(server) as client:
        server.process.terminate()
        server.wait_log("stopping")
        assert not server.exited_within(0.2)
        server.process.terminate()
        assert server.exited_within(5.0)
        assert client.at_end()
    assert server.process.returncode == 0
    assert "told again to stop" in server.log.read_text()
    assert [octets.endswith(MESSAGE) for octets in stored(server)] == [True]


def failing_start(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mailstack", "dev", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=START_LIMIT, **options)


def test_a_busy_port_is_explained(tmp_path: Path) -> None:
    with socket.socket() as busy:
        for base in range(20000, 60000, 1000):
            try:
                busy.bind(("127.0.0.1", base + 143))
            except OSError:
                continue
            break
        busy.listen()
        result = failing_start("--ports", str(base), "--data", str(tmp_path / "data"))
    assert result.returncode not in (0, None)
    assert "Traceback" not in result.stderr
    assert "imap" in result.stderr and "in use" in result.stderr, result.stderr


def test_a_data_directory_without_permission_is_explained(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir()
    options: dict[str, object] = {}
    if os.getuid() == 0:
        # Root may write anywhere; a file in the place of the directory fails for everybody.
        locked.rmdir()
        locked.write_text("not a directory")
    else:
        locked.chmod(stat.S_IRUSR | stat.S_IXUSR)
    result = failing_start("--ports", "0", "--data", str(locked / "data"), **options)
    assert result.returncode not in (0, None)
    assert "Traceback" not in result.stderr
    assert str(locked) in result.stderr, result.stderr
