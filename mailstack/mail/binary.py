"""Parts in the binary transfer encoding, made base64 as the message passes (RFC 3516 §4.4 and §6; RFC 2045 §6.8)."""

from __future__ import annotations

import binascii
import re

from mailstack.mail import mime
from mailstack.mail.words import parameter

MAX_HEADER = 128 * 1024
"""Octets of one part's header; what is behind a longer one stays as it is."""
MAX_HELD = 4096
"""Octets of an unended line that are held: a longer one is no delimiter."""
STEP = 8192
"""Octets that are taken apart at once: short lines need many times their size."""
LINE = 57
"""Octets that make one line of 76 characters (RFC 2045 §6.8)."""

_BLANK = (b"\r\n", b"\n")
# The field with its folded lines, as `mime` finds it
_ENCODING = re.compile(
    rb"^content-transfer-encoding[ \t]*+:[^\n]*+\n?(?:[ \t][^\n]*+\n?)*+", re.IGNORECASE | re.MULTILINE
)


class BinaryToBase64:
    """Takes a message in pieces, with any octets in it, and gives it back with each part that is in binary
    encoded in base64, and its header saying so. Everything else passes octet for octet: a NUL in it, which no
    message of IMAP may have, sets `has_nul`. Holds little, whatever the message is."""

    def __init__(self) -> None:
        self.has_nul = False
        self._rest = b""  # the line that has begun
        self._inside_line = False  # its beginning is gone already
        self._header: bytearray | None = bytearray()
        self._boundaries: list[bytes] = []
        self._encoding = False
        self._held = b""  # a line end of a binary part: the one before a delimiter belongs to that
        self._unencoded = b""
        self._out: list[bytes] = []

    def feed(self, data: bytes) -> bytes:
        """What is certain so far."""
        return b"".join([self._feed(data[at : at + STEP]) for at in range(0, len(data), STEP)])

    def _feed(self, data: bytes) -> bytes:
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            self._line(line + b"\n")
        if len(self._rest) > MAX_HELD and self._header is None:
            whole = len(self._rest) - self._rest.endswith(b"\r")
            self._body(self._rest[:whole])
            self._rest, self._inside_line = self._rest[whole:], True
        return self._taken()

    def finish(self) -> bytes:
        """The last octets."""
        rest, self._rest = self._rest, b""
        if rest:
            self._line(rest)
        if self._header is not None:
            self._end_header()
        if self._encoding:
            self._body(b"")
            self._unencoded += self._held
            self._end_encoding()
        return self._taken()

    def _taken(self) -> bytes:
        out = b"".join(self._out)
        self._out.clear()
        return out

    def _line(self, line: bytes) -> None:
        fresh, self._inside_line = not self._inside_line, False
        if fresh and line.startswith(b"--") and self._delimiter(line):
            return
        if self._header is None:
            self._body(line)
            return
        self._header += line
        if line in _BLANK or len(self._header) > MAX_HEADER:
            self._end_header()

    def _delimiter(self, line: bytes) -> bool:
        """Take a line that ends a part, if it does."""
        name = line.rstrip(b" \t\r\n")[2:]
        for depth in range(len(self._boundaries), 0, -1):
            boundary = self._boundaries[depth - 1]
            closes = name == boundary + b"--"
            if name != boundary and not closes:
                continue
            if self._header is not None:
                self._end_header()
            if self._encoding:
                self._end_encoding()
            del self._boundaries[depth - closes :]
            self._say(line)
            if not closes:
                self._header = bytearray()
            return True
        return False

    def _end_header(self) -> None:
        """What comes now is a body, or the header of the message in it."""
        header, self._header = bytes(self._header or b""), None
        part = mime.scan(header[:MAX_HEADER].replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
        binary = part.encoding == b"binary"
        if part.type == b"multipart":
            boundary = parameter(part.params, b"boundary").encode("utf-8", "surrogateescape")
            if 0 < len(boundary) <= mime.MAX_BOUNDARY and len(self._boundaries) < mime.MAX_DEPTH:
                self._boundaries.append(boundary)
        elif part.type == b"message":
            self._header = bytearray()
        elif binary:
            self._encoding = True
            header = _ENCODING.sub(b"Content-Transfer-Encoding: base64\r\n", header, count=1)
        if binary and not self._encoding:
            # What has parts inside is in no encoding (RFC 2045 §6.4), and those are not in binary any more.
            header = _ENCODING.sub(b"Content-Transfer-Encoding: 8bit\r\n", header, count=1)
        self._say(header)

    def _body(self, octets: bytes) -> None:
        if not self._encoding:
            self._say(octets)
            return
        octets = self._held + octets
        end = b"\r\n" if octets.endswith(b"\r\n") else b"\n" if octets.endswith(b"\n") else b""
        self._held = end
        self._unencoded += octets[: len(octets) - len(end)]
        if len(self._unencoded) >= 100 * LINE:
            whole = len(self._unencoded) // LINE * LINE
            self._encode(self._unencoded[:whole])
            self._unencoded = self._unencoded[whole:]

    def _encode(self, octets: bytes) -> None:
        lines = [binascii.b2a_base64(octets[at : at + LINE], newline=False) for at in range(0, len(octets), LINE)]
        self._out.append(b"\r\n".join([*lines, b""]))

    def _end_encoding(self) -> None:
        self._encode(self._unencoded)
        self._unencoded = self._held = b""
        self._encoding = False

    def _say(self, octets: bytes) -> None:
        if b"\0" in octets:
            self.has_nul = True
        self._out.append(octets)
