"""A message whose header was replaced is queued as it is then."""

from __future__ import annotations

from pathlib import Path

import pytest
from queue_world import QueueWorld, envelope, result

from mailstack.ports import MEMORY_LIMIT

HEAD = b"Subject: x\r\n"


@pytest.mark.parametrize("octets", [HEAD + b"\r\nbody\r\n", HEAD + b"\r\n" + b"0123456789abcde\r\n" * 9000])
def test_a_replaced_header(tmp_path: Path, octets: bytes) -> None:
    world = QueueWorld(tmp_path)
    blob = world.blob(octets)
    assert (blob.fd >= 0) is (len(octets) > MEMORY_LIMIT)
    blob.behead(len(HEAD), b"X: longer than it was\r\n")
    result(world.queue.enqueue(envelope("a@example.net"), b"Received: x\r\n", blob))
    [path] = (tmp_path / "queue").glob("*.msg")
    assert path.read_bytes().endswith(b"\r\nReceived: x\r\nX: longer than it was\r\n" + octets[len(HEAD) :])
    blob.discard()
    world.close()
