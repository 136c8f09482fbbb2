"""IMAP: a large mailbox that was never opened before, commands that cost nothing, and APPEND."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench_client import Imap, data_of, expect
from bench_mailbox import build
from bench_server import Server, server

NOOPS = 20_000
PIPELINED = 100
APPENDS = 1000
QUERIES = {
    "FETCH (UID FLAGS)": b"FETCH 1:* (UID FLAGS)",
    "FETCH ENVELOPE": b"FETCH 1:* ENVELOPE",
    "FETCH header fields": b"FETCH 1:* (UID BODY.PEEK[HEADER.FIELDS (FROM SUBJECT DATE)])",
}


def measure(root: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds for the whole mailbox, first and again; commands and messages a second."""
    build(data_of(root / "imap"), "large", options.mailbox)
    with server(root / "imap") as one:
        return {
            "messages": options.mailbox,
            "first_and_again_ms": large_mailbox(one, options.mailbox),
            "noop_per_second": noop(one),
            "append_per_second": append(one, options.size),
            **one.memory(),
        }


def large_mailbox(one: Server, count: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for _ in range(2):
        client = Imap(one, "large")
        seconds, answer = client.timed(b"SELECT INBOX")
        expect(b"* %d EXISTS" % count in answer, True, "SELECT of the mailbox")
        found.setdefault("SELECT", []).append(round(seconds * 1000, 1))
        client.close()
    client = Imap(one, "large")
    client.command(b"SELECT INBOX")
    for name, query in QUERIES.items():
        for _ in range(2):
            seconds, answer = client.timed(query)
            expect(answer.count(b" FETCH ("), count, name)
            found.setdefault(name, []).append(round(seconds * 1000, 1))
    client.close()
    return found


def noop(one: Server) -> int:
    """Pipelined, with a mailbox open."""
    client = Imap(one, "noop")
    client.command(b"SELECT INBOX")
    batch = b"".join(b"n%d NOOP\r\n" % number for number in range(PIPELINED))
    answered = 0
    started = time.perf_counter()
    for _ in range(NOOPS // PIPELINED):
        client.sock.sendall(batch)
        answered += client.until(b"n%d " % (PIPELINED - 1)).count(b" OK")
    seconds = time.perf_counter() - started
    client.close()
    expect(answered, NOOPS, "NOOP")
    return round(NOOPS / seconds)


def append(one: Server, size: int) -> int:
    """One after the other, each durable before the next."""
    client = Imap(one, "append")
    octets = b"Subject: appended\r\n\r\n".ljust(size - 2, b"x") + b"\r\n"
    started = time.perf_counter()
    for _ in range(APPENDS):
        client.command(b"APPEND INBOX {%d+}\r\n%s" % (len(octets), octets))
    seconds = time.perf_counter() - started
    expect(b"* %d EXISTS" % APPENDS in client.command(b"SELECT INBOX"), True, "APPEND")
    client.close()
    return round(APPENDS / seconds)


def report(found: dict[str, Any]) -> Iterator[str]:
    for name, (first, again) in found["first_and_again_ms"].items():
        yield f"{name:<20} {first:>8} ms the first time, {again:>8} ms again, for {found['messages']} messages"
    yield f"NOOP          {found['noop_per_second']:>5}/s, {PIPELINED} at once on one connection"
    yield f"APPEND        {found['append_per_second']:>5}/s on one connection; {found['rss_mib']} MiB RSS after all"
