"""A message whose header is replaced: what the spool reads of it, and what is delivered."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from mailstack.ports import MEMORY_LIMIT
from mailstack.store.maildir.deliver import Directories, deliver
from mailstack.store.maildir.names import UniqueNames
from mailstack.store.spool import FileSpool, StoredBlob
from mailstack.store.workers import InlineWorkers
from mailstack.testing.spool import MemorySpool

HEAD = b"Subject: x\r\n"
SMALL, LARGE = HEAD + b"\r\nbody\r\n", HEAD + b"\r\n" + b"0123456789abcde\r\n" * 16000


def now(work: object) -> object:
    """What a coroutine that never waits comes to."""
    found: list[object] = []
    Deferred.fromCoroutine(work).addBoth(found.append)  # type: ignore[arg-type]
    return found[0]


def stored(directory: Path, octets: bytes) -> tuple[FileSpool, StoredBlob]:
    spool = FileSpool(directory, InlineWorkers())
    sink = spool.sink()
    for start in range(0, len(octets), 60000):
        now(sink.write(octets[start : start + 60000]))
    blob = now(sink.finish())
    assert isinstance(blob, StoredBlob)
    return spool, blob


def whole(spool: FileSpool, blob: StoredBlob, piece: int = 65535) -> bytes:
    pieces = [now(spool.read(blob, at, min(at + piece, blob.size))) for at in range(0, blob.size, piece)]
    return b"".join(piece for piece in pieces if isinstance(piece, bytes))


@pytest.mark.parametrize("octets", [SMALL, LARGE])
def test_reading(tmp_path: Path, octets: bytes) -> None:
    spool, blob = stored(tmp_path, octets)
    assert (blob.fd >= 0) is (len(octets) > MEMORY_LIMIT)
    assert whole(spool, blob) == octets
    assert now(spool.read(blob, blob.size - 2, blob.size + 50)) == b"\r\n"
    blob.discard()


@pytest.mark.parametrize("octets", [SMALL, LARGE])
@pytest.mark.parametrize("head", [b"", b"X: longer than it was\r\nSubject: y\r\n"])
def test_another_header(tmp_path: Path, octets: bytes, head: bytes) -> None:
    spool, blob = stored(tmp_path, octets)
    blob.behead(len(HEAD), head)
    expected = head + octets[len(HEAD) :]
    assert blob.size == len(expected) and whole(spool, blob, 1000) == expected
    blob.behead(len(head) + 2, b"Z: z\r\n\r\n")
    expected = b"Z: z\r\n\r\n" + octets[len(HEAD) + 2 :]
    assert blob.size == len(expected) and whole(spool, blob) == expected
    for name in ("tmp", "new"):
        (tmp_path / name).mkdir()
    size = len(b"above") + blob.size
    name = deliver(
        Directories(), tmp_path, UniqueNames("host"), (b"above", *blob.chunks), blob.fd, size, blob.start
    )  # fmt: skip
    assert (tmp_path / "new" / name).read_bytes() == b"above" + expected
    blob.discard()


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 12), st.binary(max_size=8)), max_size=4), st.integers(1, 30))
def test_the_fake_does_the_same(changes: list[tuple[int, bytes]], piece: int) -> None:
    fake, real = MemorySpool().sink(), StoredBlob(len(SMALL), (SMALL,))
    now(fake.write(SMALL))
    blob = now(fake.finish())
    for octets, head in changes:
        for each in (blob, real):
            each.behead(min(octets, real.size), head)  # type: ignore[attr-defined]
    assert whole(FileSpool(Path("."), InlineWorkers()), real, piece) == blob.octets  # type: ignore[attr-defined]
