"""POP3: a whole maildrop, retrieved."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench_client import Client, data_of, expect
from bench_mailbox import build
from bench_server import DOMAIN, server

PIPELINED = 20


def measure(root: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Messages and octets a second with one RETR at a time, and with several."""
    count = options.mailbox
    octets = build(data_of(root / "pop3"), "maildrop", count)
    with server(root / "pop3") as one:
        found: dict[str, Any] = {"messages": count}
        for at_once in (1, PIPELINED):
            client = Client(one, "pop3")
            started = time.perf_counter()
            for command in (f"USER maildrop@{DOMAIN}", "PASS x"):
                client.sock.sendall(f"{command}\r\n".encode())
                expect(client.line()[:3], b"+OK", command)
            opened = time.perf_counter()
            expect(retrieve(client, count, at_once), octets, "octets of all messages")
            seconds = time.perf_counter() - opened
            client.close()
            found[f"retr_{at_once}"] = {
                "open_ms": round((opened - started) * 1000, 1),
                "per_second": round(count / seconds),
                "mib_per_second": round(octets / seconds / 2**20, 1),
            }
        return found


def retrieve(client: Client, count: int, at_once: int) -> int:
    """RETR of all; their octets. No line of these messages begins with a dot."""
    octets = 0
    for first in range(1, count + 1, at_once):
        numbers = range(first, min(first + at_once, count + 1))
        client.sock.sendall(b"".join(b"RETR %d\r\n" % number for number in numbers))
        answered, pieces = 0, b""
        while answered < len(numbers):
            pieces += client.sock.recv(1 << 20)
            answered = pieces.count(b"\r\n.\r\n")
        octets += sum(len(message.partition(b"\r\n")[2]) + 2 for message in pieces.split(b"\r\n.\r\n")[:-1])
    return octets


def report(found: dict[str, Any]) -> Iterator[str]:
    for at_once in (1, PIPELINED):
        run = found[f"retr_{at_once}"]
        yield (
            f"POP3 RETR     {run['per_second']:>5}/s, {run['mib_per_second']} MiB/s, {at_once} at a time; "
            f"opened in {run['open_ms']} ms"
        )
