"""Octets from a server become replies (RFC 5321 §4.2); no IO.

What servers do that the RFC does not have is taken where it can mean but one thing: a line that ends in a bare LF, a
code without text, lines of one reply whose codes differ in more than the first digit (the last one counts). Anything
else is `BadReply`, after which it is not known any more which reply belongs to which command."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mailstack.errors import FramingLost

MAX_REPLY_LINE = 16 * 1024
"""Octets of one line. RFC 5321 §4.5.3.1.5 has 512; challenges of AUTH may have 12288 (RFC 4954 §4)."""
MAX_REPLY = 64 * 1024
"""Octets of all lines of one reply; ours. An EHLO reply has some hundreds."""
MAX_TEXT = 500
"""Characters of `Reply.text`: it goes into logs and reports."""

# Reply-line = *( Reply-code "-" [ textstring ] CRLF ) Reply-code [ SP textstring ] CRLF   ; RFC 5321 §4.2
_LINE = re.compile(rb"([2-5][0-9][0-9])(?:([ -])([^\r\n]*))?\r*\n")
# status-code = class "." subject "." detail   ; RFC 3463 §2
_STATUS = re.compile(r"([245])\.(\d{1,3}\.\d{1,3})(?= |$)")


class BadReply(FramingLost):
    """What the server says is no reply, or too long for one; the message shows its beginning."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply: its code, and its lines without code, what is no UTF-8 in them replaced."""

    code: int
    lines: tuple[str, ...]

    @property
    def positive(self) -> bool:
        """Positive completion: 2yz (RFC 5321 §4.2.1)."""
        return 200 <= self.code < 300

    @property
    def status(self) -> str:
        """The enhanced status code, with the class that the reply code has (RFC 2034 §4); "" if there is none."""
        found = _STATUS.match(self.lines[-1]) or _STATUS.match(self.lines[0])
        return f"{self.code // 100}.{found[2]}" if found and self.code >= 200 and self.code // 100 != 3 else ""

    @property
    def text(self) -> str:
        """All of it in one printable line: the code, then the enhanced status code once, then the words."""
        pieces = [self.lines[0]]
        found = _STATUS.match(self.lines[0])
        for line in self.lines[1:]:
            pieces.append(line.removeprefix(found[0]).lstrip() if found else line)
        text = " ".join(piece for piece in pieces if piece)
        return printable(f"{self.code} {text}".rstrip())


class ReplyParser:
    """The server's octets, in order. `feed` it, then ask `next_reply`. Keeps at most MAX_REPLY octets and what was
    fed last."""

    __slots__ = ("_buffer", "_lines", "_position", "_size")

    def __init__(self) -> None:
        self._buffer = b""
        self._position = 0
        self._lines: list[tuple[int, str]] = []
        self._size = 0

    def feed(self, data: bytes) -> None:
        """Take what came from the connection."""
        if self._position >= len(self._buffer):
            self._buffer = data
        else:
            self._buffer = self._buffer[self._position :] + data
        self._position = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing came that was not asked for."""
        return self._position >= len(self._buffer) and not self._lines

    def next_reply(self) -> Reply | None:
        """The next reply, None if it is not complete yet. Raises: BadReply."""
        while True:
            match = _LINE.match(self._buffer, self._position)
            if match is None:
                self._check_rest()
                return None
            self._take(match)
            if match[2] != b"-":
                lines, self._lines, self._size = self._lines, [], 0
                return Reply(lines[-1][0], tuple([text for _, text in lines]))

    def _take(self, match: re.Match[bytes]) -> None:
        size = match.end() - self._position
        self._size += size
        if size > MAX_REPLY_LINE or self._size > MAX_REPLY:
            raise BadReply(f"a reply of more than {MAX_REPLY_LINE if size > MAX_REPLY_LINE else MAX_REPLY} octets")
        code, text = int(match[1]), (match[3] or b"").decode("utf-8", "replace")
        if self._lines and self._lines[0][0] // 100 != code // 100:
            raise BadReply(f"one reply with the codes {self._lines[0][0]} and {code}")
        self._lines.append((code, text))
        self._position = match.end()

    def _check_rest(self) -> None:
        """What there is may become a line, or else raises BadReply."""
        at = self._position
        end = self._buffer.find(b"\n", at)
        if end >= 0 or not _may_begin(self._buffer[at : at + 4]):
            line = self._buffer[at : min(at + 80, end if end >= 0 else len(self._buffer))].decode("utf-8", "replace")
            raise BadReply(f"not a reply: {printable(line.strip())!r}")
        if len(self._buffer) - at > MAX_REPLY_LINE:
            raise BadReply(f"a reply line of more than {MAX_REPLY_LINE} octets")


def _may_begin(octets: bytes) -> bool:
    digits = octets[:3].rstrip(b"\r")
    if digits and (not digits.isdigit() or digits[0] not in b"2345"):
        return False
    return len(octets) < 4 or octets[3] in b" -\r"


def printable(text: str) -> str:
    """One line for people, of at most MAX_TEXT characters."""
    text = text[:MAX_TEXT]
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)
