"""Mailboxes to read from, made as files before the server starts."""

from __future__ import annotations

import os
from pathlib import Path

from bench_server import DOMAIN

LINE = b"The quick brown fox jumps over the lazy dog; mail is what remains of letters.\r\n"
LINES = 15
FIRST = 1_700_000_000
"""Seconds since the epoch of the first message; the others follow it by the hour."""


def message(number: int) -> bytes:
    """About 1.5 KiB."""
    head = (
        f"From: Sender {number % 97} <sender{number % 97}@example.net>\r\nTo: <bench@{DOMAIN}>\r\n"
        f"Subject: message {number}\r\nDate: Mon, 06 Jul 2026 10:00:00 +0000\r\n"
        f"Message-ID: <{number}@example.net>\r\n\r\n"
    )
    return head.encode() + LINE * LINES


def build(data: Path, user: str, count: int) -> int:
    """An INBOX of so many messages, every second one seen; the octets of all of them."""
    inbox = data / "mail" / f"{user}@{DOMAIN}"
    for name in ("tmp", "new", "cur"):
        (inbox / name).mkdir(parents=True)
    total = 0
    for number in range(count):
        octets = message(number)
        when = FIRST + 3600 * number
        path = inbox / "cur" / f"{when}.M{number:06d}P1.bench,S={len(octets)},W={len(octets)}:2,{'S' * (number % 2)}"
        path.write_bytes(octets)
        os.utime(path, (when, when))
        total += len(octets)
    return total
