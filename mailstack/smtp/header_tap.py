"""Looks at the header of a message as it flows by."""

from __future__ import annotations

MAX_HEADER = 128 * 1024
"""Octets of header that are looked at; fields below that are not seen."""


class HeaderTap:
    """Feed it the message in pieces, then read its fields. It keeps the header until its end is
    there, and nothing of the body."""

    __slots__ = ("_kept", "_lower", "_seen_end", "header")

    def __init__(self) -> None:
        self._kept: bytearray | None = None
        self._lower = b""
        self.header = b""
        """The fields as they came, as far as they are looked at; there when `finish` was called."""
        self._seen_end = False

    def feed(self, data: bytes) -> None:
        """The next piece."""
        if self._seen_end or not data:
            return
        if self._kept is None:
            end = 0 if data.startswith(b"\r\n") else data.find(b"\r\n\r\n") + 2
            if end != 1:
                self._end(data[:end])
                return
            self._kept = bytearray()
        kept = self._kept
        start = max(0, len(kept) - 3)
        kept += data[: MAX_HEADER - len(kept)]
        end = 0 if kept.startswith(b"\r\n") else kept.find(b"\r\n\r\n", start) + 2
        if end != 1 or len(kept) >= MAX_HEADER:
            self._end(bytes(kept[:end] if end != 1 else kept))

    def _end(self, header: bytes) -> None:
        self._seen_end = True
        self._kept = None
        self.header = header
        self._lower = b"\n" + header.lower()

    def finish(self) -> None:
        """The message is over, be there a body or not."""
        if not self._seen_end:
            self._end(bytes(self._kept or b""))

    def first_words(self, name: bytes, *, below: bytes = b"") -> list[bytes]:
        """The first line of each field of this name, in lower case, without the spaces around it; with `below`, only
        of those below the first field of that name."""
        fields = self._lower.partition(b"\n" + below + b":")[2] if below else self._lower
        return [value.partition(b"\n")[0].strip() for value in fields.split(b"\n" + name + b":")[1:]]

    def count(self, name: bytes) -> int:
        """How many fields of this name (in lower case) there are."""
        return self._lower.count(b"\n" + name + b":")
