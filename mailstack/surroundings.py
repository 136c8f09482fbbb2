"""What a session has around it: its connection, log, clock, counters and spool. Named in `ports.py` too."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end. `host` is an IP address in text, or "" on a unix socket."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class TlsInfo:
    """A TLS connection: version as "TLSv1.3", cipher as OpenSSL names it."""

    version: str
    cipher: str


class Connection(Protocol):
    """One connection as its session sees it."""

    id: str
    """Runs through every log line of this connection."""
    peer: Peer
    timeout: float
    """Seconds of silence after which `receive` raises IdleTimeout; sessions set it as they go."""

    @property
    def local(self) -> str:
        """The IP address that the peer has connected to, "" on a unix socket."""

    @property
    def tls(self) -> TlsInfo | None:
        """None in plain text."""

    def channel_binding(self, name: str) -> bytes | None:
        """The channel binding of this name (RFC 5056): "tls-exporter" (RFC 9266), "tls-server-end-point"
        or "tls-unique" (RFC 5929). None where there is none: in plain text, and for other names."""

    @property
    def client_certificate(self) -> bytes | None:
        """The certificate of the client, as DER, when it has shown one that an authority of the
        configuration vouches for."""

    def write(self, data: bytes) -> None:
        """Queue octets. They leave together, when the session next waits."""

    async def drain(self) -> None:
        """Let what is queued leave, and wait while the peer is slow to take it; also gives other
        connections their turn. Call it every 64 KiB or so of bulk output.
        Raises: ConnectionClosed, when the peer is gone or does not read for `timeout` seconds."""

    def saying(self, seconds: float, say: Callable[[], bytes]) -> AbstractContextManager[None]:
        """While the context lasts, what `say` gives leaves every so many seconds, with what is queued, unless the peer
        is slow. For sessions that wait for something else than this connection."""

    @property
    def has_input(self) -> bool:
        """Whether the peer has said something that `receive` would give at once."""

    async def receive(self, *, in_flight: bool = False, at_most: float | None = None) -> bytes:
        """The next octets from the peer, or b"" if `wake` was called meanwhile.

        `in_flight` says that a transaction is under way which a shutdown should let finish. With
        `at_most`, so many seconds of silence raise Silence, and `timeout` does not count.
        Raises: Silence, ConnectionClosed, IdleTimeout, ShuttingDown (not when in_flight)."""

    def wake(self) -> None:
        """Make a waiting (or the next) `receive` return b"". Safe to call at any time from the
        reactor's thread, also when the connection is gone."""

    async def start_tls(self) -> None:
        """Begin TLS as the server. Octets already received in plain text are thrown away
        (RFC 3207 §5, CVE-2011-0411); the caller must drop what its framing holds.
        Write the go-ahead before calling."""

    def start_compression(self, received: bytes) -> None:
        """Everything from now on is raw DEFLATE (RFC 4978 §3), both ways, and `received`, which came already, too.
        Write the go-ahead before calling. `receive` raises FramingLost when the peer sends anything else."""


class Log(Protocol):
    """The structured log. Values are str, int, float, bool or None; never a secret."""

    def event(self, what: str, /, **fields: object) -> None:
        """Something that an operator may want to know, as "mail accepted"."""

    def warning(self, what: str, /, **fields: object) -> None:
        """Something that an operator may have to look at."""

    def failure(self, what: str, /, **fields: object) -> None:
        """A bug: call it in an `except` block; the traceback goes along."""

    def bind(self, **fields: object) -> Log:
        """The same log with these fields in every line."""


class Clock(Protocol):
    """Time, as an argument."""

    def now(self) -> float:
        """Seconds since the epoch."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


class Counters(Protocol):
    """What is counted for Prometheus. Names are in `observe/metrics.py`."""

    def count(self, name: str, /, label: str = "", amount: int = 1) -> None:
        """Add to the counter `name`, under `label` where it has one."""


class Blob(Protocol):
    """A whole message on its way in, its lines ending in CRLF; small in memory, large on disk."""

    size: int

    def behead(self, octets: int, head: bytes) -> None:
        """`head` stands for its first octets from now on; what follows them is not copied."""

    def discard(self) -> None:
        """Free it. Idempotent. Whoever got the Blob from `Sink.finish` must call it."""


class Sink(Protocol):
    """Takes a message in pieces. Line ends must be CRLF already."""

    size: int
    """Octets so far."""

    async def write(self, data: bytes) -> None:
        """Raises: Refused(DISK_FULL | STORE_UNAVAILABLE)."""

    async def finish(self) -> Blob: ...

    def discard(self) -> None:
        """Forget everything. Idempotent; harmless after finish."""


class Spool(Protocol):
    """Where messages wait on their way in."""

    def sink(self) -> Sink: ...

    async def read(self, blob: Blob, start: int, end: int) -> bytes:
        """Octets [start, end) of a Blob of this spool, at most MEMORY_LIMIT of them; fewer only at its end.
        Raises: Refused(STORE_UNAVAILABLE)."""
