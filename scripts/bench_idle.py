"""From the 250 to the EXISTS at a client that idles."""

from __future__ import annotations

import argparse
import select
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench_client import SILENCE, Client, Imap, expect
from bench_server import DOMAIN, server

DELIVERIES = 500
USER = "idle"


def measure(root: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds. An EXISTS that comes before the 250 counts as 0."""
    with server(root / "idle") as one:
        watcher = Imap(one, USER)
        watcher.command(b"SELECT INBOX")
        watcher.sock.sendall(b"i IDLE\r\n")
        expect(watcher.line()[:1], b"+", "IDLE")
        sender = Client(one, "smtp")
        sender.sock.sendall(b"EHLO client.example\r\n")
        sender.until(b"250 ")
        waits = [deliver(sender, watcher, number) for number in range(1, DELIVERIES + 1)]
        sender.close()
        watcher.close()
    after_250 = sorted(exists - accepted for accepted, exists in waits)
    return {
        "deliveries": DELIVERIES,
        "accepted_ms": quantiles([accepted for accepted, _ in waits]),
        "exists_after_250_ms": quantiles([max(0.0, wait) for wait in after_250]),
    }


def deliver(sender: Client, watcher: Client, number: int) -> tuple[float, float]:
    """Seconds from the end of the mail data to the 250, and to the EXISTS."""
    for command, code in ((b"MAIL FROM:<a@example.net>", b"250"), (f"RCPT TO:<{USER}@{DOMAIN}>".encode(), b"250")):
        sender.sock.sendall(command + b"\r\n")
        expect(sender.line()[:3], code, command.decode())
    sender.sock.sendall(b"DATA\r\n")
    expect(sender.line()[:3], b"354", "DATA")
    sender.sock.sendall(b"Subject: %d\r\n\r\nHello.\r\n.\r\n" % number)
    started = time.perf_counter()
    came: dict[Client, float] = {}
    waiting = {sender.sock: sender, watcher.sock: watcher}
    while waiting:
        ready, _, _ = select.select(list(waiting), [], [], SILENCE)
        expect(bool(ready), True, "an EXISTS for each message")
        for sock in ready:
            came[waiting.pop(sock)] = time.perf_counter() - started
    expect(sender.line()[:3], b"250", "the end of data")
    while (line := watcher.line()) != b"* %d EXISTS\r\n" % number:
        expect(line.endswith((b" EXISTS\r\n", b" RECENT\r\n")) or line.startswith(b"* OK"), True, repr(line))
    return came[sender], came[watcher]


def quantiles(seconds: list[float]) -> dict[str, float]:
    hundredths = statistics.quantiles(seconds, n=100)
    return {"median": round(statistics.median(seconds) * 1000, 2), "p99": round(hundredths[98] * 1000, 2)}


def report(found: dict[str, Any]) -> Iterator[str]:
    exists, accepted = found["exists_after_250_ms"], found["accepted_ms"]
    yield f"250 to EXISTS {exists['median']} ms median, {exists['p99']} ms p99, at a client that idles"
    yield f"data to 250   {accepted['median']} ms median, {accepted['p99']} ms p99, on one connection"
