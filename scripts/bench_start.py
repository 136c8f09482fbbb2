"""Start-up, and what the server weighs when it has nothing to do."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench_server import server

STARTS = 5


def measure(root: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds from the start of the process to the ready file: the first, and the median of the others."""
    seconds = []
    memory: dict[str, float] = {}
    for _ in range(STARTS + 1):
        with server(root / "start") as one:
            seconds.append(one.start_seconds)
            memory = one.memory()
    return {"first_s": round(seconds[0], 3), "median_s": round(statistics.median(seconds[1:]), 3), **memory}


def report(found: dict[str, Any]) -> Iterator[str]:
    yield f"start-up      {found['median_s']} s (median of {STARTS} warm starts; the first {found['first_s']} s)"
    yield f"idle memory   {found['rss_mib']} MiB RSS, {found['pss_mib']} MiB PSS"
