"""Line ends: mail has CRLF and nothing else (RFC 5322 §2.3)."""

from __future__ import annotations


def with_crlf(data: bytes) -> bytes:
    """Each LF without CR becomes CRLF; a lone CR stays."""
    if b"\r" not in data:
        return data.replace(b"\n", b"\r\n")
    if data.count(b"\n") == data.count(b"\r\n"):
        return data
    return data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


class CrlfStream:
    """`with_crlf` for a message that comes in pieces."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = b""

    def feed(self, piece: bytes) -> bytes:
        """A CR at the end is held back until it is known what follows it."""
        piece = self._held + piece
        self._held = b"\r" if piece.endswith(b"\r") else b""
        return with_crlf(piece[:-1] if self._held else piece)

    def finish(self) -> bytes:
        held, self._held = self._held, b""
        return held
