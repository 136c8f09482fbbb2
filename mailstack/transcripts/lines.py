"""The lines of a transcript: octets to text and back, and what a line accepts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

WILDCARD = "<...>"
EVENT = re.compile(r"\*[a-z]+\*")
_OCTET = re.compile(r"\\x([0-9A-Fa-f]{2})")
_LIKE_OCTET = re.compile(r"\\(?=x[0-9A-Fa-f]{2})")
_LINE = re.compile(r"(?P<side>[CS])(?P<number>\d*)(?P<mark>[:-])(?: (?P<text>.*))?$")
_DIRECTIVE = re.compile(r"[a-z-]+:")
_HEREDOC = re.compile(r".*<<([A-Z]+)$")


class BadTranscript(ValueError):
    """A file is no transcript; the message has the line."""


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the dialogue. `octets` are those that the client says in it, with CRLF if that is said, too; an
    event has none."""

    number: int
    client: bool
    connection: int
    text: str
    octets: bytes = b""

    @property
    def is_event(self) -> bool:
        """As `*close*`: something happens, nothing is said."""
        return EVENT.fullmatch(self.text) is not None


def unescape(text: str) -> bytes:
    """The octets of a line: UTF-8, and `\\xNN` is one octet."""
    pieces = _OCTET.split(text)
    return b"".join(bytes([int(p, 16)]) if i % 2 else p.encode() for i, p in enumerate(pieces))


def escape(octets: bytes, *, client: bool) -> str:
    """A line without its CRLF as text that stands for these octets and nothing else."""
    try:
        text = octets.decode()
    except UnicodeDecodeError:
        text = "".join(chr(each) if 32 <= each < 127 else f"\\x{each:02x}" for each in octets)
    else:
        text = _LIKE_OCTET.sub(r"\\x5c", text)
        text = "".join(each if each.isprintable() else _escaped(each) for each in text)
    text = text.replace(WILDCARD, "\\x3c...>")
    pattern = not client and len(text) > 1 and text[0] == text[-1] == "/"
    if pattern or EVENT.match(text) or (client and re.fullmatch("<<[A-Z]+", text)):
        text = _escaped(text[0]) + text[1:]
    return text


def _escaped(character: str) -> str:
    return "".join(f"\\x{each:02x}" for each in character.encode())


def matcher(expected: str) -> Callable[[bytes], bool]:
    """What an `S:` line accepts."""
    if len(expected) > 1 and expected.startswith("/") and expected.endswith("/"):
        pattern = re.compile(expected[1:-1].encode(), re.DOTALL)
    else:
        pieces = [re.escape(unescape(piece)) for piece in expected.split(WILDCARD)]
        pattern = re.compile(b".*".join(pieces), re.DOTALL)
    return lambda line: pattern.fullmatch(line) is not None


def parse(text: str) -> list[Step]:
    """The dialogue of a transcript, without what tests say of the world around it. Raises: BadTranscript."""
    steps = []
    lines = iter(enumerate(text.split("\n"), 1))
    for number, line in lines:
        if match := _LINE.match(line):
            steps.append(_step(number, match, lines))
        elif _DIRECTIVE.match(line):
            if here := _HEREDOC.match(line):
                _here_document(here[1], lines)
        elif line.strip() and not line.startswith("#"):
            raise BadTranscript(f"line {number}: not a line of a transcript: {line[:60]!r}")
    return steps


def _step(number: int, match: re.Match[str], lines: Iterator[tuple[int, str]]) -> Step:
    text, connection = match["text"] or "", int(match["number"] or 1)
    if match["side"] == "S":
        return Step(number, False, connection, text)
    if EVENT.fullmatch(text):
        return Step(number, True, connection, text)
    if here := re.fullmatch(r"<<([A-Z]+)", text):
        return Step(number, True, connection, text, _here_document(here[1], lines))
    return Step(number, True, connection, text, unescape(text) + (b"" if match["mark"] == "-" else b"\r\n"))


def _here_document(end: str, lines: Iterator[tuple[int, str]]) -> bytes:
    octets: list[bytes] = []
    for _, line in lines:
        if line == end:
            return b"".join(octets)
        octets.append(unescape(line) + b"\r\n")
    raise BadTranscript(f"a here-document has no {end}")
