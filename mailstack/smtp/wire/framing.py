"""Octets from the client become command lines and mail data; no IO.

Lines end in CRLF and in nothing else (RFC 5321 §2.3.8):

* A command line with a bare LF is not split there, and not guessed at: `FramingLost`.
* Mail data ends with CRLF "." CRLF alone, and only a dot after a true CRLF is taken away
  (RFC 5321 §4.5.2). So no two servers can disagree about where our messages end ("SMTP smuggling").
* A bare CR or LF inside mail data becomes CRLF, and `bare_newline` says that this happened, so that
  the session may refuse the message instead (`SmtpSettings.bare_newline`).

Memory: at most one unfinished command line, or four octets of mail data, is kept between calls.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mailstack.errors import FramingLost

MAX_LINE = 12288
"""Octets of a command line without CRLF. RFC 5321 §4.5.3.1.4 asks for 512 and what extensions add;
of those AUTH adds most (RFC 4954 §4)."""

_END = b"\r\n.\r\n"
_BARE_NEWLINE = re.compile(rb"\r(?!\n)|(?<!\r)\n")


@dataclass(frozen=True, slots=True)
class TooLong:
    """A command line above MAX_LINE was thrown away; the next line is whole again."""


TOO_LONG = TooLong()


class DataChunk:
    """A piece of mail data, its lines ending in CRLF; `last` when nothing follows (of this BDAT)."""

    __slots__ = ("data", "last")

    def __init__(self, data: bytes, last: bool) -> None:
        self.data = data
        self.last = last


class Framer:
    """The client's octets, in order. `feed` it, then ask `next_line`; after `begin_data` or
    `begin_bdat` ask `next_data` until its chunk is the last one."""

    __slots__ = (
        "_at_start",
        "_bdat_last",
        "_bdat_left",
        "_binary",
        "_buffer",
        "_held_cr",
        "_position",
        "_skipping",
        "bare_newline",
    )

    def __init__(self) -> None:
        self._buffer = b""
        self._position = 0
        self._skipping = False
        self._at_start = False
        self._bdat_left = -1
        self._bdat_last = False
        self._binary = False
        self._held_cr = False
        self.bare_newline = False
        """Whether the mail data so far had a CR or LF of its own."""

    def feed(self, data: bytes) -> None:
        """Take what came from the connection."""
        if self._position >= len(self._buffer):
            self._buffer = data
        else:
            self._buffer = self._buffer[self._position :] + data
        self._position = 0

    def clear(self) -> None:
        """Forget everything that came and was not asked for yet (RFC 3207 §5)."""
        self._buffer = b""
        self._position = 0
        self._skipping = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits to be asked for."""
        return self._position >= len(self._buffer)

    # --- command lines

    def next_line(self) -> bytes | TooLong | None:
        """The next command line without its CRLF; None if it is not complete yet.
        Raises: FramingLost at a bare LF."""
        buffer, start = self._buffer, self._position
        end = buffer.find(b"\n", start)
        if end < 0:
            if len(buffer) - start > MAX_LINE + 1:
                self._skipping = True
            if self._skipping:
                self._position = max(start, len(buffer) - 1)  # the CR may be there already
            return None
        if end == start or buffer[end - 1] != 0x0D:
            raise FramingLost("a line feed without carriage return")
        self._position = end + 1
        if self._skipping or end - 1 - start > MAX_LINE:
            self._skipping = False
            return TOO_LONG
        return buffer[start : end - 1]

    # --- mail data

    def begin_data(self) -> None:
        """Mail data as of DATA follows."""
        self._at_start = True
        self._bdat_left = -1
        self.bare_newline = False

    def begin_bdat(self, size: int, *, first: bool, last: bool, binary: bool = False) -> None:
        """`size` octets of mail data as of BDAT follow; the first and the last BDAT of a message
        say so. In `binary` ones (RFC 3030 §3) any octet stands for itself, and there are no lines."""
        if first:
            self._held_cr = False
            self.bare_newline = False
        self._bdat_left = size
        self._bdat_last = last
        self._binary = binary

    def next_data(self) -> DataChunk | None:
        """The next piece of mail data; None if nothing can be said yet."""
        if self._bdat_left >= 0:
            return self._next_bdat()
        buffer, start = self._buffer, self._position
        if self._at_start:
            if buffer.startswith(b".", start):
                return self._leading_dot(buffer, start)
            if start >= len(buffer):
                return None
            self._at_start = False
        end = buffer.find(_END, start)
        if end >= 0:
            self._position = end + 5
            return DataChunk(self._plain(buffer[start : end + 2], True), True)
        end = len(buffer) - _held(buffer, start)
        if end == start:
            return None
        self._position = end
        return DataChunk(self._plain(buffer[start:end], True), False)

    def _leading_dot(self, buffer: bytes, start: int) -> DataChunk | None:
        # The CRLF before the first line of mail data is the one of the DATA command.
        if buffer.startswith(b".\r\n", start):
            self._at_start = False
            self._position = start + 3
            return DataChunk(b"", True)
        if len(buffer) - start < 3 and b".\r\n".startswith(buffer[start:]):
            return None
        self._at_start = False
        self._position = start + 1
        return self.next_data() or DataChunk(b"", False)

    def _next_bdat(self) -> DataChunk | None:
        start = self._position
        end = min(len(self._buffer), start + self._bdat_left)
        if end == start and self._bdat_left:
            return None
        self._position = end
        self._bdat_left -= end - start
        piece = self._buffer[start:end]
        if self._binary:
            return DataChunk(piece, not self._bdat_left)
        if self._held_cr:
            piece = b"\r" + piece
            self._held_cr = False
        last = not self._bdat_left
        if piece.endswith(b"\r") and not (last and self._bdat_last):
            self._held_cr = True  # its LF may be the first octet of what follows
            piece = piece[:-1]
        return DataChunk(self._plain(piece, False), last)

    def _plain(self, piece: bytes, stuffed: bool) -> bytes:
        """Take the transparency dots and bare newlines away. No CRLF or CRLF "." is cut by the
        piece's borders, so that what it looks like is what it is."""
        if stuffed and b"\r\n." in piece:
            piece = piece.replace(b"\r\n.", b"\r\n")
        pairs = piece.count(b"\r\n")
        if piece.count(b"\n") != pairs or piece.count(b"\r") != pairs:
            self.bare_newline = True
            return _BARE_NEWLINE.sub(b"\r\n", piece)
        return piece


class NewlineRepair:
    """Octets in pieces that have not come as lines: each CR or LF that stands alone becomes CRLF."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = b""

    def feed(self, piece: bytes) -> bytes:
        """A CR at the end is held back until it is known what follows it."""
        piece = self._held + piece
        self._held = b"\r" if piece.endswith(b"\r") else b""
        return _BARE_NEWLINE.sub(b"\r\n", piece[:-1] if self._held else piece)

    def finish(self) -> bytes:
        """The end of the last line, if it was held back."""
        held, self._held = self._held, b""
        return b"\r\n" if held else b""


def _held(buffer: bytes, start: int) -> int:
    """How many octets at the end may be the beginning of the end of data."""
    for length in (4, 3, 2, 1):
        if len(buffer) - start >= length and buffer.endswith(_END[:length]):
            return length
    return 0
