"""The transport that sends at once, over real sockets: nothing is lost, doubled or out of order."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.protocol import Protocol
from twisted.internet.testing import MemoryReactorClock

from mailstack.net.prompt_transport import PromptServer

SIZE = 4_000_000


class Rig:
    def __init__(self) -> None:
        ours, self.peer = socket.socketpair()
        ours.setblocking(False)
        self.peer.settimeout(5)
        self.reactor: Any = MemoryReactorClock()
        self.transport: Any = PromptServer(ours, Protocol(), ("", 0), None, 1, self.reactor)

    @property
    def waits(self) -> bool:
        return self.transport in self.reactor.writers

    def read(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            if self.waits:
                self.transport.doWrite()
            found += self.peer.recv(size - len(found))
        return found


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.peer.close()
    rig.transport.socket.close()


def test_what_the_socket_takes_is_sent_at_once(rig: Rig) -> None:
    rig.transport.write(b"* OK\r\n")
    assert rig.peer.recv(100) == b"* OK\r\n"
    assert not rig.waits


def test_what_it_does_not_take_follows_in_order(rig: Rig) -> None:
    data = bytes(range(256)) * (SIZE // 256)
    rig.transport.write(data)
    assert rig.waits, "a socket takes less"
    rig.transport.write(b"after it")
    assert rig.read(len(data) + 8) == data + b"after it"
    assert not rig.waits
    rig.transport.write(b"at once again")
    assert rig.peer.recv(100) == b"at once again"


def test_what_waits_is_sent_before_what_is_written_later(rig: Rig) -> None:
    rig.transport.write(b"a" * SIZE)
    read = rig.peer.recv(1_000_000)  # there is room again, and the reactor has not noticed yet
    rig.transport.write(b"b")
    rest = rig.read(SIZE + 1 - len(read))
    assert (read + rest).endswith(b"ab") and set((read + rest)[:-1]) == {ord("a")}


def test_a_connection_that_is_lost_is_found_by_the_reactor(rig: Rig) -> None:
    rig.peer.close()
    rig.transport.write(b"nobody hears it")
    rig.transport.write(b"nor this")
    assert rig.waits
    assert isinstance(rig.transport.doWrite(), Exception)


def test_nothing_is_sent_on_a_connection_that_was_cut(rig: Rig) -> None:
    rig.transport.abortConnection()
    rig.transport.write(b"too late")
    rig.peer.setblocking(False)
    with pytest.raises(BlockingIOError):
        rig.peer.recv(100)
