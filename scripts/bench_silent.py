"""Clients that connect to SMTP and say nothing: what each costs, and what an honest client among them notices."""

from __future__ import annotations

import argparse
import resource
import socket
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench_client import Client, expect
from bench_server import DOMAIN, Server, server

CONNECTIONS = 9_900
"""Of the 10,000 that the development mode takes."""
DELIVERIES = 200
WATCHED = 2.0
"""Seconds for which the server is watched while nobody says anything."""


def measure(root: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds for a message on a connection of its own, before and among the silent ones."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    count = min(CONNECTIONS, most - 100) if most != resource.RLIM_INFINITY else CONNECTIONS
    with server(root / "silent") as one:
        alone = [deliver(one) for _ in range(DELIVERIES)]
        before = one.memory()
        silent = [connect(one) for _ in range(count)]
        after = one.memory()
        cpu = one.cpu_seconds()
        time.sleep(WATCHED)
        idle = one.cpu_seconds() - cpu
        among = [deliver(one) for _ in range(DELIVERIES)]
        for sock in silent:
            sock.close()
    return {
        "connections": count,
        "kib_each": round((after["pss_mib"] - before["pss_mib"]) * 1024 / count, 1),
        "idle_cpu_percent": round(100 * idle / WATCHED, 1),
        "alone_ms": round(statistics.median(alone) * 1000, 2),
        "among_ms": round(statistics.median(among) * 1000, 2),
        "among_worst_ms": round(max(among) * 1000, 2),
    }


def connect(one: Server) -> socket.socket:
    """A connection that has been greeted, and says nothing."""
    sock = socket.create_connection(("127.0.0.1", one.port("smtp")))
    expect(sock.recv(200)[:4], b"220 ", "the greeting")
    return sock


def deliver(one: Server) -> float:
    """Seconds for a connection with one message."""
    started = time.perf_counter()
    client = Client(one, "smtp")
    for said, code in (
        (b"EHLO client.example", b"250"),
        (b"MAIL FROM:<a@example.net>", b"250"),
        (f"RCPT TO:<silent@{DOMAIN}>".encode(), b"250"),
        (b"DATA", b"354"),
        (b"Subject: x\r\n\r\nHello.\r\n.", b"250"),
    ):
        client.sock.sendall(said + b"\r\n")
        expect(client.until(code + b" ")[:3], code, said.decode())
    client.close()
    return time.perf_counter() - started


def report(found: dict[str, Any]) -> Iterator[str]:
    yield (
        f"silent SMTP   {found['kib_each']} KiB each of {found['connections']}, {found['idle_cpu_percent']} % CPU; "
        f"a message takes {found['among_ms']} ms among them (worst {found['among_worst_ms']} ms), "
        f"{found['alone_ms']} ms alone"
    )
