"""Measures this server on loopback: start-up, memory, durable deliveries by SMTP.

    scripts/bench                      everything, in about two minutes
    scripts/bench --only smtp --messages 2000
    scripts/bench --json result.json   also as JSON
    scripts/bench serve --peer-file F  a production server with user0001..user1000 for other harnesses

Beside each rate stands what the file system alone can do in the same run: compare the ratios, the
machine's own speed varies. Every delivery is looked for in the Maildirs; a lost one fails the run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent
REPOSITORY = SCRIPTS.parent
sys.path.insert(0, str(SCRIPTS))

import bench_disk  # noqa: E402

START_LIMIT = 30.0
POLL = 0.002
STARTS = 5
HEAD = 4096
"""Octets of a message in which its X-Bench-Id must stand."""


class Server:
    """`mailstack dev` on ports of the kernel's choice."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        ready = directory / "ready.json"
        ready.unlink(missing_ok=True)
        self.directory = directory
        command = [sys.executable, "-m", "mailstack", "dev", "--data", str(directory / "data"), "--ports", "0"]
        started = time.monotonic()
        with (directory / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--log", "none", "--ready-file", str(ready)], stdout=log, stderr=log, cwd=REPOSITORY
            )
        while not ready.exists():
            if self.process.poll() is not None or time.monotonic() - started > START_LIMIT:
                self.stop()
                raise SystemExit(f"the server did not start:\n{(directory / 'server.log').read_text()}")
            time.sleep(POLL)
        self.start_seconds = time.monotonic() - started
        self.ready = json.loads(ready.read_text())

    def port(self, service: str) -> int:
        return int(self.ready[service]["port"])

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> dict[str, float]:
        """MiB resident, and with shared pages divided among those who share them."""
        text = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        kib = dict(re.findall(r"^(Rss|Pss):\s+(\d+) kB", text, re.MULTILINE))
        return {"rss_mib": round(int(kib["Rss"]) / 1024, 1), "pss_mib": round(int(kib["Pss"]) / 1024, 1)}

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)


@contextlib.contextmanager
def server(directory: Path) -> Iterator[Server]:
    started = Server(directory)
    try:
        yield started
    finally:
        started.stop()


def start_up(root: Path) -> dict[str, object]:
    """Seconds from the start of the process to the ready file: first and median of five."""
    seconds = []
    memory: dict[str, float] = {}
    for _ in range(STARTS + 1):
        with server(root / "start") as one:
            seconds.append(one.start_seconds)
            memory = one.memory()
    return {"first_s": round(seconds[0], 3), "median_s": round(statistics.median(seconds[1:]), 3), **memory}


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


def load(one: Server, connections: int, options: argparse.Namespace) -> dict[str, object]:
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


def smtp(root: Path, options: argparse.Namespace) -> dict[str, object]:
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


def report(results: dict[str, dict[str, object]]) -> None:
    if "start" in results:
        start = results["start"]
        print(f"start-up      {start['median_s']} s (median of {STARTS} warm starts; the first {start['first_s']} s)")
        print(f"idle memory   {start['rss_mib']} MiB RSS, {start['pss_mib']} MiB PSS")
    if "smtp" in results:
        disk = results["smtp"]["disk_per_second"]
        assert isinstance(disk, dict)
        print(f"file system   {disk['1']} durable files/s with 1 thread, {disk['16']} with 16")
        runs = results["smtp"]["runs"]
        assert isinstance(runs, list)
        for run in runs:
            print(
                f"SMTP in       {run['per_second']:>5}/s over {run['connections']:>2} connections = "
                f"{run['of_disk']:.2f} of the file system; "
                f"server {run['server_us']} µs, client {run['client_us']} µs a message"
            )


def measure(options: argparse.Namespace) -> int:
    root = Path(tempfile.mkdtemp(prefix="mailstack-bench-", dir=options.directory))
    results: dict[str, dict[str, object]] = {}
    try:
        if options.only in (None, "start"):
            results["start"] = start_up(root)
        if options.only in (None, "smtp"):
            results["smtp"] = smtp(root, options)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    report(results)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")
    return 0


def main() -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--only", choices=["start", "smtp"])
    parser.add_argument("--messages", type=int, default=5000, help="a number of connections (default %(default)s)")
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--size", type=int, default=4096, help="octets of a message")
    parser.add_argument("--directory", type=Path, help="where the store is to be; on the disk to measure")
    parser.add_argument("--json", type=Path, metavar="FILE")
    commands = parser.add_subparsers(dest="command")
    serve = commands.add_parser("serve", help="start a production server for another harness, until SIGTERM")
    serve.add_argument("--peer-file", type=Path, required=True, help="JSON that tells the harness where everything is")
    serve.add_argument("--users", type=int, default=1000)
    serve.add_argument("--directory", type=Path)
    options = parser.parse_args()
    if options.command == "serve":
        import bench_serve

        return bench_serve.serve(options.peer_file, options.users, options.directory)
    return measure(options)


if __name__ == "__main__":
    sys.exit(main())
