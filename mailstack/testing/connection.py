"""A connection whose other end is the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from twisted.internet.defer import Deferred

from mailstack.errors import ConnectionClosed, IdleTimeout, SessionEnded, ShuttingDown, Silence
from mailstack.net.deflate import Deflate
from mailstack.ports import Peer, TlsInfo


class MemoryConnection:
    """Implements `ports.Connection` without a reactor. The session runs inside `feed`, `wake`,
    `close`, `shut_down`, `be_silent` and `time_out`, until it next waits."""

    def __init__(
        self,
        connection_id: str = "c1",
        peer: Peer = Peer("127.0.0.1", 40000),  # noqa: B008
        *,
        tls: TlsInfo | None = None,
        bindings: Mapping[str, bytes] | None = None,
        certificate: bytes | None = None,
    ) -> None:
        self.id = connection_id
        self.peer = peer
        self.timeout = 60.0
        self.local = "127.0.0.1"
        self.writes = 0
        """How often the peer would have got something: pipelined commands should cost one."""
        self.stalled: Deferred[None] | None = None
        """Set a Deferred here to make `drain` wait, as for a peer that does not read."""
        self._tls = tls
        self._bindings = bindings or {}
        self._certificate = certificate
        self._input: list[bytes] = []
        self._queued: list[bytes] = []
        self._output: list[bytes] = []
        self._waiter: Deferred[None] | None = None
        self._in_flight = False
        self._woken = False
        self._at_most: float | None = None
        self._silent = False
        self._draining = False
        self._saying: Callable[[], bytes] | None = None
        self._end: type[SessionEnded] | None = None
        self._deflate: Deflate | None = None

    # --- what the session calls: ports.Connection

    @property
    def tls(self) -> TlsInfo | None:
        return self._tls

    @property
    def has_input(self) -> bool:
        return bool(self._input)

    def channel_binding(self, name: str) -> bytes | None:
        return self._bindings.get(name) if self._tls else None

    @property
    def client_certificate(self) -> bytes | None:
        return self._certificate if self._tls else None

    def write(self, data: bytes) -> None:
        self._queued.append(data)

    async def drain(self) -> None:
        self._flush()
        if self.stalled is not None:
            await self.stalled
        if self._end is ConnectionClosed:
            raise ConnectionClosed

    @contextmanager
    def saying(self, seconds: float, say: Callable[[], bytes]) -> Iterator[None]:
        self._saying = say
        try:
            yield
        finally:
            self._saying = None

    async def receive(self, *, in_flight: bool = False, at_most: float | None = None) -> bytes:
        while True:
            if self._deflate is not None:
                self._deflate.feed(b"".join(self._input))
                self._input.clear()
                if self._deflate.pending and (data := self._deflate.take()):
                    return data
            elif self._input:
                data = b"".join(self._input)
                self._input.clear()
                return data
            if self._woken:
                self._woken = False
                return b""
            if self._silent:
                self._silent = False
                raise Silence
            if self._end is not None:
                raise self._end
            if self._draining and not in_flight:
                raise ShuttingDown
            self._in_flight = in_flight
            self._flush()
            self._at_most = at_most
            self._waiter = Deferred()
            await self._waiter

    def wake(self) -> None:
        self._woken = True
        self._fire()

    async def start_tls(self) -> None:
        self._flush()
        self._input.clear()
        self._tls = TlsInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384")

    def start_compression(self, received: bytes) -> None:
        self._flush()
        self._deflate = Deflate()
        self._deflate.feed(received)

    # --- what the test calls

    @property
    def waiting(self) -> bool:
        """Whether the session waits for input now."""
        return self._waiter is not None

    @property
    def output(self) -> bytes:
        """What the session wrote and `take` has not taken, whether or not it left already."""
        if self._deflate is not None:
            self._flush()
        return b"".join(self._output + self._queued)

    def take(self) -> bytes:
        """The output, which is then forgotten."""
        data = self.output
        self._output.clear()
        self._queued.clear()
        return data

    def feed(self, data: bytes) -> None:
        """Octets from the peer."""
        self._input.append(data)
        self._fire()

    def close(self) -> None:
        """The peer is gone."""
        self._input.clear()
        self._end = ConnectionClosed
        self._fire()

    def time_out(self) -> None:
        """The peer was silent for `timeout` seconds."""
        self._end = IdleTimeout
        self._fire()

    def pass_time(self) -> None:
        """The session has waited for something else for as long as `saying` was told."""
        if self._saying is not None:
            self.write(self._saying())
            self._flush()

    def be_silent(self) -> None:
        """The peer was silent for as long as the session wants to wait, or did not mind."""
        if self._waiter is not None and self._at_most is not None:
            self._silent = True
            self._fire()

    def shut_down(self) -> None:
        """The server stops: a session with a transaction in flight may finish it."""
        self._draining = True
        if not self._in_flight:
            self._fire()

    # --- inside

    def _flush(self) -> None:
        if self._queued:
            self.writes += 1
            queued = b"".join(self._queued)
            self._output.append(queued if self._deflate is None else self._deflate.compress(queued))
            self._queued.clear()

    def _fire(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.callback(None)
