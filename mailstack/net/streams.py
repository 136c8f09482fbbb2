"""Connections that we make to filters beside us (`smtp/milter/stream.py`)."""

from __future__ import annotations

from typing import Any

from twisted.internet import endpoints, protocol
from twisted.internet.abstract import isIPAddress
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.error import ConnectError, ConnectingCancelledError, DNSLookupError
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from mailstack.config.policy import milter_place
from mailstack.smtp.milter.stream import Broken, Closed

MAX_UNREAD = 64 * 1024
"""Octets that may wait for whoever reads before the socket is not read any more."""
CLOSE_GRACE = 5.0
"""Seconds that the last octets may take to leave."""


@implementer(IPushProducer)
class OutgoingStream(protocol.Protocol):
    """Implements `smtp.milter.stream.Stream`."""

    transport: Any

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._input: list[bytes] = []
        self._unread = 0
        self._waiter: Deferred[None] | None = None
        self._paused_reading = False
        self._paused_writing = False
        self._ended = False
        self._cut: Any = None

    # --- what Twisted calls

    def connectionMade(self) -> None:
        if hasattr(self.transport, "setTcpNoDelay"):
            self.transport.setTcpNoDelay(True)
        self.transport.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        self._input.append(data)
        self._unread += len(data)
        if self._unread > MAX_UNREAD and not self._paused_reading:
            self._paused_reading = True
            self.transport.pauseProducing()
        self._fire()

    def connectionLost(self, reason: Failure | None = None) -> None:
        self._ended = True
        if self._cut is not None and self._cut.active():
            self._cut.cancel()
        self._fire()

    def pauseProducing(self) -> None:
        self._paused_writing = True

    def resumeProducing(self) -> None:
        self._paused_writing = False
        self._fire()

    def stopProducing(self) -> None:
        self._paused_writing = False

    # --- what a conversation calls

    def write(self, data: bytes) -> None:
        if not self._ended:
            self.transport.write(data)

    async def drain(self, timeout: float) -> None:
        while self._paused_writing and not self._ended:
            await self._wait(timeout, "it does not read")
        if self._ended:
            raise Closed("it closed the connection")

    async def receive(self, timeout: float) -> bytes:
        while not self._input:
            if self._ended:
                raise Closed("it closed the connection")
            await self._wait(timeout, "no answer")
        data = b"".join(self._input)
        self._input.clear()
        self._unread = 0
        if self._paused_reading and not self._ended:
            self._paused_reading = False
            self.transport.resumeProducing()
        return data

    def close(self) -> None:
        if self._ended or self._cut is not None:
            return
        self.transport.unregisterProducer()
        self._cut = self._reactor.callLater(CLOSE_GRACE, self.transport.abortConnection)
        self.transport.resumeProducing()  # else its close is never seen
        self.transport.loseConnection()

    # --- inside

    async def _wait(self, timeout: float, what: str) -> None:
        """For anything to happen. Raises: Broken after so many seconds."""
        self._waiter = waiter = Deferred[None]()
        timer = self._reactor.callLater(timeout, self._expire, f"{what} within {timeout:g} seconds")
        try:
            await waiter
        finally:
            if timer.active():
                timer.cancel()

    def _fire(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.callback(None)

    def _expire(self, why: str) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.errback(Broken(why))


async def dial(reactor: Any, address: str, timeout: float) -> OutgoingStream:
    """Implements `smtp.milter.stream.Dial`. `timeout` holds for all addresses of a name together."""
    factory: Any = protocol.Factory.forProtocol(lambda: OutgoingStream(reactor))
    endpoint = _endpoint(reactor, milter_place(address), timeout)
    connecting: Deferred[OutgoingStream] = endpoint.connect(factory).addTimeout(timeout, reactor)
    try:
        return await connecting
    except (ConnectError, ConnectingCancelledError, DNSLookupError, TimedOut) as error:
        raise Broken(f"cannot connect to {address}: {str(error) or type(error).__name__}") from error


def _endpoint(reactor: Any, place: str | tuple[str, int], timeout: float) -> Any:
    kinds: Any = endpoints  # not all of which have annotations
    if isinstance(place, str):
        return kinds.UNIXClientEndpoint(reactor, place, timeout=timeout)
    host, port = place
    if ":" in host:
        return kinds.TCP6ClientEndpoint(reactor, host, port, timeout=timeout)
    if isIPAddress(host):
        return kinds.TCP4ClientEndpoint(reactor, host, port, timeout=timeout)
    return kinds.HostnameEndpoint(reactor, host, port, timeout=timeout)
