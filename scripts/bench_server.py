"""The server that is measured: `mailstack dev` as a process."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
DOMAIN = "bench.test"
START_LIMIT = 30.0
POLL = 0.002


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
                [*command, "--keep", "0", "--log", "none", "--ready-file", str(ready)],
                stdout=log,
                stderr=log,
                cwd=REPOSITORY,
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
