"""Writes a transcript while the dialogue goes on."""

from __future__ import annotations

import re
from typing import IO

from mailstack.transcripts.lines import escape
from mailstack.transcripts.secrets import Secrets

_GREETINGS = ((b"220", "smtp"), (b"* ", "imap"), (b"+OK", "pop3"))
_TLS = re.compile(rb"(?:[^ ]+ +)?(?:STARTTLS|STLS)", re.IGNORECASE)
_COMPRESS = re.compile(rb"[^ ]+ +COMPRESS +DEFLATE", re.IGNORECASE)
PIECE = 100_000
"""Octets of a line after which it is written although it is not whole."""


def protocol_of(greeting: bytes) -> str | None:
    """What a server speaks, by its first octets."""
    return next((name for start, name in _GREETINGS if greeting.startswith(start)), None)


class Writer:
    """One dialogue. `file` is flushed with each turn, so that a server that dies leaves what was said."""

    def __init__(self, file: IO[str], title: str, *, secrets: bool = False) -> None:
        self._file = file
        self._secrets = None if secrets else Secrets()
        self._waiting = {"C": b"", "S": b""}
        self.asked_tls = self.asked_compression = False
        """The client's last line was that."""
        self.note(title)

    def client(self, octets: bytes) -> None:
        """What the client says."""
        self._said("C", octets)

    def server(self, octets: bytes) -> None:
        """What the server says."""
        self._pause("C")
        self._said("S", octets)

    def event(self, word: str) -> None:
        """As `starttls`, of the client."""
        self._pause("C")
        self._write(f"C: *{word}*")

    def note(self, text: str) -> None:
        """A comment."""
        self._write(f"# {text}")

    def closed(self, *, by_server: bool) -> None:
        """The end."""
        self._pause("C")
        if rest := self._waiting["S"]:
            self.note(f"the server closed within a line: {escape(rest, client=False)}")
        self._write("S: *close*" if by_server else "C: *close*")

    def _said(self, side: str, octets: bytes) -> None:
        *lines, rest = (self._waiting[side] + octets).split(b"\r\n")
        for line in lines:
            self._line(side, line)
        self._waiting[side] = rest
        if len(rest) > PIECE:
            self._pause(side)
        self._file.flush()

    def _line(self, side: str, line: bytes) -> None:
        if side == "C":
            self.asked_tls = _TLS.fullmatch(line) is not None
            self.asked_compression = _COMPRESS.fullmatch(line) is not None
            line = self._secrets.client(line) if self._secrets else line
        elif self._secrets:
            self._secrets.server(line)
        self._write(f"{side}: {escape(line, client=side == 'C')}" if line else f"{side}:")

    def _pause(self, side: str) -> None:
        """What is no whole line yet is written as such."""
        if rest := self._waiting[side]:
            self._waiting[side] = b""
            line = self._secrets.client(rest) if self._secrets and side == "C" else rest
            self._write(f"{side}- {escape(line, client=side == 'C')}")

    def _write(self, text: str) -> None:
        self._file.write(text + "\n")
