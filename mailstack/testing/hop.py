"""A connection to another server whose part is played by a script."""

from __future__ import annotations

from mailstack.errors import ConnectionClosed, IdleTimeout
from mailstack.handover import TlsDemand, TlsFailed
from mailstack.surroundings import TlsInfo


class WrongLine(AssertionError):
    """The client did not say what the script has."""


class ScriptedHop:
    """Implements `handover.HopConnection` without a reactor: nothing in it ever waits.

    The script has a line for each line of the conversation, "S: 220 hello" and "C: EHLO me.example"; of a line of the
    client that ends in "..." only the beginning counts. The server says its lines once the client has said all
    those before them. What may also happen there: "S: *close*", "S: *timeout*", "C: *tls*" (start_tls; with a
    reason, as in "C: *tls expired*", it fails), "C: *end*" (the client has closed or cut the connection)."""

    def __init__(self, script: str, *, host: str = "mx.example", tls: TlsInfo | None = None) -> None:
        self.host = host
        self.address = "192.0.2.25"
        self.timeout = 0.0
        self.timeouts: list[float] = []
        """What `receive` would have waited."""
        self.written: list[bytes] = []
        """Each piece that left in one: pipelining is seen here."""
        self.closed = False
        self.demand: TlsDemand | None = None
        self.tls = tls
        self.tls_verified = False
        self.tls_problem: TlsFailed | None = None
        self._lines = [line for line in (raw.strip() for raw in script.split("\n")) if line]
        self._queued: list[bytes] = []
        self._unread = b""
        self._said: list[str] = []

    # --- handover.HopConnection

    def write(self, data: bytes) -> None:
        if self.closed:
            raise WrongLine("the client writes to a connection that it has closed")
        self._queued.append(data)

    async def drain(self) -> None:
        self._leave()
        if self._next() == "S: *close*":
            self._take()
            raise ConnectionClosed

    @property
    def has_input(self) -> bool:
        self._leave()
        return self._next().startswith("S: ") and self._next() != "S: *timeout*"

    async def receive(self) -> bytes:
        self._leave()
        self.timeouts.append(self.timeout)
        replies: list[bytes] = []
        while self._next().startswith("S: "):
            line = self._next()[3:]
            if line in ("*close*", "*timeout*"):
                if replies:
                    break
                self._take()
                raise ConnectionClosed if line == "*close*" else IdleTimeout
            replies.append(line.encode() + b"\r\n")
            self._take()
        if not replies:
            self._fail("waits for the server")
        return b"".join(replies)

    async def start_tls(self, demand: TlsDemand) -> None:
        self._leave()
        self.demand = demand
        line = self._next()
        if not line.startswith("C: *tls"):
            self._fail("begins TLS")
        self._take()
        reason = line[7:].strip(" *")
        if reason:
            raise TlsFailed(reason)
        self.tls = TlsInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384")
        self.tls_verified = demand.certainty.value != "none"

    def close(self) -> None:
        if not self.closed:
            self._leave()
        self._end()

    def abort(self) -> None:
        self._end()

    # --- what the test calls

    @property
    def over(self) -> bool:
        """Whether the script was played to its end."""
        return not self._lines

    def finish(self) -> None:
        """Raises: WrongLine, if there is more in the script, or something of the client's that is not."""
        self._leave()
        if self._lines:
            self._fail("says nothing more")

    # --- inside

    def _end(self) -> None:
        if not self.closed and self._next() == "C: *end*":
            self._take()
        self.closed = True

    def _next(self) -> str:
        return self._lines[0] if self._lines else ""

    def _take(self) -> None:
        self._said.append(self._lines.pop(0))

    def _leave(self) -> None:
        if self._queued:
            octets = b"".join(self._queued)
            self._queued.clear()
            self.written.append(octets)
            *lines, self._unread = (self._unread + octets).split(b"\r\n")
            for line in lines:
                self._hear(line.decode("utf-8", "backslashreplace"))

    def _hear(self, line: str) -> None:
        expected = self._next()
        beginning = expected[3:].removesuffix("...")
        if not expected.startswith("C:") or not (
            line == expected[3:] or (expected.endswith("...") and line.startswith(beginning))
        ):
            self._fail(f"says {line[:200]!r}")
        self._take()

    def _fail(self, what: str) -> None:
        said = "\n    ".join(self._said[-30:])
        raise WrongLine(f"the client {what}; the script has {self._next()!r}, after\n    {said}")
