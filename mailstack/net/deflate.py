"""Raw DEFLATE both ways over one connection (RFC 4978, RFC 1951)."""

from __future__ import annotations

import zlib

from mailstack.errors import FramingLost

LEVEL = 3
"""Of 1 (quick) to 9. On headers and responses 6 makes 14 % less of it for 40 % more time."""
WINDOW_BITS = -14
"""Negative for raw DEFLATE; a window of 16 KiB when compressing. What the peer sends may need 32 KiB."""
MEMORY_LEVEL = 7
PIECE = 64 * 1024
"""Octets that are made of the peer's at once. 64 KiB of its can be 64 MiB: they are made as they are used."""

# Memory of a connection: to compress 2 ** (14 + 2) + 2 ** (7 + 9) octets, to decompress 32 KiB and some 7, in all
# 167 KiB; zlib's defaults (15, 8) would be 295 KiB, for a sixth less to send.


class Deflate:
    """What the peer sends, and what it is sent. Holds what it was fed and has not been taken."""

    __slots__ = ("_compress", "_decompress", "_fed")

    def __init__(self) -> None:
        self._compress = zlib.compressobj(LEVEL, zlib.DEFLATED, WINDOW_BITS, MEMORY_LEVEL)
        self._decompress = zlib.decompressobj(-zlib.MAX_WBITS)
        self._fed = b""

    def compress(self, octets: bytes) -> bytes:
        """As it goes to the peer, which can read all of it when it has this."""
        return self._compress.compress(octets) + self._compress.flush(zlib.Z_SYNC_FLUSH)

    @property
    def pending(self) -> bool:
        """Whether `take` may have more."""
        return bool(self._fed)

    def feed(self, octets: bytes) -> None:
        """Octets from the peer."""
        self._fed += octets

    def take(self) -> bytes:
        """The next octets that the peer meant, at most PIECE; b"" when more have to come.
        Raises: FramingLost, if the peer does not send DEFLATE, or has ended it."""
        try:
            octets = self._decompress.decompress(self._fed, PIECE)
        except zlib.error as error:
            raise FramingLost("what came is not compressed as it should be") from error
        self._fed = self._decompress.unconsumed_tail
        if self._decompress.eof and not octets:
            raise FramingLost("the compressed data has ended")
        return octets
