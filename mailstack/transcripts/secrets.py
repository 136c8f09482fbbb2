"""Passwords do not get into transcripts: `***` stands there instead, also within what SASL PLAIN and LOGIN say in
base64, so that the same is said again to a server that takes any password."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode

HIDDEN = b"***"
_AUTH = re.compile(rb"((?:[^ ]+ +)?AUTH(?:ENTICATE)? +([^ ]+))(?: +(.*))?", re.IGNORECASE | re.DOTALL)
_WORDS = (
    re.compile(rb"(PASS +).*", re.IGNORECASE | re.DOTALL),
    re.compile(rb"(APOP +[^ ]+ +).*", re.IGNORECASE | re.DOTALL),
    re.compile(rb'([^ ]+ +LOGIN +(?:"(?:[^"\\]|\\.)*"|[^ "]+) +).*', re.IGNORECASE | re.DOTALL),
)
_LITERAL_LOGIN = re.compile(rb"[^ ]+ +LOGIN .*\{[0-9]+\+?\}", re.IGNORECASE | re.DOTALL)
_LITERAL = re.compile(rb"\{[0-9]+\+?\}\Z")


class Secrets:
    """Looks at all lines of one dialogue, and changes the client's that have a secret."""

    def __init__(self) -> None:
        self._mechanism = b""
        self._responses = 0
        self._asked = False
        self._literal = False

    def server(self, line: bytes) -> None:
        """A line without CRLF."""
        self._asked = line[:1] == b"+" and line[:3] != b"+OK" or line[:4] == b"334 " or line == b"334"
        if not self._asked and (line[:3].isdigit() or line[:3] in (b"+OK", b"-ER") or b" OK" in line[:20]):
            self._mechanism = b""

    def client(self, line: bytes) -> bytes:
        """A line without CRLF, as it may be shown."""
        if self._literal:
            self._literal = _LITERAL.search(line) is not None
            return HIDDEN + line[line.rfind(b"{") :] if self._literal else HIDDEN
        if self._mechanism and self._asked:
            return self._response(line)
        if found := _AUTH.fullmatch(line):
            self._mechanism, self._responses = found[2].upper(), 0
            return found[1] + b" " + self._response(found[3]) if found[3] else line
        self._literal = _LITERAL_LOGIN.fullmatch(line) is not None
        for pattern in _WORDS:
            if not self._literal and (found := pattern.fullmatch(line)):
                return found[1] + HIDDEN
        return line

    def _response(self, line: bytes) -> bytes:
        self._responses += 1
        if line in (b"*", b"="):
            return line
        try:
            said = b64decode(line, validate=True)
        except (binascii.Error, ValueError):
            return HIDDEN
        if self._mechanism == b"PLAIN" and said.count(b"\0") == 2:
            return b64encode(said.rpartition(b"\0")[0] + b"\0" + HIDDEN)
        if self._mechanism == b"LOGIN":
            return line if self._responses == 1 else b64encode(HIDDEN)
        return HIDDEN
