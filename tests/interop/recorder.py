"""A wire between a client and the server that writes down what the client says, also when it is compressed."""

from __future__ import annotations

import re
import socket
import threading
import zlib
from contextlib import suppress
from typing import Any

SMTP_EXTENSIONS = {
    "SIZE": r"^MAIL FROM:.* SIZE=",
    "8BITMIME": r"^MAIL FROM:.* BODY=8BITMIME",
    "SMTPUTF8": r"^MAIL FROM:.* SMTPUTF8",
    "DSN": r"^(MAIL FROM:.* (RET|ENVID)=|RCPT TO:.* (NOTIFY|ORCPT)=)",
    "CHUNKING": r"^BDAT ",
    "STARTTLS": r"^STARTTLS$",
    "AUTH": r"^AUTH ",
}
"""How one sees that a client uses an extension."""


class Recorder:
    """Listens on a free port and passes on to `port`. A context manager."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._sockets = [self._listener]
        self._threads: list[threading.Thread] = []
        self._said: list[bytearray] = []
        self._changed = threading.Condition()
        self._ahead = False
        """A client of SMTP did not wait for a reply."""

    def __enter__(self) -> Recorder:
        self._start(self._accept)
        return self

    def __exit__(self, *error: object) -> None:
        for sock in self._sockets:
            with suppress(OSError):  # its other end is gone already
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for sock in self._sockets:
            sock.close()

    def commands(self) -> list[str]:
        """The lines of all connections since the last call, without tags."""
        return [line.partition(" ")[2] or line for line in self.lines()]

    def lines(self) -> list[str]:
        """The lines of all connections since the last call."""
        with self._changed:
            lines = [line for said in self._said for line in bytes(said).decode("utf-8", "replace").splitlines()]
            for said in self._said:
                said.clear()
        return lines

    def smtp_extensions(self) -> set[str]:
        """Which extensions of SMTP the client has used since the last call."""
        with self._changed:
            ahead, self._ahead = self._ahead, False
        spoken = "\n".join(self.lines())
        words = {word for word, pattern in SMTP_EXTENSIONS.items() if re.search(pattern, spoken, re.M | re.I)}
        return words | {"PIPELINING"} if ahead else words

    def wait(self, pattern: bytes, seconds: float = 30) -> None:
        """Until what a client said on a connection has this in it. Raises: AssertionError."""
        wanted = re.compile(pattern, re.DOTALL)
        with self._changed:
            assert self._changed.wait_for(lambda: any(map(wanted.search, self._said)), seconds), self._said

    def _start(self, run: object, *arguments: object) -> None:
        thread = threading.Thread(target=run, args=arguments)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # closed
            server = socket.create_connection(("127.0.0.1", self._to))
            for sock in (client, server):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._sockets.append(sock)
            said = bytearray()
            self._said.append(said)
            self._start(self._copy, client, server, said)
            self._start(self._copy, server, client, None)

    def _copy(self, source: socket.socket, target: socket.socket, said: bytearray | None) -> None:
        inflate: Any = None
        try:
            while octets := source.recv(65536):
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
                if said is not None:
                    with self._changed:
                        said += inflate.decompress(octets) if inflate is not None else octets
                        self._ahead |= bool(re.search(rb"^MAIL FROM:.*\r\nRCPT TO:", octets, re.M | re.I))
                        self._changed.notify_all()
                    if inflate is None and said.upper().endswith(b" COMPRESS DEFLATE\r\n"):
                        inflate = zlib.decompressobj(wbits=-15)  # it says nothing more before the answer
                target.sendall(octets)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            return  # one of the two is gone: so is the other, soon
