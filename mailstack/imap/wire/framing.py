"""Octets become commands; where one ends is known before what it says (RFC 9051 §4.3, RFC 7888).

A command is lines with literals between them. Short literals become part of the command's octets, as
they stand on the wire; for each, and for those that may be long, the session is asked. Whatever a
command says, the next one begins where it ends."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mailstack.errors import FramingLost

MAX_LINE = 64 * 1024
"""Octets of one line. RFC 7162 §4 asks for 8192 at least; clients send long UID sets."""
MAX_COMMAND = 256 * 1024
"""Octets of a command with its short literals."""
LITERAL_MINUS = 4096
"""Octets of the largest literal that may come without leave where LITERAL- is offered (RFC 7888 §5)."""
MAX_UNASKED = 64 * 1024 * 1024
"""Octets of a literal above this limit that are read over; of a larger one nothing is read any more."""
_LITERAL = re.compile(rb"(~?)\{(\d{1,19})(\+?)\}$")


@dataclass(frozen=True, slots=True)
class Command:
    """A whole command, without the CRLF at its end; literals stand in it as `{n}` CRLF octets."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class LiteralAnnounced:
    """The client wants to send `size` octets, or (not `synchronising`) already does. The session
    calls `take`, `stream` or `refuse`. `binary` is that of a literal8, which may have NULs (RFC 3516 §4.4)."""

    size: int
    synchronising: bool
    so_far: bytes
    binary: bool = False


@dataclass(frozen=True, slots=True)
class Oversized:
    """A command was too long and is thrown away; `octets` is how it began. `unasked`: because of a literal that may
    not come without leave."""

    octets: bytes
    unasked: bool = False


class LiteralTooBig(FramingLost):
    """A client that does not wait for leave sends more than anybody wants to read (RFC 7888 §4)."""

    code = "TOOBIG"


Event = Command | LiteralAnnounced | Oversized


class Framer:
    """Feed it what comes; ask for the next event. `unasked`: octets of a literal that may come without leave; None
    for any."""

    __slots__ = (
        "_announced", "_at", "_buffer", "_command", "_most", "_poisoned", "_size", "_skip", "_stream", "_unasked",
        "_want", "fed",
    )  # fmt: skip

    def __init__(self, unasked: int | None = None) -> None:
        self.fed = 0
        """How often something came: commands that came in one piece have the same number."""
        self._most = unasked
        self._buffer = b""
        self._at = 0  # what is before it is used up: cutting the buffer at each line would copy it each time
        self._command: list[bytes] = []
        self._size = 0
        self._want = 0
        self._skip = 0
        self._stream = 0
        self._announced = 0
        self._poisoned = False
        self._unasked = False  # whether that is because of a literal which came without leave

    def feed(self, data: bytes) -> None:
        """Take what came from the connection."""
        self.fed += 1
        self._buffer = self._buffer[self._at :] + data if self._at < len(self._buffer) else data
        self._at = 0

    def clear(self) -> None:
        """Drop everything: what came before TLS is not the client's (RFC 9051 §6.2.1)."""
        self.__init__(self._most)  # type: ignore[misc]  # the state of a new one

    def rest(self) -> bytes:
        """What came after the last event. It is forgotten."""
        rest = self._buffer[self._at :]
        self._buffer, self._at = b"", 0
        return rest

    def next_event(self) -> Event | None:
        """None: feed more. Raises: FramingLost."""
        while True:
            if self._skip and not self._skip_some():
                return None
            if self._want:
                if len(self._buffer) - self._at < self._want:
                    return None
                self._keep(self._cut(self._want))
                self._want = 0
            end = self._buffer.find(b"\n", self._at)
            if end < 0:
                self._unended()
                return None
            line = self._cut(end + 1 - self._at)
            if len(line) > MAX_LINE or self._size + len(line) > MAX_COMMAND:
                self._poisoned = True
            event = self._line(line[:-2] if line.endswith(b"\r\n") else line[:-1])
            if event is not None:
                return event

    def take(self) -> None:
        """The announced literal becomes part of the command."""
        self._want = self._announced

    def stream(self) -> None:
        """The announced literal is read by `next_chunk`; the command goes on after it, from nothing."""
        self._stream = self._announced
        self._reset()

    def next_chunk(self) -> bytes | None:
        """Octets of the literal that is streamed; None: feed more. Ask while `streaming`."""
        if self._at >= len(self._buffer):
            return None
        chunk = self._cut(min(self._stream, len(self._buffer) - self._at))
        self._stream -= len(chunk)
        return chunk

    @property
    def streaming(self) -> int:
        """Octets of the streamed literal that are to come."""
        return self._stream

    def refuse(self, *, synchronising: bool) -> bytes:
        """The announced literal is not wanted. A client that waits for leave goes on with its next
        command; one that does not is read on, and its command reported as Oversized at its end.
        Returns how the command began."""
        began = self._command[0] if self._command else b""
        if synchronising:
            self._reset()
        else:
            self._skip = self._announced
            self._poisoned = True
        return began

    def _line(self, line: bytes) -> Event | None:
        found = _LITERAL.search(line)
        if self._poisoned:
            return self._poisoned_line(line, found)
        if found is None:
            octets = b"".join((*self._command, line))
            self._reset()
            return Command(octets)
        self._keep(line + b"\r\n")
        self._announced = int(found[2])
        if self._most is not None and found[3] and self._announced > self._most:
            self._read_over(self._announced)
            return None
        so_far = b"".join(self._command)[: -len(found[0]) - 2]
        return LiteralAnnounced(self._announced, not found[3], so_far, bool(found[1]))

    def _poisoned_line(self, line: bytes, found: re.Match[bytes] | None) -> Event | None:
        if not self._command:
            self._keep(line[:MAX_LINE])
        if found is not None and found[3]:
            self._skip = int(found[2])
            return None
        began, unasked = self._command[0], self._unasked
        self._reset()
        return Oversized(began, unasked)

    def _read_over(self, size: int) -> None:
        """RFC 7888 §4: refused, though it has to be read. Raises: LiteralTooBig."""
        if size > MAX_UNASKED:
            raise LiteralTooBig(f"a literal of {size} octets, of which {self._most} may come without leave")
        self._skip = size
        self._poisoned = self._unasked = True

    def _unended(self) -> None:
        if self._at >= len(self._buffer):
            self._buffer, self._at = b"", 0  # an idle connection holds nothing
        if len(self._buffer) - self._at > MAX_LINE:
            # Keep how it began, for its tag, and throw the rest away as it comes.
            if not self._command:
                self._keep(self._buffer[self._at : self._at + 256])
            self._poisoned = True
            self._buffer, self._at = self._buffer[-64:], 0

    def _skip_some(self) -> bool:
        skipped = min(self._skip, len(self._buffer) - self._at)
        self._at += skipped
        self._skip -= skipped
        return not self._skip

    def _cut(self, size: int) -> bytes:
        start, self._at = self._at, self._at + size
        return self._buffer[start : self._at]

    def _keep(self, octets: bytes) -> None:
        self._command.append(octets)
        self._size += len(octets)

    def _reset(self) -> None:
        self._command.clear()
        self._size = self._want = 0
        self._poisoned = self._unasked = False
