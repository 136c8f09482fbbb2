"""Clients that cost little: raw sockets, and answers that are only looked at where they end."""

from __future__ import annotations

import socket
import time
from pathlib import Path

from bench_server import DOMAIN, Server

SILENCE = 120.0
"""Seconds without any answer after which a run has failed."""


class Client:
    """One connection."""

    def __init__(self, server: Server, service: str) -> None:
        self.sock = socket.create_connection(("127.0.0.1", server.port(service)), SILENCE)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.line()

    def line(self) -> bytes:
        """The next line with its CRLF. Raises: SystemExit at the end of the connection."""
        while (end := self.buffer.find(b"\n") + 1) == 0:
            self.buffer += self._receive()
        line, self.buffer = self.buffer[:end], self.buffer[end:]
        return line

    def until(self, start: bytes) -> bytes:
        """Everything up to a last line that starts so; that line must be the last that comes."""
        pieces = [self.buffer]
        tail = self.buffer[-4096:]
        while not (tail.endswith(b"\r\n") and _last_line(tail).startswith(start)):
            pieces.append(self._receive())
            tail = (tail + pieces[-1])[-4096:]
        self.buffer = b""
        return b"".join(pieces)

    def close(self) -> None:
        self.sock.close()

    def _receive(self) -> bytes:
        data = self.sock.recv(1 << 20)
        if not data:
            raise SystemExit("the server closed the connection")
        return data


class Imap(Client):
    """Logged in."""

    def __init__(self, server: Server, user: str) -> None:
        super().__init__(server, "imap")
        self._number = 0
        self.command(f"LOGIN {user}@{DOMAIN} x".encode())

    def command(self, text: bytes) -> bytes:
        """The whole answer, which must be OK. Raises: SystemExit."""
        self._number += 1
        tag = b"a%d" % self._number
        self.sock.sendall(tag + b" " + text + b"\r\n")
        answer = self.until(tag + b" ")
        if not _last_line(answer).startswith(tag + b" OK"):
            raise SystemExit(f"{text[:60]!r}: {_last_line(answer)!r}")
        return answer

    def timed(self, text: bytes) -> tuple[float, bytes]:
        """Seconds, and the answer."""
        started = time.perf_counter()
        answer = self.command(text)
        return time.perf_counter() - started, answer


def expect(found: object, wanted: object, what: str) -> None:
    """Raises: SystemExit when the server did not do what is measured."""
    if found != wanted:
        raise SystemExit(f"{what}: {found!r} instead of {wanted!r}")


def data_of(directory: Path) -> Path:
    """Where `Server(directory)` will keep its mail."""
    return directory / "data"


def _last_line(answer: bytes) -> bytes:
    return answer[answer.rfind(b"\n", 0, -1) + 1 :]
