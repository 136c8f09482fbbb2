"""One query and its reply by UDP or TCP, on Twisted. Each has a socket of its own, whose port the kernel chooses by
chance, so that a forger has to guess it beside the id (RFC 5452 §4.5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ClientFactory, DatagramProtocol
from twisted.internet.protocol import Protocol as StreamProtocol
from twisted.python.failure import Failure

from mailstack.dns.wire import Reply
from mailstack.names import NameServer

MAX_STRANGE = 8
"""Datagrams that are no reply to the query, after which UDP is given up: somebody guesses."""

Read = Callable[[bytes], Reply | None]
"""Makes a reply of octets; None if they are none to the query in question. What it raises ends the exchange."""


class NoReply(Exception):
    """The server did not reply; the text says why."""


class Strange(Exception):
    """Too much came that was no reply to the query."""


class Exchange(Protocol):
    """Sends a query to a server, and waits at most `seconds` for what `read` takes for the reply. Raises: NoReply."""

    async def udp(self, server: NameServer, query: bytes, read: Read, seconds: float) -> Reply:
        """Raises: Strange, too."""

    async def tcp(self, server: NameServer, query: bytes, read: Read, seconds: float) -> Reply: ...


class ReactorExchange:
    """Implements Exchange."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    async def udp(self, server: NameServer, query: bytes, read: Read, seconds: float) -> Reply:
        waiting = _Datagrams(server, read)
        interface = "::" if ":" in server.host else "0.0.0.0"
        try:
            port = self._reactor.listenUDP(0, waiting, interface=interface)
        except CannotListenError as error:  # no descriptor, no IPv6
            raise NoReply(str(error.socketError)) from error
        timer = self._reactor.callLater(seconds, waiting.end, NoReply(f"no reply in {seconds:.1f} s"))
        try:
            port.connect(server.host, server.port)
            port.write(query)
            return await waiting.reply
        except OSError as error:
            raise NoReply(error.strerror or str(error)) from error
        finally:
            _cancel(timer)
            port.stopListening()

    async def tcp(self, server: NameServer, query: bytes, read: Read, seconds: float) -> Reply:
        waiting = _Stream(query, read)
        timer = self._reactor.callLater(seconds, waiting.end, NoReply(f"no reply by TCP in {seconds:.1f} s"))
        connector = self._reactor.connectTCP(server.host, server.port, _Connecting(waiting), timeout=seconds)
        try:
            return await waiting.reply
        finally:
            _cancel(timer)
            if waiting.transport is None:
                connector.disconnect()
            else:
                waiting.transport.abortConnection()  # type: ignore[attr-defined]  # of every TCP transport


class _Datagrams(DatagramProtocol):
    """Waits for one reply. The socket is connected: the kernel drops what others send, but for what came before it
    was."""

    def __init__(self, server: NameServer, read: Read) -> None:
        self.reply: Deferred[Reply] = Deferred()
        self._server, self._read = (_plain(server.host), server.port), read
        self._strange = 0

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        if self.reply.called or (_plain(addr[0]), addr[1]) != self._server:
            return
        try:
            reply = self._read(datagram)
        except Exception:
            self.reply.errback()
            return
        if reply is not None:
            self.reply.callback(reply)
            return
        self._strange += 1
        if self._strange == MAX_STRANGE:
            self.end(Strange())

    def connectionRefused(self) -> None:
        self.end(NoReply("nobody listens there"))

    def stopProtocol(self) -> None:
        """The socket is closed: some reactors do that instead, when an ICMP error comes."""
        self.end(NoReply("nobody listens there"))

    def end(self, error: Exception) -> None:
        if not self.reply.called:
            self.reply.errback(error)


class _Stream(StreamProtocol):
    """Sends one query and waits for the reply; each has two octets of length before it (RFC 1035 §4.2.2)."""

    def __init__(self, query: bytes, read: Read) -> None:
        self.reply: Deferred[Reply] = Deferred()
        self._query, self._read = query, read
        self._received = bytearray()

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(len(self._query).to_bytes(2) + self._query)

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        end = 2 + int.from_bytes(self._received[:2])
        if self.reply.called or len(self._received) < 2 or len(self._received) < end:
            return
        try:
            reply = self._read(bytes(self._received[2:end]))
        except Exception:
            self.reply.errback()
            return
        if reply is None:
            self.end(NoReply("a reply to another query"))
        else:
            self.reply.callback(reply)

    def connectionLost(self, reason: Any = None) -> None:
        self.end(NoReply("connection closed before the reply"))

    def end(self, error: Exception) -> None:
        if not self.reply.called:
            self.reply.errback(error)


class _Connecting(ClientFactory):
    """One attempt, of one stream."""

    noisy = False

    def __init__(self, stream: _Stream) -> None:
        self._stream = stream

    def buildProtocol(self, addr: Any) -> _Stream:
        return self._stream

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        self._stream.end(NoReply(f"no connection: {str(reason.value).rstrip('.')}"))


def _plain(host: str) -> str:
    """An IPv6 address without its zone."""
    return host.partition("%")[0]


def _cancel(timer: IDelayedCall) -> None:
    if timer.active():
        timer.cancel()
