"""A proxy between a client and a server that writes down what they say. Threads and sockets: a connection is a thread,
which knows both of its ends."""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, Thread

from mailstack.transcripts.replay import received
from mailstack.transcripts.writer import Writer, protocol_of

CONNECT_TIME = 30.0
"""Seconds to reach the server, and for each handshake."""
LAST_WORDS_TIME = 5.0
"""Seconds for what the server says when the client has closed."""
PIECE = 64 * 1024


@dataclass(frozen=True, slots=True)
class Upstream:
    """The server. With `tls`, TLS begins with the connection. `context` is what its certificate has to satisfy."""

    host: str
    port: int
    context: ssl.SSLContext
    tls: bool = False

    def connect(self) -> socket.socket:
        """Raises: OSError."""
        sock = socket.create_connection((self.host, self.port), CONNECT_TIME)
        return self.secure(sock) if self.tls else sock

    def secure(self, sock: socket.socket) -> socket.socket:
        """Raises: OSError."""
        return self.context.wrap_socket(sock, server_hostname=self.host)


@dataclass(frozen=True, slots=True)
class Recording:
    """How it is done. `certificate` is for clients, which STARTTLS needs: without one it goes through opaque, and
    nothing that follows it is written."""

    directory: Path
    upstream: Upstream
    certificate: ssl.SSLContext | None
    secrets: bool
    done: Callable[[Path], None]
    failed: Callable[[str], None]


class Recorder:
    """Accepts clients at `listening` until `close`."""

    def __init__(self, listening: socket.socket, recording: Recording) -> None:
        self._listening = listening
        self._recording = recording
        self._count = 0
        self._naming = Lock()

    def serve(self, connections: int | None = None) -> None:
        """So many of them, one after the other, or for ever."""
        if connections is not None:
            for _ in range(connections):
                self._conversation(*self._listening.accept())
            return
        while True:
            client, peer = self._listening.accept()
            Thread(target=self._conversation, args=(client, peer), daemon=True).start()

    def _conversation(self, client: socket.socket, peer: tuple[str, int]) -> None:
        try:
            with client, self._recording.upstream.connect() as server:
                greeting = server.recv(PIECE)
                protocol = protocol_of(greeting)
                if protocol is None:
                    raise OSError(f"the greeting is none of SMTP, IMAP or POP3: {greeting[:60]!r}")
                path = self._path(protocol)
                with path.open("w", encoding="utf-8") as file:
                    writer = Writer(file, self._title(protocol, peer), secrets=self._recording.secrets)
                    _Conversation(client, server, writer, self._recording).run(greeting)
                self._recording.done(path)
        except OSError as error:
            self._recording.failed(f"{peer[0]}:{peer[1]}: {error}")

    def _title(self, protocol: str, peer: tuple[str, int]) -> str:
        upstream = self._recording.upstream
        return f"{protocol.upper()} of {peer[0]} to {upstream.host}:{upstream.port}"

    def _path(self, protocol: str) -> Path:
        directory = self._recording.directory / protocol
        directory.mkdir(parents=True, exist_ok=True)
        with self._naming:
            while True:
                self._count += 1
                path = directory / f"{self._count:04}.txt"
                if not path.exists():
                    path.touch()
                    return path


class _Conversation:
    def __init__(self, client: socket.socket, server: socket.socket, writer: Writer, recording: Recording) -> None:
        self.client = client
        self.server = server
        self.writer = writer
        self.recording = recording
        self.opaque = False

    def run(self, greeting: bytes) -> None:
        """Until one of them closes. Raises: OSError."""
        self._from_server(greeting)
        try:
            while True:
                said, asked = received(self.server), None
                if said:
                    self._from_server(said)
                elif said == b"":
                    self.writer.closed(by_server=True)
                    return
                elif asked := received(self.client):
                    self._from_client(asked)
                elif asked == b"":
                    self._last_words()
                    return
                else:
                    select.select([self.client, self.server], [], [])
        except (ConnectionResetError, BrokenPipeError, ssl.SSLError) as error:
            self.writer.note(f"the connection broke: {error}")
            if not self.opaque:
                self.recording.failed(f"the connection broke: {error}")

    def _last_words(self) -> None:
        """Of the server, to a client that has nothing more to say but may still listen."""
        if not isinstance(self.server, ssl.SSLSocket):
            self.server.shutdown(socket.SHUT_WR)
            self.server.settimeout(LAST_WORDS_TIME)
            try:
                while said := self.server.recv(PIECE):
                    self._from_server(said)
            except TimeoutError:
                self.writer.note("the server had nothing more to say, and did not close")
        self.writer.closed(by_server=False)

    def _from_client(self, octets: bytes) -> None:
        if not self.opaque:
            self.writer.client(octets)
        self.server.sendall(octets)

    def _from_server(self, octets: bytes) -> None:
        tls, compression = self.writer.asked_tls, self.writer.asked_compression
        if not self.opaque:
            self.writer.server(octets)
        self.client.sendall(octets)
        if tls or compression:
            self.writer.asked_tls = self.writer.asked_compression = False
            if self._agrees(octets):
                self._secure() if tls else self._give_up("compressed")

    def _agrees(self, octets: bytes) -> bool:
        line = octets.split(b"\r\n")[-2] if b"\r\n" in octets else octets
        return line.startswith((b"220", b"+OK")) or line.split(b" ")[1:2] == [b"OK"]

    def _give_up(self, why: str) -> None:
        self.writer.note(f"{why} from here on; it goes through as it is, and is not written")
        self.opaque = True

    def _secure(self) -> None:
        """Raises: OSError."""
        if self.recording.certificate is None:
            self.writer.event("starttls")
            self._give_up("TLS")
            return
        self.server = self.recording.upstream.secure(self.server)
        self.client.settimeout(CONNECT_TIME)
        self.client = self.recording.certificate.wrap_socket(self.client, server_side=True)
        self.client.settimeout(None)
        self.writer.event("starttls")
