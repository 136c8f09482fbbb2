"""Connections to milters over real sockets: those that answer, those that do not, and those that are not there."""

from __future__ import annotations

import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure

from mailstack.config.policy import Milter, milter_place
from mailstack.net.streams import MAX_UNREAD, OutgoingStream, dial
from mailstack.smtp.milter.conversation import Conversation
from mailstack.smtp.milter.stream import Broken, Closed
from mailstack.smtp.wire import milter as wire
from mailstack.smtp.wire.milter import Action, Step, Verdict
from mailstack.testing.clock import ManualClock
from mailstack.testing.milter import options

NET: Any = reactor
SHORT, LONG = 0.05, 10.0


def on_the_reactor(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., Any]:
    """Runs a test as a coroutine."""
    decorated: Callable[..., Any] = pytest_twisted.ensureDeferred(test)
    return decorated


class Peer(Protocol):
    """Says what the test wants, once for each time that it is told something."""

    def __init__(self, sayings: list[bytes | None]) -> None:
        self.sayings = sayings
        self.received = 0
        self.ended: Deferred[object] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.received += len(data)
        if self.sayings:
            said = self.sayings.pop(0)
            transport: Any = self.transport
            if said is None:
                transport.abortConnection()
            else:
                transport.write(said)

    def connectionLost(self, reason: Failure | None = None) -> None:
        self.ended.callback(reason.type if reason is not None else None)


class Listening:
    """A peer at a port or a unix socket."""

    def __init__(self, *sayings: bytes | None, path: Path | None = None) -> None:
        self.peers: list[Peer] = []
        self.sayings = list(sayings)
        factory: Any = Factory.forProtocol(self._peer)  # type: ignore[arg-type]  # a function is enough
        self.port = NET.listenUNIX(str(path), factory) if path else NET.listenTCP(0, factory, interface="127.0.0.1")
        self.address = f"unix:{path}" if path else f"127.0.0.1:{self.port.getHost().port}"

    def _peer(self) -> Peer:
        self.peers.append(Peer(self.sayings))
        return self.peers[-1]

    async def stop(self) -> None:
        await self.port.stopListening()


async def gone(stream: OutgoingStream) -> None:
    """Wait for the end of a connection."""
    with pytest.raises(Closed):
        while True:
            await stream.receive(LONG)


@pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
@on_the_reactor
async def test_a_conversation(unix: bool, tmp_path: Path) -> None:
    at = Listening(options(), wire.packet(b"c"), path=tmp_path / "socket" if unix else None)
    spoken = await Conversation.begin(Milter("m", at.address), lambda *to: dial(NET, *to), ManualClock(), Action(0))
    assert await spoken.tell(Step.HELO, b"c\0") is Verdict.CONTINUE
    spoken.close()
    await at.stop()


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (b"220 mail.example ESMTP\r\n", "a packet of 842149920 octets"),
        (b"\xff\xff\xff\xff", "a packet of 4294967295 octets"),
        (b"", "no answer within 0.05 seconds"),
        (b"\0\0\0\5O", "no answer within 0.05 seconds"),
        (None, "it closed the connection"),
    ],
    ids=["garbage", "4 GB", "hangs", "stops", "dies"],
)
@on_the_reactor
async def test_one_that_is_broken(said: bytes | None, expected: str) -> None:
    at = Listening(said)
    milter = Milter("m", at.address, connect_timeout=SHORT)
    with pytest.raises(Broken, match=expected):
        await Conversation.begin(milter, lambda address, _: dial(NET, address, LONG), ManualClock(), Action(0))
    await at.stop()


def has_ipv6() -> bool:
    """Whether this machine has a loopback of IPv6."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("listen", "host"),
    [
        pytest.param("::1", "[::1]", marks=pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on this machine")),
        ("127.0.0.1", "localhost"),
    ],
)
@on_the_reactor
async def test_addresses_of_ipv6_and_names(listen: str, host: str) -> None:
    factory: Any = Factory.forProtocol(lambda: Peer([b"x"]))  # type: ignore[arg-type]  # a function is enough
    port = NET.listenTCP(0, factory, interface=listen)
    stream = await dial(NET, f"{host}:{port.getHost().port}", LONG)
    stream.write(b"x")
    assert await stream.receive(LONG) == b"x"
    stream.close()
    await gone(stream)
    await port.stopListening()


@on_the_reactor
async def test_one_that_is_not_there(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        for address in (f"127.0.0.1:{unused.getsockname()[1]}", f"unix:{tmp_path}/socket"):
            with pytest.raises(Broken, match="cannot connect to"):
                await dial(NET, address, LONG)


@on_the_reactor
async def test_one_that_does_not_take_the_connection() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        others = [socket.socket() for _ in range(3)]  # what the kernel takes before anybody accepts
        for other in others:
            other.setblocking(False)
            other.connect_ex(full.getsockname())
        with pytest.raises(Broken, match="cannot connect to"):
            await dial(NET, f"127.0.0.1:{full.getsockname()[1]}", SHORT)
        for other in others:
            other.close()


@on_the_reactor
async def test_one_that_does_not_read() -> None:
    at = Listening()
    stream = await dial(NET, at.address, LONG)
    stream.write(b"x")
    while not at.peers or not at.peers[0].received:
        await yielded()
    transport: Any = at.peers[0].transport
    transport.pauseProducing()
    with pytest.raises(Broken, match="it does not read within"):
        for _ in range(400):
            stream.write(b"x" * 65535)
            await stream.drain(SHORT)
    stream.close()  # it may still read what was said before
    transport.resumeProducing()
    await gone(stream)
    assert at.peers[0].received > 65535
    assert await at.peers[0].ended is ConnectionDone, "it was cut"
    await at.stop()


@on_the_reactor
async def test_one_that_says_more_than_anybody_reads() -> None:
    at = Listening(b"x" * 4_000_000)
    stream = await dial(NET, at.address, LONG)
    stream.write(b"x")
    first = await stream.receive(LONG)
    while not stream._paused_reading:
        await yielded()
    assert stream._unread < MAX_UNREAD + 2**17
    got = len(first)
    while got < 4_000_000:
        got += len(await stream.receive(LONG))
    stream.close()
    stream.close()
    await gone(stream)
    stream.write(b"more")  # nobody hears it
    with pytest.raises(Closed):
        await stream.drain(LONG)
    await at.stop()


async def yielded() -> None:
    """A turn of the reactor."""
    from twisted.internet.task import deferLater

    await deferLater(NET, 0)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("unix:/run/x y", "/run/x y"),
        ("127.0.0.1:8891", ("127.0.0.1", 8891)),
        ("[::1]:1", ("::1", 1)),
        ("localhost:65535", ("localhost", 65535)),
    ],
)
def test_places(address: str, expected: object) -> None:
    assert milter_place(address) == expected


@pytest.mark.parametrize(
    "address",
    ["", "x" * 64 + ":1", "a..b:1", "\u00e4:1", "unix:", "unix:socket", "unix:/a\0b", "localhost", ":1", "::1:1",
     "[::1]", "[x]:1", "h:0", "h:65536", "h:x", "h:1 ", "a b:1", "inet:8891@localhost", "h:\u0661"],
)  # fmt: skip
def test_what_is_no_place(address: str) -> None:
    with pytest.raises(ValueError):
        milter_place(address)
