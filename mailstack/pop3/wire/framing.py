"""Command lines in, multi-line responses out (RFC 1939 §3)."""

from __future__ import annotations

from mailstack.errors import FramingLost

MAX_LINE = 12288
"""Octets of a line with its CRLF. RFC 2449 §4 asks for 255; AUTH's base64 needs more (RFC 5034 §4)."""


class Framer:
    """The client's octets as lines."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> None:
        """Take what came from the connection."""
        self._buffer += data

    def next_line(self) -> bytes | None:
        """The next line without its end; None if there is none yet. A lone LF ends a line as well:
        a command cannot hold one. Raises: FramingLost for a line that is too long."""
        end = self._buffer.find(b"\n", 0, MAX_LINE)
        if end < 0:
            if len(self._buffer) >= MAX_LINE:
                raise FramingLost(f"line of more than {MAX_LINE} octets")
            return None
        line, self._buffer = self._buffer[:end], self._buffer[end + 1 :]
        return line[:-1] if line.endswith(b"\r") else line

    def clear(self) -> None:
        """Drop everything: what came before TLS is not the client's (RFC 2595 §4)."""
        self._buffer = b""


def asked_of(line: bytes) -> tuple[str, str]:
    """keyword [SP arguments]: the keyword in upper case, and what follows it, as it was sent. Text that is not UTF-8
    keeps its octets as surrogates."""
    keyword, _, argument = line.decode("utf-8", "surrogateescape").partition(" ")
    return keyword.upper(), argument


class DotStuffing:
    """Puts a dot before each line that begins with one; state goes across pieces (RFC 1939 §3)."""

    __slots__ = ("_tail",)

    def __init__(self) -> None:
        self._tail = b"\r\n"

    def stuff(self, piece: bytes) -> bytes:
        """One piece of the message, in order."""
        if not piece:
            return b""
        joined = self._tail + piece
        cut = len(self._tail)
        self._tail = joined[-2:]
        return joined.replace(b"\r\n.", b"\r\n..")[cut:]

    def end(self) -> bytes:
        """What ends the response; a message that does not end in CRLF gets one."""
        return b".\r\n" if self._tail == b"\r\n" else b"\r\n.\r\n"


def stuffed(message: bytes) -> bytes:
    """A whole message as a multi-line response's body, with its end."""
    if b"\r\n." in message or message.startswith(b"."):
        stuffing = DotStuffing()
        return stuffing.stuff(message) + stuffing.end()
    return message + (b".\r\n" if message.endswith(b"\r\n") or not message else b"\r\n.\r\n")
