"""A spool in memory."""

from __future__ import annotations

from mailstack.errors import Problem, Refused
from mailstack.ports import Blob


class MemoryBlob:
    """Implements `ports.Blob`."""

    def __init__(self, octets: bytes) -> None:
        self.octets = octets
        self.size = len(octets)
        self.discarded = False

    def behead(self, octets: int, head: bytes) -> None:
        self.octets = head + self.octets[octets:]
        self.size = len(self.octets)

    def discard(self) -> None:
        self.discarded = True
        self.octets = b""


def octets_of(blob: Blob) -> bytes:
    """What a blob holds: a MemoryBlob that was not discarded, or a small one of the real spool."""
    if isinstance(blob, MemoryBlob):
        assert not blob.discarded, "the blob is discarded already"
        return blob.octets
    octets = b"".join(getattr(blob, "chunks", ()))
    assert len(octets) == blob.size, f"not in memory: {blob!r}"
    return octets


class MemorySink:
    """Implements `ports.Sink`. `largest` is the biggest piece it was given."""

    def __init__(self, spool: MemorySpool) -> None:
        self.size = 0
        self.largest = 0
        self._spool = spool
        self._pieces: list[bytes] = []

    async def write(self, data: bytes) -> None:
        if self._spool.problem is not None:
            raise Refused(self._spool.problem)
        self.size += len(data)
        self.largest = max(self.largest, len(data))
        self._pieces.append(data)

    async def finish(self) -> MemoryBlob:
        blob = MemoryBlob(b"".join(self._pieces))
        self._spool.open_sinks.discard(self)
        self._spool.blobs.append(blob)
        return blob

    def discard(self) -> None:
        self._pieces.clear()
        self._spool.open_sinks.discard(self)


class MemorySpool:
    """Implements `ports.Spool`. `leaks` says what somebody forgot to discard."""

    def __init__(self) -> None:
        self.blobs: list[MemoryBlob] = []
        self.open_sinks: set[MemorySink] = set()
        self.problem: Problem | None = None

    def sink(self) -> MemorySink:
        sink = MemorySink(self)
        self.open_sinks.add(sink)
        return sink

    async def read(self, blob: Blob, start: int, end: int) -> bytes:
        return octets_of(blob)[start:end]

    @property
    def leaks(self) -> int:
        return len(self.open_sinks) + sum(not blob.discarded for blob in self.blobs)
