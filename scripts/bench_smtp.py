"""Durable deliveries by SMTP, beside what the file system alone can do in the same run. Every message
is looked for in the Maildirs."""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bench_disk
from bench_server import Server, server

SCRIPTS = Path(__file__).resolve().parent
HEAD = 4096
"""Octets of a message in which its X-Bench-Id must stand."""


def delivered(data: Path, run: str) -> list[str]:
    """The X-Bench-Id of every message of this run in the Maildirs."""
    pattern = re.compile(rb"^X-Bench-Id: (" + run.encode() + rb"-\d+)\r?$", re.MULTILINE)
    found = []
    for path in data.rglob("*"):
        if path.parent.name in ("new", "cur") and path.is_file():
            with path.open("rb") as file:
                if match := pattern.search(file.read(HEAD)):
                    found.append(match[1].decode())
    return found


def load(one: Server, connections: int, options: argparse.Namespace) -> dict[str, Any]:
    """Deliveries over so many connections; raises SystemExit when one is refused or lost."""
    run = f"c{connections}"
    arguments = {
        "port": one.port("smtp"),
        "connections": connections,
        "messages": options.messages,
        "users": options.users,
        "size": options.size,
        "run": run,
    }
    command = [sys.executable, str(SCRIPTS / "bench_load.py")]
    before = one.cpu_seconds()
    result = subprocess.run(
        [*command, *(str(word) for key, value in arguments.items() for word in (f"--{key}", value))],
        stdout=subprocess.PIPE,
        check=False,
    )
    if result.returncode:
        raise SystemExit("the load generator failed (see above)")
    numbers = json.loads(result.stdout)
    cpu = one.cpu_seconds() - before
    found = delivered(Path(one.ready["data"]), run)
    expected = {f"{run}-{i}" for i in range(options.messages)}
    if set(found) != expected or len(found) != len(expected):
        raise SystemExit(f"{len(expected)} accepted, {len(found)} found, {len(expected - set(found))} lost")
    count = options.messages
    return {
        "connections": connections,
        "per_second": round(count / numbers["seconds"]),
        "server_us": round(cpu / count * 1e6),
        "client_us": round(numbers["client_cpu"] / count * 1e6),
    }


def measure(root: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Deliveries with 1, 10 and 50 connections, and the file system's own limit before and after."""
    limits: dict[int, list[float]] = {1: [], 16: []}

    def measure_disk(when: str) -> None:
        for threads, rates in limits.items():
            rates.append(bench_disk.rate(root / f"disk-{when}-{threads}", threads, options.messages, options.users))

    measure_disk("before")
    with server(root / "smtp") as one:
        runs = [load(one, connections, options) for connections in (1, 10, 50)]
        memory = one.memory()
    measure_disk("after")
    disk = {threads: statistics.mean(rates) for threads, rates in limits.items()}
    for run in runs:
        threads = 1 if run["connections"] == 1 else 16
        run["of_disk"] = round(float(str(run["per_second"])) / disk[threads], 2)
    return {"disk_per_second": {str(t): round(r) for t, r in disk.items()}, "runs": runs, "after": memory}


def report(found: dict[str, Any]) -> Iterator[str]:
    disk = found["disk_per_second"]
    yield f"file system   {disk['1']} durable files/s with 1 thread, {disk['16']} with 16"
    for run in found["runs"]:
        yield (
            f"SMTP in       {run['per_second']:>5}/s over {run['connections']:>2} connections = "
            f"{run['of_disk']:.2f} of the file system; "
            f"server {run['server_us']} µs, client {run['client_us']} µs a message"
        )
