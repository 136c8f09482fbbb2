"""Content-Transfer-Encodings undone, in pieces of any size (RFC 2045 §6)."""

from __future__ import annotations

import binascii
import re
from typing import Protocol

_NON_BASE64 = bytes(octet for octet in range(256) if not re.match(rb"[A-Za-z0-9+/=]", bytes([octet])))
_TRAILING = (b" \r\n", b" \n", b"\t\r\n", b"\t\n")
_TRAILING_SPACE = re.compile(rb"(?<![ \t])[ \t]++(?=\r?\n)")


class Decoder(Protocol):
    """Takes encoded octets in pieces. Never raises: what is not of the encoding is passed over."""

    def feed(self, data: bytes) -> bytes:
        """The octets that are certain so far."""

    def finish(self) -> bytes:
        """The last ones."""


class Identity:
    """7bit, 8bit and binary (RFC 2045 §6.2)."""

    def feed(self, data: bytes) -> bytes:
        return data

    def finish(self) -> bytes:
        return b""


class Base64:
    """RFC 2045 §6.8. Other characters are ignored; the first "=" ends the data."""

    def __init__(self) -> None:
        self._rest = b""
        self._ended = False

    def feed(self, data: bytes) -> bytes:
        if self._ended:
            return b""
        data = self._rest + data.translate(None, _NON_BASE64)
        pad = data.find(b"=")
        if pad >= 0:
            self._ended = True
            data = data[:pad]
        whole = len(data) & ~3
        self._rest = data[whole:]
        return binascii.a2b_base64(data[:whole])

    def finish(self) -> bytes:
        rest, self._rest = self._rest, b""
        return binascii.a2b_base64(rest + b"=" * (4 - len(rest))) if len(rest) > 1 else b""


class QuotedPrintable:
    """RFC 2045 §6.7. An "=" that begins no code stands for itself."""

    MAX_LINE = 64 * 1024
    """Octets that are held back to see the end of a line; the RFC allows lines of 76."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        data = self._rest + data
        cut = data.rfind(b"\n") + 1
        if not cut and len(data) > self.MAX_LINE:
            cut = len(data) - 2
            equals = data.find(b"=", cut - 2)
            cut = cut if equals < 0 else equals
        self._rest = data[cut:]
        return _quoted_printable(data[:cut])

    def finish(self) -> bytes:
        rest, self._rest = self._rest, b""
        return _quoted_printable(rest)


def _quoted_printable(data: bytes) -> bytes:
    if any(space in data for space in _TRAILING):  # rare, and to remove it costs more than all the rest
        data = _TRAILING_SPACE.sub(b"", data)
    return binascii.a2b_qp(data)


def decoder(encoding: bytes) -> Decoder | None:
    """A decoder for an encoding named in lower case; None if it is unknown."""
    match encoding:
        case b"7bit" | b"8bit" | b"binary" | b"":
            return Identity()
        case b"base64":
            return Base64()
        case b"quoted-printable":
            return QuotedPrintable()
        case _:
            return None


def decode(data: bytes, encoding: bytes) -> bytes | None:
    """All at once; None if the encoding is unknown."""
    transfer = decoder(encoding)
    return None if transfer is None else transfer.feed(data) + transfer.finish()
