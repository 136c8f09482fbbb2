"""The dotlock of a file: who waits for whom, and whose lock is broken."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from mailstack.errors import Problem, Refused
from mailstack.store.maildir import locks
from mailstack.store.maildir.locks import STALE_AFTER, Mark

HERE = socket.gethostname()
LONG_AGO = STALE_AFTER + 10
marks: list[Mark] = []
"""What locks are made of in this test: none, or one."""


@pytest.fixture(params=["made", "linked"], autouse=True)
def mark(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    marks[:] = [] if request.param == "made" else [Mark(tmp_path)]
    yield
    for one in marks:
        one.close()
    assert not list(tmp_path.glob("mailstack-*"))


def dotlock(path: Path) -> AbstractContextManager[None]:
    return locks.dotlock(path, *marks)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "dovecot-uidlist"
    file.write_bytes(b"")
    age(file, LONG_AGO)
    return file


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "PATIENCE", 0.02)


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def lock_of(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def left_behind(path: Path, text: str, seconds: float) -> Path:
    lock = lock_of(path)
    lock.write_text(text)
    age(lock, seconds)
    return lock


def dead_pid() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return process.pid


def test_says_who_has_it_and_is_gone_afterwards(path: Path) -> None:
    with dotlock(path):
        assert lock_of(path).read_text() == f"{os.getpid()}:{HERE}"
    assert not lock_of(path).exists()


def test_is_given_back_after_an_error(path: Path) -> None:
    with pytest.raises(ZeroDivisionError), dotlock(path):
        raise ZeroDivisionError
    assert not lock_of(path).exists()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (f"{dead_pid()}:{HERE}", 0),
        (f"{dead_pid()}:{HERE}\n", 0),
        (f"{2**40}:{HERE}", 0),
        ("1:another.example", LONG_AGO),
        ("", 3),
        ("\0\0\0\0", 3),
        ("nonsense", LONG_AGO),
        (f"{HERE}", LONG_AGO),
        (f"-1:{HERE}", LONG_AGO),
        (f"0:{HERE}", LONG_AGO),
    ],
    ids=["dead", "dead, LF", "impossible", "other host, old", "empty", "NUL", "nonsense", "no pid", "negative", "zero"],
)
def test_a_stale_lock_is_taken(path: Path, impatient: None, text: str, seconds: float) -> None:
    left_behind(path, text, seconds)
    with dotlock(path):
        assert lock_of(path).read_text() == f"{os.getpid()}:{HERE}"
    assert not lock_of(path).exists()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (f"{os.getpid()}:{HERE}", 0),
        ("1:another.example", STALE_AFTER - 10),
        ("", 0),
        ("nonsense", 0),
    ],
    ids=["our own", "other host, young", "empty", "nonsense"],
)
def test_a_lock_that_may_be_held_is_not_taken(path: Path, impatient: None, text: str, seconds: float) -> None:
    lock = left_behind(path, text, seconds)
    with pytest.raises(Refused) as info, dotlock(path):
        pass
    assert info.value.problem is Problem.STORE_UNAVAILABLE
    assert lock.read_text() == text


def test_a_process_that_lives_keeps_its_lock_for_as_long_as_it_likes(
    path: Path, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_behind(path, f"{os.getppid()}:{HERE}", 0)
    monkeypatch.setattr(locks, "STALE_AFTER", -1.0)
    with pytest.raises(Refused), dotlock(path):
        pass


def test_a_number_that_was_given_again_is_another_process(path: Path, impatient: None) -> None:
    left_behind(path, f"{os.getpid()}:{HERE}", 10 * 365 * 86400)
    with dotlock(path):
        assert lock_of(path).stat().st_mtime > time.time() - 60


def test_our_number_in_a_lock_from_before_our_start_is_another_process(path: Path, impatient: None) -> None:
    """A container that was killed and started again has the same numbers and the same host."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    lived = float(Path("/proc/uptime").read_text().split()[0]) - ticks / os.sysconf("SC_CLK_TCK")
    left_behind(path, f"{os.getpid()}:{HERE}", lived - 1)
    with pytest.raises(Refused), dotlock(path):
        pass
    left_behind(path, f"{os.getpid()}:{HERE}", lived + 1)
    with dotlock(path):
        assert lock_of(path).stat().st_mtime > time.time() - 60


def test_who_writes_a_lock_too_late_does_not_have_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marks.clear()
    real = locks.write_all

    def late(fd: int, data: bytes) -> None:
        monkeypatch.setattr(locks, "write_all", real)
        age(lock_of(path), 3)
        with dotlock(path):  # another process, meanwhile
            real(fd, data)
            assert lock_of(path).read_bytes() == data

    monkeypatch.setattr(locks, "write_all", late)
    with dotlock(path):
        assert lock_of(path).exists()
    assert not lock_of(path).exists()


