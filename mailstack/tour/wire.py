"""A client that speaks lines and records both sides. Blocking: the tour is a program of its own."""

from __future__ import annotations

import socket
from collections.abc import Callable

from mailstack.tour.events import Event, WireLine

PATIENCE = 10.0
"""Seconds to wait for a line; a server on the same machine that needs longer is broken."""

Record = Callable[[Event], None]
Since = Callable[[], float]


class NoAnswer(Exception):
    """The server did not say what the story needs; the message has what it said."""


class LineClient:
    """One connection of the tour."""

    def __init__(self, who: str, address: tuple[str, int], record: Record, now: Since) -> None:
        self.who = who
        self._record = record
        self._now = now
        self._socket = socket.create_connection(address, timeout=PATIENCE)
        self._file = self._socket.makefile("rb")

    def say(self, text: str, *, shown: str | None = None) -> None:
        """Send one line; `shown` is recorded in its place where it holds a password."""
        self._record(WireLine(self.who, True, text if shown is None else shown, self._now()))
        self._socket.sendall(text.encode() + b"\r\n")

    def hear(self, until: str) -> list[str]:
        """Lines up to and including the first that begins with `until`. Raises: NoAnswer."""
        heard: list[str] = []
        while True:
            try:
                octets = self._file.readline()
            except TimeoutError:
                octets = b""
            if not octets:
                raise NoAnswer(f"{self.who} waited for {until!r} and heard {heard}")
            heard.append(octets.rstrip(b"\r\n").decode("utf-8", "replace"))
            self._record(WireLine(self.who, False, heard[-1], self._now()))
            if heard[-1].startswith(until):
                return heard

    def ask(self, text: str, until: str, *, shown: str | None = None) -> list[str]:
        """Say a line and hear the answer."""
        self.say(text, shown=shown)
        return self.hear(until)

    def close(self) -> None:
        self._file.close()
        self._socket.close()
