"""The end of a server's log, kept for when a test fails."""

from __future__ import annotations

import os
import tempfile
from collections import deque
from typing import IO

KEPT = 5000
"""Lines."""
SHOWN = 20
"""Lines of an explanation."""


class MemoryTail:
    """A text stream that remembers its last lines. Positions count lines from the beginning."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=KEPT)
        self._count = 0

    def write(self, text: str, /) -> int:
        for line in text.splitlines():
            self._lines.append(line)
            self._count += 1
        return len(text)

    def flush(self) -> None:
        """There is nothing behind it."""

    def close(self) -> None:
        """What it remembers stays."""

    def position(self) -> int:
        """Where it ends now."""
        return self._count

    def since(self, position: int) -> list[str]:
        """The lines from there on, as far as they are remembered."""
        lines = list(self._lines)
        return lines[max(0, len(lines) - (self._count - position)) :] if position < self._count else []


class FileTail:
    """A file without a name, which a process writes. Positions are octets."""

    def __init__(self) -> None:
        self.file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (closed by close)

    def position(self) -> int:
        """Where it ends now."""
        return os.fstat(self.file.fileno()).st_size

    def since(self, position: int) -> list[str]:
        """The lines from there on, the last ones if they are many."""
        end = self.position()
        start = max(position, end - KEPT * 200)
        return os.pread(self.file.fileno(), end - start, start).decode("utf-8", "replace").splitlines()[-KEPT:]

    def close(self) -> None:
        self.file.close()
