"""What was said on a connection, for the development mode. No password, and nothing of a message."""

from __future__ import annotations

MAX_LINES = 200
"""Lines of one transaction that are kept, with those before the first one."""
MAX_BEFORE = 60
"""Lines before the first transaction, which are kept with every one."""
MAX_LINE = 300
"""Characters of a line that are kept."""


class Dialogue:
    """The lines of one transaction; those of the next one begin anew."""

    __slots__ = ("_before", "lines")

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._before: list[str] | None = None

    def client(self, line: bytes) -> None:
        """A command; of AUTH only the mechanism."""
        if line[:5].upper() == b"AUTH " and line.count(b" ") > 1:
            line = b" ".join([*line.split(b" ", 2)[:2], b"***"])
        self._add("C: ", line)

    def server(self, reply: bytes) -> None:
        """A whole reply."""
        for line in reply.split(b"\r\n")[:-1]:
            self._add("S: ", line)

    def data(self, octets: int) -> None:
        """The message itself was here."""
        self._add("C: ", b"(%d octets of mail data)" % octets)

    def begin(self) -> None:
        """The last command has begun a transaction."""
        command = self.lines.pop() if self.lines else ""
        if self._before is None:
            self._before = self.lines[:MAX_BEFORE]
        self.lines = [*self._before, command]

    def _add(self, who: str, line: bytes) -> None:
        if len(self.lines) < MAX_LINES:
            self.lines.append(who + line[:MAX_LINE].decode("utf-8", "replace"))
