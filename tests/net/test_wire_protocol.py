"""The one Protocol, over a transport in memory and a clock that tests move."""

from __future__ import annotations

import socket
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.base import DelayedCall
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from mailstack.errors import ConnectionClosed, IdleTimeout, ShuttingDown, Silence
from mailstack.net.deflate import PIECE
from mailstack.net.listener import Admission, Listener, Refusal, Service, connection_ids
from mailstack.net.wire_protocol import CLOSE_GRACE, HANDSHAKE_TIME, MAX_UNREAD, PIECES_A_TURN, WireProtocol
from mailstack.observe.metrics import Counts
from mailstack.ports import TlsInfo


class Quiet:
    """A log that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, object]]] = []

    def event(self, what: str, /, **fields: object) -> None:
        self.lines.append((what, fields))

    warning = failure = event

    def bind(self, **fields: object) -> Quiet:
        return self


class Scripted:
    """A session whose body is the test's."""

    def __init__(self, connection: WireProtocol, body: Callable[[WireProtocol], Awaitable[None]]) -> None:
        self._connection = connection
        self._body = body

    async def run(self) -> None:
        await self._body(self._connection)


class Rig:
    def __init__(self, body: Callable[[WireProtocol], Awaitable[None]], per_address: int = 10) -> None:
        self.clock = Clock()
        self.log = Quiet()
        self.counts = Counts()
        service = Service("smtp", lambda connection: Scripted(connection, body), b"421 4.7.0 %s\r\n")
        self.listener = Listener(
            service, reactor=self.clock, log=self.log, counters=self.counts, tls=None,
            admission=Admission(100, per_address), ids=connection_ids(7),
        )  # fmt: skip

    def connect(self) -> tuple[Any, StringTransport]:
        protocol = self.listener.buildProtocol(IPv4Address("TCP", "192.0.2.9", 4000))
        transport = StringTransport()
        assert protocol is not None
        protocol.makeConnection(transport)
        return protocol, transport


class Secured(StringTransport):
    """Notes that TLS is to begin; the test says when the handshake is over."""

    secured = False

    def startTLS(self, tls: object) -> None:
        self.secured = True

    def getHandle(self) -> Secured:
        return self

    def get_protocol_version_name(self) -> str:
        return "TLSv1.3"

    def get_cipher_name(self) -> str:
        return "TLS_AES_256_GCM_SHA384"


async def compressed_echo(connection: WireProtocol) -> None:
    """Echoes the sizes of the pieces that it gets."""
    await connection.receive()
    connection.write(b"go")
    connection.start_compression(b"")
    while data := await connection.receive():
        connection.write(b"%d " % len(data))


def test_others_have_their_turn_while_one_peer_s_data_is_decompressed() -> None:
    rig = Rig(compressed_echo)
    protocol, transport = rig.connect()
    protocol.dataReceived(b"begin")
    assert transport.value() == b"go"
    transport.clear()
    later: list[Callable[[object], None]] = []
    rig.clock.callLater = lambda delay, call, *given: later.append(call)  # type: ignore[method-assign]
    pack = zlib.compressobj(wbits=-15)
    protocol.dataReceived(pack.compress(b"x" * 10_000_000) + pack.flush(zlib.Z_SYNC_FLUSH))
    turns = 0
    while later:
        assert len(later) == 1
        later.pop()(None)
        turns += 1
    assert turns == 10_000_000 // PIECE // PIECES_A_TURN
    sizes = zlib.decompressobj(wbits=-15).decompress(transport.value()).split()
    assert sum(map(int, sizes)) == 10_000_000


async def echo(connection: WireProtocol) -> None:
    while (data := await connection.receive()) != b"end":
        for octet in data:
            connection.write(bytes([octet]))


def test_what_is_written_leaves_in_one_piece_when_the_session_waits() -> None:
    writes: list[bytes] = []
    protocol, transport = Rig(echo).connect()
    transport.write = writes.append  # type: ignore[method-assign]
    protocol.dataReceived(b"abc")
    assert writes == [b"abc"]


def test_the_connection_closes_when_the_session_returns() -> None:
    protocol, transport = Rig(echo).connect()
    protocol.dataReceived(b"end")
    assert transport.disconnecting


def test_what_came_before_the_end_is_received_before_the_end_is_told() -> None:
    heard: list[object] = []

    async def body(connection: WireProtocol) -> None:
        await connection.receive()
        try:
            heard.append(await connection.receive())
            await connection.receive()
        except ConnectionClosed as closed:
            heard.append(type(closed))

    protocol, _ = Rig(body).connect()
    protocol.dataReceived(b"a")
    protocol.dataReceived(b"b")
    protocol.connectionLost()
    assert heard == [b"b", ConnectionClosed]


