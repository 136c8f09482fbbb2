"""Which processes serve a data directory: each has a file in its `run`, as the ready file is, while it runs."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RUN = "run"
"""In the data directory."""
_CLOCK_SLACK = 5.0


@dataclass(frozen=True, slots=True)
class Process:
    """`services` maps a service to its host and port; `started` is in seconds since the epoch."""

    pid: int
    started: float
    services: dict[str, tuple[str, int]]


def file_of(data: Path, pid: int) -> Path:
    """Where a process says that it runs."""
    return data / RUN / f"{pid}.json"


def running(data: Path) -> list[Process]:
    """Those that are alive. Raises: OSError, when the directory cannot be read."""
    try:
        paths = sorted((data / RUN).iterdir())
    except FileNotFoundError:
        return []
    found = [_read(path) for path in paths if path.suffix == ".json"]
    return [process for process in found if process is not None and _is_alive(process)]


def sweep(data: Path) -> None:
    """Make the directory, and remove the files of those that were killed. Raises: OSError."""
    (data / RUN).mkdir(mode=0o700, exist_ok=True)
    alive = {file_of(data, process.pid) for process in running(data)}
    for path in (data / RUN).iterdir():
        if path not in alive:
            path.unlink(missing_ok=True)


def _read(path: Path) -> Process | None:
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError, AttributeError):  # gone, or half of something
        document: dict[str, Any] = json.loads(path.read_text())
        services = {
            name: (str(each["host"]), int(each["port"])) for name, each in document.items() if isinstance(each, dict)
        }
        return Process(int(document["pid"]), float(document.get("started", 0.0)), services)
    return None


def _is_alive(process: Process) -> bool:
    """Whether there is a process of this number that is not younger than the file says: numbers are used again."""
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # somebody else's
    began = _began(process.pid)
    return began is None or began <= process.started + _CLOCK_SLACK


def _began(pid: int) -> float | None:
    """When it began, in seconds since the epoch, if /proc says so."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            ticks = int(file.read().rpartition(")")[2].split()[19])
        with open("/proc/stat", encoding="ascii") as file:
            booted = next(int(line.split()[1]) for line in file if line.startswith("btime "))
    except (OSError, ValueError, LookupError, StopIteration):
        return None
    return booted + ticks / os.sysconf("SC_CLK_TCK")
