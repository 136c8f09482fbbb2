"""A disk that the queue itself has filled: what was sent can be taken down, and makes room again."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from queue_world import MESSAGE, QueueWorld, envelope, result

from mailstack.errors import Problem, Refused
from mailstack.ports import Envelope
from mailstack.queue.content import RESERVE
from mailstack.queue.queue import NewReport, Settled


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """With RESERVE octets and a little more."""
    if os.getuid() != 0:
        pytest.skip("only root can mount a small file system")
    size = f"size={RESERVE + 1024 * 1024}"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "mailstack-test", tmp_path], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"mounting is not permitted here: {mounted.stderr.decode().strip()}")
    try:
        yield tmp_path
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_what_was_sent_is_taken_down_on_a_full_disk(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = QueueWorld(disk)
    blob, names = world.blob(MESSAGE * 500), []
    with pytest.raises(Refused) as refused:
        while len(names) < 500:
            names.append(result(world.queue.enqueue(envelope("bob@example.net"), b"", blob)))
    assert refused.value.problem is Problem.DISK_FULL and names
    assert {row.item.id for row in world.rows()} == set(names) == set(world.on_disk())
    with monkeypatch.context() as patched:
        patched.setattr(world.files, "remove", lambda name: None)  # files free nothing
        for row in world.rows():
            report = NewReport(Envelope(None, envelope("me@held.example").recipients), (b"failed\r\n",))
            result(world.queue.settle(Settled(row, None, reports=(report,))))
    assert {row.destination for row in world.rows()} == {"held.example"}
    world.close()
    world = QueueWorld(disk)
    assert len(world.on_disk()) == len(names), "the reports"
    world.send("bob@example.net")
    world.close()


def test_new_messages_leave_room_for_the_end_of_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = QueueWorld(tmp_path)
    world.send("bob@example.net")
    left = SimpleNamespace(f_bavail=RESERVE // 4096 - 1, f_frsize=4096, f_flag=0)
    monkeypatch.setattr(os, "fstatvfs", lambda fd: left)
    with pytest.raises(Refused) as refused:
        world.send("eve@example.net")
    assert refused.value.problem is Problem.DISK_FULL
    assert len(world.on_disk()) == 1 and not list((tmp_path / "queue" / "tmp").iterdir())
    (row,) = world.rows()
    report = NewReport(Envelope(None, envelope("me@example.org").recipients), (b"failed\r\n",))
    result(world.queue.settle(Settled(row, None, reports=(report,))))
    assert [each.destination for each in world.rows()] == ["example.org"]
    left.f_bavail = RESERVE // 4096 + 10
    world.send("eve@example.net")
    world.close()