def test_a_peer_that_only_listens_any_more_is_answered() -> None:
    async def body(connection: WireProtocol) -> None:
        while True:
            connection.write(b"heard " + await connection.receive())

    rig = Rig(body)
    protocol, transport = rig.connect()
    protocol.dataReceived(b"one\n")
    protocol.dataReceived(b"two\n")
    assert not transport.disconnecting
    protocol.readConnectionLost()
    assert transport.value() == b"heard one\nheard two\n"
    assert transport.disconnecting


def test_the_end_of_input_is_told_when_a_busy_session_asks_again() -> None:
    ready: Deferred[None] = Deferred()
    ended: list[type[Exception]] = []

    async def body(connection: WireProtocol) -> None:
        await connection.receive()
        await ready
        connection.write(await connection.receive())
        try:
            await connection.receive()
        except ConnectionClosed:
            ended.append(ConnectionClosed)

    rig = Rig(body)
    protocol, transport = rig.connect()
    protocol.dataReceived(b"one")
    protocol.dataReceived(b"two")
    protocol.readConnectionLost()
    assert ended == []
    ready.callback(None)
    assert ended == [ConnectionClosed]
    assert transport.value() == b"two"
    assert transport.disconnecting


def test_silence_is_told_after_the_timeout_and_not_before() -> None:
    heard: list[str] = []

    async def body(connection: WireProtocol) -> None:
        connection.timeout = 30
        try:
            while True:
                await connection.receive()
        except IdleTimeout:
            heard.append("idle")

    rig = Rig(body)
    protocol, _ = rig.connect()
    rig.clock.advance(29)
    protocol.dataReceived(b"x")
    rig.clock.advance(29)
    assert heard == []
    rig.clock.advance(1.1)
    assert heard == ["idle"]


def test_a_shorter_timeout_counts_from_when_it_is_set() -> None:
    heard: list[str] = []

    async def body(connection: WireProtocol) -> None:
        connection.timeout = 1800
        await connection.receive()
        connection.timeout = 5
        try:
            await connection.receive()
        except IdleTimeout:
            heard.append("idle")

    rig = Rig(body)
    protocol, _ = rig.connect()
    protocol.dataReceived(b"x")
    rig.clock.advance(6)
    assert heard == ["idle"]


def test_shutdown_is_told_at_rest_and_not_in_flight() -> None:
    heard: list[object] = []

    async def body(connection: WireProtocol) -> None:
        heard.append(await connection.receive(in_flight=True))
        try:
            await connection.receive()
        except ShuttingDown:
            heard.append("shut")

    rig = Rig(body)
    protocol, transport = rig.connect()
    rig.listener.draining = True
    protocol.shut_down()
    assert heard == []
    protocol.dataReceived(b"body")
    assert heard == [b"body", "shut"]
    assert transport.disconnecting


def test_a_busy_session_makes_the_socket_wait() -> None:
    from twisted.internet.defer import Deferred

    gate: Deferred[None] = Deferred()

    async def body(connection: WireProtocol) -> None:
        await connection.receive()
        await gate
        await connection.receive()
        await connection.receive()

    protocol, transport = Rig(body).connect()
    protocol.dataReceived(b"x")
    protocol.dataReceived(b"y" * (MAX_UNREAD + 1))
    assert transport.producerState == "paused"
    gate.callback(None)
    assert transport.producerState == "producing"


def test_a_peer_that_never_reads_is_cut() -> None:
    heard: list[str] = []

    async def body(connection: WireProtocol) -> None:
        connection.timeout = 10
        connection.write(b"x" * 100000)
        protocol.pauseProducing()  # what a full socket does
        try:
            await connection.drain()
        except ConnectionClosed:
            heard.append("closed")

    rig = Rig(body)
    protocol: Any = rig.listener.buildProtocol(IPv4Address("TCP", "192.0.2.9", 4000))
    transport = StringTransport()
    transport.abortConnection = lambda: protocol.connectionLost()  # type: ignore[method-assign]
    protocol.makeConnection(transport)
    assert heard == []
    rig.clock.advance(11)
    assert heard == ["closed"]


def test_wake_ends_one_wait_also_when_it_came_first() -> None:
    heard: list[bytes] = []

    async def body(connection: WireProtocol) -> None:
        connection.wake()
        heard.append(await connection.receive())
        heard.append(await connection.receive())

    protocol, _ = Rig(body).connect()
    assert heard == [b""]
    protocol.wake()
    assert heard == [b"", b""]


