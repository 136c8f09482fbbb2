"""Clients that send all they have to say at once, close their direction, and listen."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from server_process import Server

pytestmark = pytest.mark.processes
BODY = b"x" * 70 + b"\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("half"), ("dev", "--ephemeral", "--ports", "0")) as running:
        yield running


def told(server: Server, service: str, script: bytes) -> bytes:
    """All that the server says to a script."""
    with socket.create_connection((server.host(service), server.port(service)), timeout=10) as client:
        client.sendall(script)
        client.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: client.recv(65536), b""))


def test_smtp_answers_all_of_it(server: Server) -> None:
    start = b"EHLO c.example\r\nMAIL FROM:<s@c.example>\r\nRCPT TO:<half@b.test>\r\nDATA\r\n"
    replies = told(server, "smtp", start + b"Subject: x\r\n\r\n" + BODY * 5000 + b".\r\n").splitlines()
    assert [line[:3] for line in replies if line[3:4] == b" "] == [b"220", b"250", b"250", b"250", b"354", b"250"]
    (path,) = (server.data / "mail" / "half@b.test").rglob("*S=*")
    assert path.read_bytes().endswith(BODY * 5000)


def test_an_unfinished_message_is_not_delivered(server: Server) -> None:
    start = b"EHLO c.example\r\nMAIL FROM:<s@c.example>\r\nRCPT TO:<cut@b.test>\r\nDATA\r\n"
    replies = told(server, "smtp", start + b"Subject: x\r\n\r\n" + BODY).splitlines()
    assert replies[-1].startswith(b"354")
    assert not list((server.data / "mail" / "cut@b.test").rglob("*S=*"))


def test_imap_and_pop3_answer_all_of_it(server: Server) -> None:
    imap = told(server, "imap", b"a LOGIN half@b.test x\r\nb SELECT INBOX\r\nc FETCH 1 RFC822.SIZE\r\nd IDLE\r\n")
    assert b"\r\nc OK " in imap
    pop3 = told(server, "pop3", b"USER half@b.test\r\nPASS x\r\nRETR 1\r\n")
    assert pop3.count(b"x" * 70) == 5000
    assert pop3.endswith(b"\r\n.\r\n")
