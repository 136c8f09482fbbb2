"""Messages on their way in: small ones in memory, larger ones in a file of the spool."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from mailstack.errors import Problem, Refused
from mailstack.ports import MEMORY_LIMIT, Blob
from mailstack.store.workers import Workers

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def refusal(error: OSError) -> Refused:
    """What an error of the file system means to a session."""
    problem = Problem.DISK_FULL if error.errno in _FULL else Problem.STORE_UNAVAILABLE
    return Refused(problem, f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror))


class StoredBlob:
    """Implements `ports.Blob`: `chunks` in memory, then what `fd` of an unnamed file has from `start` on, if there is
    one."""

    __slots__ = ("chunks", "fd", "size", "start")

    def __init__(self, size: int, chunks: Sequence[bytes], fd: int = -1) -> None:
        self.size = size
        self.chunks = chunks
        self.fd = fd
        self.start = 0

    def behead(self, octets: int, head: bytes) -> None:
        rest = b"".join(self.chunks)
        self.start += max(0, octets - len(rest))
        self.chunks = (head, rest[octets:])
        self.size += len(head) - octets

    def discard(self) -> None:
        self.chunks = ()
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            os.close(fd)


class StoredSink:
    """Implements `ports.Sink`."""

    __slots__ = ("_chunks", "_directory", "_fd", "_workers", "size")

    def __init__(self, directory: Path, workers: Workers) -> None:
        self.size = 0
        self._directory = directory
        self._workers = workers
        self._chunks: list[bytes] = []
        self._fd = -1

    async def write(self, data: bytes) -> None:
        self.size += len(data)
        self._chunks.append(data)
        if self._fd < 0 and self.size <= MEMORY_LIMIT:
            return
        chunks, self._chunks = self._chunks, []
        await self._workers.run(lambda: self._spill(chunks))

    async def finish(self) -> StoredBlob:
        fd, self._fd = self._fd, -1
        chunks, self._chunks = self._chunks, []
        return StoredBlob(self.size, chunks, fd)

    def discard(self) -> None:
        self._chunks.clear()
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def _spill(self, chunks: list[bytes]) -> None:
        try:
            if self._fd < 0:
                self._fd = _unnamed_file(self._directory)
            for chunk in chunks:
                write_all(self._fd, chunk)
        except OSError as error:
            raise refusal(error) from error


class FileSpool:
    """Implements `ports.Spool` below a directory of the data. Its files have no names, so a crash
    leaves none."""

    def __init__(self, directory: Path, workers: Workers) -> None:
        self._directory = directory
        self._workers = workers

    def sink(self) -> StoredSink:
        return StoredSink(self._directory, self._workers)

    async def read(self, blob: Blob, start: int, end: int) -> bytes:
        assert isinstance(blob, StoredBlob), "a blob of this spool"
        assert end - start <= MEMORY_LIMIT, "more than may be in memory"
        head = b"".join(blob.chunks)
        if end <= len(head) or blob.fd < 0:
            return head[start:end]
        rest = partial(_read_at, blob.fd, blob.start + max(0, start - len(head)), end - max(start, len(head)))
        return head[start:] + await self._workers.run(rest)


def write_all(fd: int, data: bytes) -> None:
    """write(2) until all of it is written. Raises: OSError."""
    written = os.write(fd, data)
    if written < len(data):
        view = memoryview(data)
        while written < len(data):
            written += os.write(fd, view[written:])


def _read_at(fd: int, offset: int, octets: int) -> bytes:
    pieces: list[bytes] = []
    try:
        while octets > 0 and (piece := os.pread(fd, octets, offset)):
            pieces.append(piece)
            offset += len(piece)
            octets -= len(piece)
    except OSError as error:
        raise Refused(Problem.STORE_UNAVAILABLE, str(error.strerror)) from error
    return b"".join(pieces)


def _unnamed_file(directory: Path) -> int:
    try:
        return os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
            raise
    fd, path = tempfile.mkstemp(dir=directory)  # a file system without O_TMPFILE
    os.unlink(path)
    return fd