def test_one_too_many_is_told_why() -> None:
    rig = Rig(echo, per_address=1)
    rig.connect()
    protocol, transport = rig.connect()
    assert isinstance(protocol, Refusal)
    assert transport.value() == b"421 4.7.0 too many connections from your address\r\n"
    assert rig.counts.value("connections_refused", "too many connections from your address") == 1


def test_a_lost_connection_makes_room() -> None:
    rig = Rig(echo, per_address=1)
    first, _ = rig.connect()
    first.connectionLost()
    second, _ = rig.connect()
    assert isinstance(second, WireProtocol)


def test_a_crashed_session_is_logged_and_cut() -> None:
    async def body(connection: WireProtocol) -> None:
        raise ZeroDivisionError

    rig = Rig(body)
    protocol: Any = rig.listener.buildProtocol(IPv4Address("TCP", "192.0.2.9", 4000))
    transport = StringTransport()
    aborted: list[bool] = []
    transport.abortConnection = lambda: aborted.append(True)  # type: ignore[method-assign]
    protocol.makeConnection(transport)
    assert aborted == [True]
    assert "session crashed" in [what for what, _ in rig.log.lines]


def test_last_words_that_are_not_taken_do_not_keep_the_connection() -> None:
    rig = Rig(echo)
    protocol, transport = rig.connect()
    aborted: list[bool] = []
    transport.abortConnection = lambda: aborted.append(True)  # type: ignore[method-assign]
    protocol.dataReceived(b"end")
    rig.clock.advance(CLOSE_GRACE - 1)
    assert not aborted
    rig.clock.advance(2)
    assert aborted


@pytest.mark.parametrize("number", [0, 1, 1000])
def test_ids_differ(number: int) -> None:
    ids = connection_ids(number)
    taken = [next(ids) for _ in range(100)]
    assert len(set(taken)) == 100


