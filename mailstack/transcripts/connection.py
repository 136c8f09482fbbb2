"""A session's connection that writes down what is said on it, inside TLS and compression."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from mailstack.errors import SessionEnded
from mailstack.ports import Connection, Peer, TlsInfo
from mailstack.transcripts.writer import Writer


class Runs(Protocol):
    """What runs on a connection until it is to be closed."""

    def run(self) -> Awaitable[None]: ...


class TranscribedConnection:
    """Implements `ports.Connection`."""

    def __init__(self, inner: Connection, writer: Writer) -> None:
        self.id = inner.id
        self.peer: Peer = inner.peer
        self._inner = inner
        self._writer = writer

    @property
    def timeout(self) -> float:
        return self._inner.timeout

    @timeout.setter
    def timeout(self, seconds: float) -> None:
        self._inner.timeout = seconds

    @property
    def local(self) -> str:
        return self._inner.local

    @property
    def tls(self) -> TlsInfo | None:
        return self._inner.tls

    def channel_binding(self, name: str) -> bytes | None:
        return self._inner.channel_binding(name)

    @property
    def client_certificate(self) -> bytes | None:
        return self._inner.client_certificate

    @property
    def has_input(self) -> bool:
        return self._inner.has_input

    def wake(self) -> None:
        self._inner.wake()

    def write(self, data: bytes) -> None:
        self._writer.server(data)
        self._inner.write(data)

    async def drain(self) -> None:
        await self._inner.drain()

    def saying(self, seconds: float, say: Callable[[], bytes]) -> AbstractContextManager[None]:
        def said() -> bytes:
            octets = say()
            if octets:
                self._writer.server(octets)
            return octets

        return self._inner.saying(seconds, said)

    async def receive(self, *, in_flight: bool = False, at_most: float | None = None) -> bytes:
        data = await self._inner.receive(in_flight=in_flight, at_most=at_most)
        if data:
            self._writer.client(data)
        return data

    async def start_tls(self) -> None:
        self._writer.event("starttls")
        await self._inner.start_tls()

    def start_compression(self, received: bytes) -> None:
        self._writer.note("compressed from here on; what is said is shown")
        self._inner.start_compression(received)


class TranscribedSession:
    """Runs the true one, and ends its transcript."""

    def __init__(self, connection: Connection, path: Path, title: str, make: Callable[[Connection], Runs]) -> None:
        self._connection = connection
        self._path = path
        self._title = title
        self._make = make

    async def run(self) -> None:
        """Raises: SessionEnded, OSError."""
        with self._path.open("w", encoding="utf-8") as file:
            writer = Writer(file, self._title)
            by_server = True
            try:
                await self._make(TranscribedConnection(self._connection, writer)).run()
            except SessionEnded:
                by_server = False
                raise
            finally:
                writer.closed(by_server=by_server)
