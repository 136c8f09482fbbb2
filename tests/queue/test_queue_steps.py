"""Every step of taking a message into the queue, of settling it, and of making the database anew: in which order they
come, and what a failure or a crash at each of them leaves behind."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest
from queue_steps import Crash, Steps
from queue_world import MESSAGE, QueueWorld, envelope, result

from mailstack.errors import Problem, Refused
from mailstack.ports import MEMORY_LIMIT, Envelope
from mailstack.queue.content import Slice
from mailstack.queue.database import DATABASE
from mailstack.queue.queue import NewReport, Settled
from mailstack.store.spool import StoredBlob

LARGE = b"Subject: x\r\n\r\n" + b"0123456789abcde\n" * (MEMORY_LIMIT // 16 + 100)
FILE = ["open tmp/*", "write tmp/*", "fsync tmp/*", "rename tmp/* *.msg"]
ENQUEUE = [*FILE, "fsync the directory", "commit"]
ENQUEUE_LARGE = [*FILE[:2], "sendfile tmp/*", *ENQUEUE[2:]]
SETTLE = [*FILE, "fsync the directory", "commit", "unlink *.msg"]
"""With a report: its file is whole before it has a name, its name durable before the row, and row and the end of the
other one are one commit."""
FAILURES = [OSError(errno.ENOSPC, "full"), OSError(errno.EIO, "broken")]
OF_DATABASE = [apsw.FullError("full"), apsw.IOError("broken")]
FAILED_ENQUEUES = [
    pytest.param(number, error, id=f"{step} {error!r}")
    for number, step in enumerate(ENQUEUE_LARGE)
    for error in (OF_DATABASE if step == "commit" else FAILURES)
]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[[], QueueWorld]]:
    """A process, and after a crash another one."""
    made: list[QueueWorld] = []

    def world() -> QueueWorld:
        while made:
            made.pop().close()
        made.append(QueueWorld(tmp_path))
        return made[-1]

    yield world
    while made:
        made.pop().close()


def steps(world: QueueWorld, at: int = -1, error: BaseException | None = None) -> Steps:
    return Steps(world.directory / "queue", at, error)


def enqueue(world: QueueWorld, blob: StoredBlob) -> str:
    name: str = result(world.queue.enqueue(envelope("bob@example.net"), b"Received: x\r\n", blob))
    return name


def settle(world: QueueWorld) -> None:
    """One recipient is refused, and the sender hears of it, with the whole message."""
    (row,) = [row for row in world.rows() if row.destination == "example.net"]
    parts = (b"Subject: failed\r\n\r\n", Slice(row.item.id, row.item.offset, row.item.size), b"--\r\n")
    report = NewReport(Envelope(None, (row.item.envelope.sender,)), parts)  # type: ignore[arg-type]
    result(world.queue.settle(Settled(row, None, reports=(report,))))


def waiting(world: QueueWorld) -> list[str]:
    return sorted(row.destination for row in world.rows())


def content(world: QueueWorld) -> list[bytes]:
    return [result(world.queue.read(row.item, 0, row.item.size)) for row in world.rows()]


def left(world: QueueWorld) -> set[str]:
    """Files of messages, and what is half written."""
    place = world.directory / "queue"
    return {path.name for path in (*place.glob("*.msg"), *(place / "tmp").iterdir())}


@pytest.mark.parametrize(("octets", "expected"), [(MESSAGE, ENQUEUE), (LARGE, ENQUEUE_LARGE)], ids=["small", "large"])
def test_the_order_of_the_steps(
    make: Callable[[], QueueWorld], monkeypatch: pytest.MonkeyPatch, octets: bytes, expected: list[str]
) -> None:
    world = make()
    blob, seen = world.blob(octets), steps(world)
    seen.install(monkeypatch)
    enqueue(world, blob)
    assert seen.done == expected
    seen.done.clear()
    settle(world)
    assert [step for step in seen.done if step != "write tmp/*"] == [step for step in SETTLE if step != "write tmp/*"]
    seen.done.clear()
    (row,) = world.rows()
    result(world.queue.settle(Settled(row, None)))
    assert seen.done == ["commit", "unlink *.msg"], "without a report no name is new"


def test_the_directory_itself_is_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Steps(tmp_path)
    seen.install(monkeypatch)
    world = QueueWorld(tmp_path)
    world.close()
    assert seen.done[0] == "fsync the directory"


@pytest.mark.parametrize(("step", "error"), FAILED_ENQUEUES)
def test_a_failure_of_enqueue_leaves_nothing(
    make: Callable[[], QueueWorld], monkeypatch: pytest.MonkeyPatch, step: int, error: Exception
) -> None:
    world = make()
    blob, failing = world.blob(LARGE), steps(world, step, error)
    with monkeypatch.context() as patched:
        failing.install(patched)
        with pytest.raises(Refused) as caught:
            enqueue(world, blob)
    assert failing.done[step] == ENQUEUE_LARGE[step]
    full = "full" in str(error)
    assert caught.value.problem is (Problem.DISK_FULL if full else Problem.QUEUE_UNAVAILABLE)
    assert (waiting(world), left(world)) == ([], set())
    enqueue(world, blob)
    assert content(world) == [b"Received: x\r\n" + LARGE]


@pytest.mark.parametrize("step", range(len(ENQUEUE_LARGE)))
def test_a_crash_of_enqueue_leaves_all_or_nothing(
    make: Callable[[], QueueWorld], monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    world = make()
    blob = world.blob(LARGE)
    with monkeypatch.context() as patched:
        steps(world, step, Crash()).install(patched)
        with pytest.raises(Crash):
            enqueue(world, blob)
    world = make()
    assert (waiting(world), left(world)) == ([], set()), "it was not acknowledged"
    enqueue(world, blob)
    world = make()
    assert content(world) == [b"Received: x\r\n" + LARGE]


@pytest.mark.parametrize("error", [*FAILURES, *OF_DATABASE], ids=repr)
@pytest.mark.parametrize("step", range(8))
def test_a_failure_of_settling_changes_nothing(
    make: Callable[[], QueueWorld], monkeypatch: pytest.MonkeyPatch, step: int, error: Exception
) -> None:
    world = make()
    name, failing = enqueue(world, world.blob()), steps(world, step, error)
    with monkeypatch.context() as patched:
        failing.install(patched)
        try:
            settle(world)
        except (OSError, apsw.Error):
            assert "unlink" not in failing.done[step]
            assert (waiting(world), left(world)) == (["example.net"], {f"{name}.msg"})
            failing.fail_at = -1
            settle(world)
    assert waiting(world) == ["example.org"]
    assert content(world) == [b"Subject: failed\r\n\r\nReceived: x\r\n" + MESSAGE + b"--\r\n"]
    world = make()
    assert len(left(world)) == 1


@pytest.mark.parametrize("step", range(9))
def test_a_crash_of_settling_neither_loses_the_report_nor_doubles_it(
    make: Callable[[], QueueWorld], monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    world = make()
    enqueue(world, world.blob())
    crashing = steps(world, step, Crash())
    with monkeypatch.context() as patched:
        crashing.install(patched)
        try:
            settle(world)
        except Crash:
            assert "unlink" not in crashing.done[-1]
    world = make()
    assert waiting(world) in (["example.net"], ["example.org"]), "one of the two, and never both"
    assert (waiting(world) == ["example.org"]) == (crashing.done[-1] == "unlink *.msg" or not crashing.dead)
    assert len(left(world)) == 1
    if waiting(world) == ["example.net"]:
        settle(world)
    assert content(world) == [b"Subject: failed\r\n\r\nReceived: x\r\n" + MESSAGE + b"--\r\n"]


def test_several_reports_are_written_all_or_none(
    make: Callable[[], QueueWorld], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make()
    enqueue(world, world.blob())
    (row,) = world.rows()
    reports = tuple(NewReport(envelope(f"{name}@example.org"), (b"x",)) for name in "ab")
    failing = steps(world, 4, OSError(errno.ENOSPC, "full"))
    with monkeypatch.context() as patched:
        failing.install(patched)
        with pytest.raises(OSError, match="full"):
            result(world.queue.settle(Settled(row, None, reports=reports)))
    assert failing.done.count("open tmp/*") == 2, "it was the second that failed"
    assert left(world) == {f"{row.item.id}.msg"}


# --- the database is lost


@pytest.mark.parametrize("step", range(4))
def test_a_crash_while_the_database_is_made_anew_loses_nothing(
    make: Callable[[], QueueWorld], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    before = QueueWorld(tmp_path)
    names = {before.send(f"user{number}@example.net") for number in range(3)}
    before.close()
    for path in (tmp_path / "queue").glob(f"{DATABASE}*"):
        path.unlink()
    (tmp_path / "queue" / "0.msg").write_bytes(b"nothing of ours")
    crashed = 0
    with monkeypatch.context() as patched:
        Steps(tmp_path / "queue", step, Crash()).install(patched)
        try:
            QueueWorld(tmp_path).close()
        except Crash:
            crashed = 1
    assert crashed == (step < 3), "a file is set aside, the directory synced, a commit"
    world = make()
    assert {row.item.id for row in world.rows()} == names == set(world.on_disk())
    assert (tmp_path / "queue" / "0.damaged").read_bytes() == b"nothing of ours"
    world = make()
    assert len(world.rows()) == 3 and os.path.exists(tmp_path / "queue" / "0.damaged")