class TestTlsFromTheFirstOctet:
    def connect(self, body: Callable[[WireProtocol], Awaitable[None]] = echo) -> tuple[Rig, Any, Secured]:
        rig = Rig(body)
        rig.listener.offer(replace(rig.listener.service, implicit_tls=True))
        protocol, transport = rig.listener.buildProtocol(IPv4Address("TCP", "192.0.2.9", 4000)), Secured()
        assert protocol is not None
        protocol.makeConnection(transport)
        assert transport.secured
        return rig, protocol, transport

    def test_the_session_begins_after_the_handshake(self) -> None:
        seen: list[object] = []

        async def body(connection: WireProtocol) -> None:
            seen.append(connection.tls)

        _, protocol, transport = self.connect(body)
        assert seen == []
        assert protocol.tls is not None
        protocol.handshakeCompleted()
        assert seen == [TlsInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384")]
        assert transport.disconnecting
        protocol.connectionLost()

    def test_who_does_not_finish_it_is_cut(self) -> None:
        rig, protocol, transport = self.connect()
        rig.clock.advance(HANDSHAKE_TIME - 1)
        assert not transport.disconnected
        rig.clock.advance(2)
        assert transport.disconnected
        protocol.connectionLost()

    def test_who_finishes_it_has_all_the_time_of_the_session(self) -> None:
        rig, protocol, transport = self.connect()
        protocol.handshakeCompleted()
        protocol.timeout = 10 * HANDSHAKE_TIME
        protocol.dataReceived(b"x")
        rig.clock.advance(2 * HANDSHAKE_TIME)
        assert not transport.disconnected
        protocol.connectionLost()
        assert rig.clock.getDelayedCalls() == []

    def test_nobody_waits_for_it_at_the_stop(self) -> None:
        _, protocol, transport = self.connect()
        protocol.shut_down()
        assert transport.disconnected
        protocol.connectionLost()

    def test_a_peer_that_goes_during_it_leaves_nothing(self) -> None:
        rig, protocol, _ = self.connect()
        protocol.connectionLost()
        assert rig.clock.getDelayedCalls() == []
        assert rig.listener.service.name and not rig.listener._connections


class Acknowledging:
    """A socket that counts how often it shall acknowledge at once."""

    def __init__(self, family: int = socket.AF_INET) -> None:
        self.family = family
        self.asked = 0

    def setsockopt(self, level: int, option: int, value: int) -> None:
        assert (level, option, value) == (socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        self.asked += 1


@pytest.mark.parametrize(("family", "times"), [(socket.AF_INET, 1), (socket.AF_INET6, 1), (socket.AF_UNIX, 0)])
def test_what_gets_no_answer_is_acknowledged_at_once(family: int, times: int) -> None:
    async def body(connection: WireProtocol) -> None:
        while True:
            if (await connection.receive()).endswith(b"\n"):
                connection.write(b"+")

    protocol, transport = Rig(body).connect()
    transport.socket = sock = Acknowledging(family)  # type: ignore[attr-defined]
    protocol.dataReceived(b"a line\n")  # its answer carries the acknowledgement
    assert sock.asked == 0
    protocol.dataReceived(b"a piece of one")
    assert sock.asked == times
    protocol.dataReceived(b" and the rest\n")
    assert sock.asked == times
    assert transport.value() == b"++"


def test_a_session_that_waits_with_patience_hears_of_silence_and_goes_on() -> None:
    heard: list[object] = []

    async def body(connection: WireProtocol) -> None:
        connection.timeout = 10.0
        for at_most in (30.0, 30.0, 30.0, None):
            try:
                heard.append(await connection.receive(at_most=at_most))
            except (Silence, IdleTimeout) as error:
                heard.append(type(error))

    rig = Rig(body)
    protocol, transport = rig.connect()
    rig.clock.advance(29.0)
    assert heard == []
    rig.clock.advance(1.0)
    assert heard == [Silence]
    rig.clock.advance(29.0)
    protocol.dataReceived(b"x")
    rig.clock.advance(29.0)
    assert heard == [Silence, b"x"]
    rig.clock.advance(1.0)
    assert heard == [Silence, b"x", Silence]
    rig.clock.advance(9.0)
    assert not transport.disconnecting
    rig.clock.advance(1.0)
    assert heard == [Silence, b"x", Silence, IdleTimeout] and transport.disconnecting


def test_waiting_for_less_moves_no_timer_among_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """`DelayedCall.reset` to an earlier time looks for the timer among those of all connections."""

    async def ever_less(connection: WireProtocol) -> None:
        for connection.timeout in (300.0, 200.0, 100.0, 400.0):
            await connection.receive()

    def reset(call: DelayedCall, seconds: float) -> None:
        raise AssertionError("a timer was moved")

    monkeypatch.setattr(DelayedCall, "reset", reset)
    rig = Rig(ever_less)
    protocol, transport = rig.connect()
    for octet in (b"a", b"b"):
        protocol.dataReceived(octet)
    assert [call.getTime() for call in rig.clock.getDelayedCalls()] == [100.0]
    rig.clock.advance(99.0)
    assert not transport.disconnecting
    rig.clock.advance(1.0)
    assert transport.disconnecting


class Eager(StringTransport):
    """Notes when it is asked to send what it holds."""

    sent = 0

    def doWrite(self) -> None:
        self.sent += 1


def test_replies_leave_at_once_and_in_one_piece() -> None:
    async def talk(connection: WireProtocol) -> None:
        connection.write(b"220 ")
        connection.write(b"hello\r\n")
        await connection.receive()
        connection.write(b"250 ok\r\n")
        await connection.receive()

    rig = Rig(talk)
    protocol: Any = rig.listener.buildProtocol(IPv4Address("TCP", "192.0.2.9", 4000))
    transport = Eager()
    protocol.makeConnection(transport)
    assert (transport.sent, transport.value()) == (1, b"220 hello\r\n")
    protocol.dataReceived(b"x")
    assert (transport.sent, transport.value()) == (2, b"220 hello\r\n250 ok\r\n")
    protocol.connectionLost(None)
    assert transport.sent == 2, "nothing is sent to a socket that is closed"


def test_what_has_to_be_said_meanwhile_leaves_in_time_and_not_afterwards() -> None:
    released: Deferred[None] = Deferred()

    async def body(connection: WireProtocol) -> None:
        connection.write(b"a")
        said = iter([b"1", b"", b"2", b"3"])
        with connection.saying(10.0, lambda: next(said)):
            await released
        connection.write(b"b")
        await connection.receive()

    rig = Rig(body)
    protocol, transport = rig.connect()
    rig.clock.advance(9.9)
    assert transport.value() == b""
    rig.clock.advance(0.2)
    assert transport.value() == b"a1"
    rig.clock.pump([10.0, 10.0])
    assert transport.value() == b"a12"
    protocol.pauseProducing()
    rig.clock.advance(10.0)
    assert transport.value() == b"a12"
    protocol.resumeProducing()
    released.callback(None)
    assert transport.value() == b"a12b"
    rig.clock.advance(100.0)
    assert transport.value().startswith(b"a12b") and b"3" not in transport.value()
