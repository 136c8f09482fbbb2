"""A server with a milter that the test plays: large messages pass in little memory, and what is broken is survived."""

from __future__ import annotations

import smtplib
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from production import configuration, listeners, prepare, production
from server_process import Server

from mailstack.smtp.wire import milter as wire
from mailstack.smtp.wire.milter import Packets
from mailstack.testing.milter import options

pytestmark = pytest.mark.processes
MESSAGE = b"Subject: x\r\n\r\nHello\r\n"
LINE = b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n"
LARGE = 12 * 1024 * 1024
CONTINUE = wire.packet(b"c")


class Peer:
    """A milter at a unix socket, one connection after the other in a thread. `reaction` is what it does at the end of
    a message; it counts the octets of body that it is shown."""

    def __init__(self, path: Path) -> None:
        self.reaction = "continue"
        self.octets = 0
        self.told: list[bytes] = []
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        path.chmod(0o666)
        self._socket.listen(8)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection, suppress(BrokenPipeError, ConnectionResetError):
                self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        packets = Packets()
        while octets := connection.recv(65536):
            packets.feed(octets)
            while (packet := packets.next()) is not None:
                letter, data = packet
                if letter == b"E" and self.reaction == "die":
                    return
                connection.sendall(self._answer(letter, data))

    def _answer(self, letter: bytes, data: bytes) -> bytes:
        if letter != b"B":
            self.told.append(letter)
        if letter == b"O":
            return options()
        if letter in b"DAQ":
            return b""
        if letter == b"B":
            self.octets += len(data)
            return CONTINUE
        return {
            "replace": wire.packet(b"h", b"X\0y\0") + wire.packet(b"b", LINE * 1000) * (LARGE // 64000) + CONTINUE,
            "garbage": b"220 hello\r\n",
            "4 GB": b"\xff\xff\xff\xff",
        }.get(self.reaction if letter == b"E" else "", CONTINUE)


@pytest.fixture(scope="module")
def peer(shared_directory: Path) -> Iterator[Peer]:
    playing = Peer(shared_directory / "milter")
    yield playing
    playing.close()


@pytest.fixture(scope="module")
def server(shared_directory: Path, peer: Peer) -> Iterator[Server]:
    tables = f'[[smtp.milters]]\nname = "peer"\naddress = "unix:{shared_directory}/milter"\n'
    text = configuration(shared_directory, rest=listeners(services=("smtp",)), tables=tables)
    prepare(shared_directory, text)
    with production(shared_directory) as running:
        yield running


def send(server: Server, message: bytes) -> int:
    """The code of the reply to the message."""
    with smtplib.SMTP("127.0.0.1", server.port("smtp"), local_hostname="client.example") as client:
        client.ehlo()
        client.mail("a@example.net")
        client.rcpt("alice@example.org")
        return client.data(message)[0]


def arrived(server: Server) -> bytes:
    """The only message that there is, taken out of its mailbox."""
    [path] = server.data.glob("mail/**/new/*")
    octets = path.read_bytes()
    path.unlink()
    return octets


def test_a_large_message_is_never_in_memory(server: Server, peer: Peer) -> None:
    peer.reaction = "continue"
    assert send(server, MESSAGE) == 250 and arrived(server).endswith(MESSAGE)
    before = server.rss()
    peer.reaction, peer.octets = "replace", 0
    body = LINE * (LARGE // len(LINE))
    assert send(server, b"Subject: x\r\n\r\n" + body) == 250
    assert peer.octets == len(body)
    assert server.rss() - before < 6 * 1024 * 1024
    head, _, changed = arrived(server).partition(b"\r\n\r\n")
    assert head.endswith(b"\r\nSubject: x\r\nX: y") and changed == LINE * 1000 * (LARGE // 64000)


def test_a_milter_that_breaks(server: Server, peer: Peer) -> None:
    for reaction, reason in (
        ("garbage", "a packet of 842149920 octets"),
        ("4 GB", "a packet of 4294967295 octets"),
        ("die", "it closed the connection"),
    ):
        peer.reaction = reaction
        assert send(server, MESSAGE) == 451, reaction
        assert "milter=peer" in server.wait_log(reason)
        assert not list(server.data.glob("mail/**/new/*"))
        peer.reaction = "continue"
        assert send(server, MESSAGE) == 250
        assert arrived(server).endswith(b"\r\n\r\nHello\r\n")
