"""Which processes are believed to run."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from mailstack.app.processes import Process, file_of, running, sweep
from mailstack.app.readiness import Ready


def told(data: Path, pid: int, started: float) -> Path:
    """A process says that it runs."""
    path = file_of(data, pid)
    path.parent.mkdir(parents=True, exist_ok=True)
    Ready({"smtp": ("127.0.0.1", 25)}, pid, data, None, started).write(path)
    return path


def test_a_process_that_is_there(tmp_path: Path) -> None:
    assert running(tmp_path) == []
    now = time.time()
    told(tmp_path, os.getpid(), now)
    assert running(tmp_path) == [Process(os.getpid(), now, {"smtp": ("127.0.0.1", 25)})]


def test_its_number_is_that_of_another_one_now(tmp_path: Path) -> None:
    path = told(tmp_path, os.getpid(), time.time() - 10 * 365 * 86400)
    assert running(tmp_path) == []
    sweep(tmp_path)
    assert not path.exists()


def test_it_was_killed(tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    told(tmp_path, pid, time.time())
    kept = told(tmp_path, os.getpid(), time.time())
    assert [process.pid for process in running(tmp_path)] == [os.getpid()]
    sweep(tmp_path)
    assert list((tmp_path / "run").iterdir()) == [kept]


@pytest.mark.parametrize("content", ["", "[]", "{}", json.dumps({"pid": "x"}), json.dumps({"pid": 1, "smtp": {}})])
def test_a_file_that_is_something_else(tmp_path: Path, content: str) -> None:
    sweep(tmp_path)
    (tmp_path / "run" / "1.json").write_text(content)
    assert running(tmp_path) == []
