"""A message put in as by SMTP, without a socket: through a session as the submission port has it, so that it is
checked, traced and delivered as any other."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from mailstack.errors import ConnectionClosed
from mailstack.net.listener import Service
from mailstack.ports import Peer

HELO = "localhost"
PIECE = 256 * 1024
"""Octets that come at once: others have their turn while a large message is written."""
_numbers = itertools.count(1)
_PROCESS = os.urandom(3).hex()
"""Journeys of two processes in one data directory are not to be taken for one another."""


BEFORE_RECIPIENTS = 3
"""Replies: the greeting, and those to EHLO and MAIL."""
CLOSED = "the connection was closed"


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of it. `accepted` and `refused` are addresses, the latter with the reply to each; `reply` is to the
    message, "" if there was nobody to send it to."""

    transaction: str
    accepted: tuple[str, ...]
    refused: tuple[tuple[str, str], ...]
    reply: str
    delivered: bool


class _Script:
    """Implements `ports.Connection`: says all at once, and keeps the replies."""

    tls = None
    client_certificate = None
    local = "127.0.0.1"
    has_input = False

    def __init__(self, script: bytes) -> None:
        self.id = f"http-{_PROCESS}-{next(_numbers)}"
        self.peer = Peer("127.0.0.1", 0)
        self.timeout = 0.0
        self.replies: list[bytes] = []
        self._script = script
        self._at = 0

    def write(self, data: bytes) -> None:
        self.replies.append(data)

    async def drain(self) -> None:
        """Everything has left."""

    async def receive(self, *, in_flight: bool = False, at_most: float | None = None) -> bytes:
        piece = self._script[self._at : self._at + PIECE]
        self._at += len(piece)
        if not piece:
            raise ConnectionClosed
        return piece

    def wake(self) -> None:
        """Nobody waits."""

    def channel_binding(self, name: str) -> bytes | None:
        return None


async def inject(service: Service, sender: str, recipients: Sequence[str], octets: bytes) -> Sent:
    """`octets` with CRLF. Addresses without angle brackets or control characters."""
    wide = not all(text.isascii() for text in (sender, *recipients))
    parameters = ("" if octets.isascii() else " BODY=8BITMIME") + (" SMTPUTF8" if wide else "")
    lines = [f"EHLO {HELO}", f"MAIL FROM:<{sender}>{parameters}", *(f"RCPT TO:<{each}>" for each in recipients)]
    lines.append(f"BDAT {len(octets)} LAST")  # no dots to be stuffed
    connection = _Script("".join(f"{line}\r\n" for line in lines).encode() + octets + b"QUIT\r\n")
    await service.session(cast(Any, connection)).run()
    replies = _replies(b"".join(connection.replies))
    if len(replies) < BEFORE_RECIPIENTS:  # a fault was in the way
        return Sent("", (), tuple((each, replies[-1] if replies else CLOSED) for each in recipients), "", False)
    _, _, mail, *rest = replies
    if not mail.startswith("250"):
        return Sent("", (), tuple((each, mail) for each in recipients), mail, False)
    pairs = list(zip(recipients, rest, strict=False))
    accepted = tuple(address for address, reply in pairs if reply.startswith("250"))
    refused = tuple((address, reply) for address, reply in pairs if not reply.startswith("250"))
    last = rest[len(recipients)] if len(rest) > len(recipients) else CLOSED
    return Sent(f"{connection.id}.1", accepted, refused, last, bool(accepted) and last.startswith("250"))


def _replies(octets: bytes) -> list[str]:
    """Each reply in one line, with its code."""
    found: list[str] = []
    lines: list[str] = []
    for line in octets.decode("utf-8", "replace").split("\r\n")[:-1]:
        lines.append(line[4:] if lines else line.replace("-", " ", 1) if line[3:4] == "-" else line)
        if line[3:4] != "-":
            found.append(" ".join(lines))
            lines = []
    return found
