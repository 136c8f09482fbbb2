"""Takes the Bcc and Resent-Bcc fields out of a submitted message: their recipients are in the envelope, and nobody
else is to learn of them (RFC 5322 §3.6.3, §3.6.6)."""

from __future__ import annotations

import re

_NAMES = (b"bcc", b"resent-bcc")
_FIELD = re.compile(rb"(?:resent-)?bcc[ \t]*:", re.IGNORECASE)
_MAX_NAME = 64
"""Octets of "Bcc", blanks and ":" that are held back until it is clear what the field is."""


class BccFilter:
    """The message in pieces, its lines ending in CRLF; holds back the beginning of one line at most."""

    __slots__ = ("_dropping", "_held", "_in_header", "_line_began")

    def __init__(self) -> None:
        self._in_header = True
        self._dropping = False  # the field that we are in
        self._line_began = False  # some of this line is gone already
        self._held = b""

    def feed(self, piece: bytes) -> bytes:
        """What is certain so far."""
        if not self._in_header:
            return piece
        data, at = self._held + piece, 0
        out: list[bytes] = []
        self._held = b""
        while at < len(data) and self._in_header:
            end = data.find(b"\n", at) + 1
            if not self._line_began:
                start = data[at : end or at + _MAX_NAME]
                if not end and len(start) < _MAX_NAME and _may_be(start):
                    self._held = data[at:]
                    return b"".join(out)
                self._begin_line(start)
            stop = end or len(data)
            if not self._dropping:
                out.append(data[at:stop])
            self._line_began = not end
            at = stop
        out.append(data[at:])
        return b"".join(out)

    def finish(self) -> bytes:
        """What was held back."""
        held, self._held = self._held, b""
        return b"" if self._dropping and held[:1] in (b" ", b"\t") else held

    def _begin_line(self, start: bytes) -> None:
        if start in (b"\r\n", b"\n"):
            self._in_header = self._dropping = False
        elif start[:1] not in (b" ", b"\t"):
            self._dropping = _FIELD.match(start) is not None


def _may_be(start: bytes) -> bool:
    """Whether these octets of a line without its end may begin a Bcc field, or end the header."""
    word = start.lower()
    if b"\r\n".startswith(word) or any(name.startswith(word) for name in _NAMES):
        return True
    return any(word.startswith(name) and not word[len(name) :].strip(b" \t") for name in _NAMES)
