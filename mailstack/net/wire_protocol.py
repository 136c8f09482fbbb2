"""One connection: the only Twisted `Protocol`, from which `hop.py` derives those that we open. It moves octets and
knows no mail protocol.

The session is a coroutine that pulls: `receive` gives it what came, and reading is paused while
it works and more has come than it may hold. What it writes is gathered and leaves in one piece
when it next waits, so that a batch of pipelined commands is answered with one write.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet import protocol
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IHandshakeListener, IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from mailstack.errors import ConnectionClosed, IdleTimeout, SessionEnded, ShuttingDown, Silence
from mailstack.net import tls_channel
from mailstack.net.deflate import Deflate
from mailstack.ports import Log, Peer, TlsInfo

if TYPE_CHECKING:
    from twisted.internet.interfaces import IOpenSSLServerConnectionCreator

MAX_UNREAD = 64 * 1024
"""Octets that may wait for a busy session before the socket is not read any more."""
HANDSHAKE_TIME = 60.0
"""Seconds that a client has for TLS, where that comes before the greeting."""
PIECES_A_TURN = 4
"""Pieces that are decompressed for one session before others have their turn: a millisecond or two."""
_INTERNET = (socket.AF_INET, socket.AF_INET6)
_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)
"""Only Linux has it."""
CLOSE_GRACE = 20.0
"""Seconds that the last octets may take to leave before the connection is cut."""


HANDSHAKE_UNDER_WAY = TlsInfo("", "")


class Session(Protocol):
    """What runs on a connection until it is to be closed."""

    async def run(self) -> None: ...


class ConnectionHost(Protocol):
    """Who made the connection: a listener."""

    log: Log
    reactor: Any
    draining: bool
    server_tls: IOpenSSLServerConnectionCreator | None
    implicit_tls: bool

    def session(self, connection: WireProtocol) -> Session: ...

    def opened(self, connection: WireProtocol) -> None: ...

    def closed(self, connection: WireProtocol) -> None: ...


@implementer(IPushProducer, IHalfCloseableProtocol, IHandshakeListener)
class WireProtocol(protocol.Protocol):
    """Implements `ports.Connection`."""

    transport: Any  # ITCPTransport, or TLS over it: Twisted's interfaces do not say what startTLS changes

    def __init__(self, host: ConnectionHost, connection_id: str, peer: Peer) -> None:
        self.id = connection_id
        self.peer = peer
        self.timeout = 60.0
        self.log = host.log.bind(conn=connection_id)
        self._host = host
        self._reactor = host.reactor
        self._input: list[bytes] = []
        self._unread = 0
        self._output: list[bytes] = []
        self._waiter: Deferred[None] | None = None
        self._drained: Deferred[None] | None = None
        self._in_flight = False
        self._woken = False
        self._silent = False
        self._end: type[SessionEnded] | None = None
        self._input_ended = False
        self._paused_reading = False
        self._paused_writing = False
        self._producing = False
        self._sends_at_once = False
        self._secure = False
        self._tls: TlsInfo | None = None
        self._running = False
        self._deflate: Deflate | None = None
        self._inflated = 0
        self._patient = False
        self._deadline = 0.0
        self._timer: Any = None
        self._cut: Any = None

    # --- what Twisted calls

    def connectionMade(self) -> None:
        if hasattr(self.transport, "setTcpNoDelay"):
            self.transport.setTcpNoDelay(True)
        self._sends_at_once = hasattr(self.transport, "doWrite")
        self._host.opened(self)
        if self._host.implicit_tls:
            # The greeting says how one may log in, which the handshake decides.
            self._secure = True
            self._cut = self._reactor.callLater(HANDSHAKE_TIME, self.abort)
            self.transport.startTLS(self._host.server_tls)
        else:
            self._begin()

    def handshakeCompleted(self) -> None:
        handle = self.transport.getHandle()
        self._tls = TlsInfo(handle.get_protocol_version_name() or "", handle.get_cipher_name() or "")
        if not self._running:
            self._cut.cancel()
            self._cut = None
            self._begin()

    def dataReceived(self, data: bytes) -> None:
        self._input.append(data)
        self._unread += len(data)
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            waiter.callback(None)
        elif self._unread > MAX_UNREAD and not self._paused_reading:
            self._paused_reading = True
            self.transport.pauseProducing()

    def readConnectionLost(self) -> None:
        # The peer has said its last word (`nc -N`, a script through a pipe) and may still listen: the
        # session answers what came, and hears of the end when it asks for more.
        self._input_ended = True
        self._fire_waiter()

    def writeConnectionLost(self) -> None:
        pass  # only after loseWriteConnection, which nobody calls

    def connectionLost(self, reason: Failure | None = None) -> None:
        for timer in (self._timer, self._cut):
            if timer is not None and timer.active():
                timer.cancel()
        self._timer = self._cut = None
        self._end = ConnectionClosed
        self._input.clear()
        self._paused_writing = False
        self._host.closed(self)
        self._fire_waiter()
        self._fire_drained()

    def pauseProducing(self) -> None:
        self._paused_writing = True

    def resumeProducing(self) -> None:
        self._paused_writing = False
        self._fire_drained()

    def stopProducing(self) -> None:
        self._paused_writing = False
        self._end = ConnectionClosed
        self._fire_drained()

    # --- what the session calls: ports.Connection

    @property
    def local(self) -> str:
        if self._end is ConnectionClosed:
            return ""  # nobody can be asked any more, and nobody will read what is made of it
        return unmapped(getattr(self.transport.getHost(), "host", ""))

    @property
    def tls(self) -> TlsInfo | None:
        return (self._tls or HANDSHAKE_UNDER_WAY) if self._secure else None

    def channel_binding(self, name: str) -> bytes | None:
        return tls_channel.binding(self.transport.getHandle(), name) if self._tls else None

    @property
    def client_certificate(self) -> bytes | None:
        return tls_channel.client_certificate(self.transport.getHandle()) if self._tls else None

    @property
    def has_input(self) -> bool:
        return bool(self._input)

    def write(self, data: bytes) -> None:
        self._output.append(data)

    async def receive(self, *, in_flight: bool = False, at_most: float | None = None) -> bytes:
        while True:
            if self._deflate is not None:
                if data := await self._inflate(self._deflate):
                    return data
            elif self._input:
                return self._take_input()
            if self._woken:
                self._woken = False
                return b""
            if self._silent:
                self._silent = False
                raise Silence
            if self._end is not None:
                raise self._end
            if self._input_ended:
                raise ConnectionClosed
            if self._host.draining and not in_flight:
                raise ShuttingDown
            self._in_flight = in_flight
            if self._output:
                self._flush()
            else:
                self._acknowledge()
            self._resume_reading()
            if not self._input and self._end is None:
                self._inflated = 0
                self._silent = False
                self._waiter = Deferred()
                self._watch_clock(at_most)
                await self._waiter

    async def drain(self) -> None:
        self._register_producer()
        self._flush()
        if self._paused_writing:
            self._drained = drained = Deferred[None]()
            self._watch_clock()
            await drained
        else:
            await self._turn()  # a slow peer makes pauseProducing come meanwhile
        if self._end is ConnectionClosed:
            raise ConnectionClosed

    @contextmanager
    def saying(self, seconds: float, say: Callable[[], bytes]) -> Iterator[None]:
        timers: list[Any] = []

        def due() -> None:
            timers[:] = [self._reactor.callLater(seconds, due)]
            if not self._paused_writing and self._end is None and (octets := say()):
                self.write(octets)
                self._flush()

        timers.append(self._reactor.callLater(seconds, due))
        try:
            yield
        finally:
            timers[0].cancel()

    def wake(self) -> None:
        self._woken = True
        self._fire_waiter()

    async def start_tls(self) -> None:
        self._flush()
        self._unregister_producer()
        self._input.clear()
        self._unread = 0
        self._resume_reading()
        self._secure = True
        self.transport.startTLS(self._host.server_tls)

    def start_compression(self, received: bytes) -> None:
        self._flush()
        self._deflate = Deflate()
        self._deflate.feed(received)

    # --- what the listener calls

    def shut_down(self) -> None:
        """Let the session hear that the server stops, if it has nothing in flight."""
        if not self._running:
            self.abort()
        elif not self._in_flight:
            self._fire_waiter()

    def abort(self) -> None:
        """Cut the connection now."""
        self.transport.abortConnection()

    def stop_reading(self) -> None:
        """Let what the peer says stay with it, so that it has to wait at last."""
        self.transport.pauseProducing()

    # --- inside

    def _begin(self) -> None:
        self._running = True
        Deferred.fromCoroutine(self._run()).addErrback(self._crashed)

    async def _run(self) -> None:
        session = self._host.session(self)
        try:
            await session.run()
        except SessionEnded as ended:
            self.log.event("session ended", reason=type(ended).__name__)
        self._close()

    def _crashed(self, failure: Failure) -> None:
        try:
            failure.raiseException()
        except Exception:
            self.log.failure("session crashed")
        self.abort()

    def _close(self) -> None:
        if self._end is ConnectionClosed:
            return
        self._flush()
        self._unregister_producer()
        self._resume_reading()  # else the peer's close is never seen
        self._cut = self._reactor.callLater(CLOSE_GRACE, self.abort)
        self.transport.loseConnection()

    def _take_input(self) -> bytes:
        data = self._input[0] if len(self._input) == 1 else b"".join(self._input)
        self._input.clear()
        self._unread = 0
        return data

    async def _inflate(self, deflate: Deflate) -> bytes:
        """The next octets of a compressed connection; b"" when the peer has to send more."""
        if self._inflated >= PIECES_A_TURN:
            self._inflated = 0
            await self._turn()
        if not deflate.pending and self._input:
            deflate.feed(self._take_input())
        data = deflate.take() if deflate.pending else b""
        self._inflated += 1
        return data

    async def _turn(self) -> None:
        """One turn of the reactor for the others."""
        turn: Deferred[None] = Deferred()
        self._reactor.callLater(0, turn.callback, None)
        await turn

    def _flush(self) -> None:
        if self._output:
            output = self._output
            octets = output[0] if len(output) == 1 else b"".join(output)
            self.transport.write(octets if self._deflate is None else self._deflate.compress(octets))
            output.clear()
            if self._sends_at_once and self._end is None:
                # Now, not when the reactor has asked whether it may: that costs as much as making a short reply.
                # What does not fit into the socket, and what is wrong with it, the reactor sees to as ever.
                self.transport.doWrite()

    def _acknowledge(self) -> None:
        # Nothing is said that would carry the acknowledgement of what came. A client that sends a command in
        # pieces (imaplib: the literal of APPEND, then its CRLF) has the next one held back by Nagle's algorithm
        # until then, and Linux would wait 40 ms with it.
        sock = getattr(self.transport, "socket", None) if _QUICKACK is not None else None
        if sock is not None and sock.family in _INTERNET:
            with suppress(OSError):  # it is closed already, which we shall hear of
                sock.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)

    def _resume_reading(self) -> None:
        if self._paused_reading and self._end is None and not self._input_ended:
            self._paused_reading = False
            self.transport.resumeProducing()

    def _fire_waiter(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.callback(None)

    def _fire_drained(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None:
            drained.callback(None)

    def _register_producer(self) -> None:
        if not self._producing and self._end is None:
            self._producing = True
            self.transport.registerProducer(self, True)

    def _unregister_producer(self) -> None:
        if self._producing:
            self._producing = False
            self.transport.unregisterProducer()

    def _watch_clock(self, at_most: float | None = None) -> None:
        # One timer a connection, moved only when it fires: moving it on each command would cost more than the
        # command. One that is to fire sooner is made anew: Twisted would look for the old one among all timers
        # of the process, two milliseconds of them with 10,000 connections.
        wait = self.timeout if at_most is None else at_most
        self._patient = at_most is not None
        self._deadline = self._reactor.seconds() + wait
        if self._timer is not None and self._deadline < self._timer.getTime():
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self._reactor.callLater(wait, self._time_passed)

    def _time_passed(self) -> None:
        self._timer = None
        if self._waiter is None and self._drained is None:
            return  # the session works; it watches the clock again when it next waits
        left = self._deadline - self._reactor.seconds()
        if left > 0.001:
            self._timer = self._reactor.callLater(left, self._time_passed)
        elif self._drained is not None:
            self.log.event("peer does not read", seconds=self.timeout)
            self.abort()
        elif self._patient:
            self._silent = True
            self._fire_waiter()
        else:
            self._end = IdleTimeout
            self._fire_waiter()


def unmapped(host: str) -> str:
    """A socket at "::" shows IPv4 clients as ::ffff:192.0.2.1 (RFC 4291 §2.5.5.2); they are those of
    192.0.2.1 to whatever is configured, counted or written into a message."""
    if not host.startswith("::"):
        return host
    mapped = IPv6Address(host).ipv4_mapped
    return host if mapped is None else str(mapped)