def test_a_foreign_lock_lives_while_the_file_changes(path: Path, impatient: None) -> None:
    left_behind(path, "1:another.example", LONG_AGO)
    age(path, 1)
    with pytest.raises(Refused), dotlock(path):
        pass


def test_a_lock_that_was_stolen_is_left_to_the_thief(path: Path) -> None:
    lock = lock_of(path)
    with dotlock(path):
        lock.unlink()
        lock.write_text("4711:thief.example")
    assert lock.read_text() == "4711:thief.example"


def test_a_lock_that_was_removed_is_no_error(path: Path) -> None:
    with dotlock(path):
        lock_of(path).unlink()
    assert not lock_of(path).exists()


def test_a_directory_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), dotlock(tmp_path / "gone" / "dovecot-uidlist"):
        pass


def test_the_slower_of_two_breakers_leaves_the_quicker_ones_lock(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = left_behind(path, f"{dead_pid()}:{HERE}", 5)
    judge = locks.stale

    def judged_and_overtaken(candidate: Path, protected: Path) -> bool:
        stale = judge(candidate, protected)
        candidate.unlink()
        candidate.write_text(f"1:{HERE}")
        return stale

    monkeypatch.setattr(locks, "stale", judged_and_overtaken)
    assert locks._remove_if_stale(lock, path)
    assert lock.read_text() == f"1:{HERE}"


def test_only_one_at_a_time(path: Path) -> None:
    left_behind(path, f"{dead_pid()}:{HERE}", 5)  # all of them find it stale at first
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        for _ in range(20):
            with dotlock(path):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0)
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    assert len(most) == 80


def test_a_lock_of_the_mark_makes_no_inode_and_is_never_empty(path: Path, tmp_path: Path) -> None:
    mark = Mark(tmp_path)
    with locks.dotlock(path, mark):
        first = lock_of(path).stat()
        assert first.st_nlink == 2 and lock_of(path).read_text() == f"{os.getpid()}:{HERE}"
    with locks.dotlock(path, mark):
        assert lock_of(path).stat().st_ino == first.st_ino
    mark.close()


def test_a_mark_that_somebody_removed_is_made_again_and_its_lock_given_back(path: Path, tmp_path: Path) -> None:
    mark = Mark(tmp_path)
    with locks.dotlock(path, mark):
        (left,) = tmp_path.glob("mailstack-*.lock")
        left.unlink()
        with locks.dotlock(tmp_path / "another", mark):
            assert (tmp_path / "another.lock").read_text() == f"{os.getpid()}:{HERE}"
        assert not (tmp_path / "another.lock").exists()
    assert not lock_of(path).exists()
    mark.close()


def test_marks_of_processes_that_are_dead_are_removed(tmp_path: Path) -> None:
    for name, text in (("1", f"{dead_pid()}:{HERE}"), ("2", f"{os.getppid()}:{HERE}"), ("3", "1:another.example")):
        (tmp_path / f"mailstack-{name}-01234567.lock").write_text(text)
    mark = Mark(tmp_path)
    with locks.dotlock(tmp_path / "dovecot-uidlist", mark):
        kept = sorted(path.name[10] for path in tmp_path.glob("mailstack-?-*"))
    assert kept == ["2", "3"]
    mark.close()
    for path in tmp_path.glob("mailstack-*"):
        path.unlink()


def test_without_links_the_lock_is_a_file_of_its_own(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EXDEV, "another device")

    mark = Mark(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", refused)
        with locks.dotlock(path, mark):
            assert lock_of(path).stat().st_nlink == 1
            assert lock_of(path).read_text() == f"{os.getpid()}:{HERE}"
    assert not lock_of(path).exists()
    mark.close()


def test_the_lock_of_another_hosts_mark_is_as_old_as_the_link(path: Path, tmp_path: Path, impatient: None) -> None:
    """The mark was made when its process began."""
    other = tmp_path / "mark"
    other.write_text("1:another.example")
    age(other, LONG_AGO)
    os.link(other, lock_of(path))
    with pytest.raises(Refused), dotlock(path):
        pass
    assert lock_of(path).read_text() == "1:another.example"


def test_a_mark_that_cannot_be_written_leaves_nothing(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    marks.clear()
    monkeypatch.setattr(locks, "write_all", full)
    with pytest.raises(OSError), locks.dotlock(path, Mark(tmp_path)):
        pass
    assert not list(tmp_path.glob("*.lock"))
