"""What follows a keyword (RFC 1939 §5–§7). Each raises BadSyntax."""

from __future__ import annotations

from mailstack.errors import BadSyntax

MAX_ARGUMENT = 1024
"""Characters of a user name or password."""
MAX_DIGITS = 10
"""Of a message number, or a number of lines."""


def nothing(text: str) -> None:
    """No argument."""
    if text and not text.isspace():
        raise BadSyntax("no argument")


def anything(text: str) -> str:
    """A user name or a password: spaces are part of it (RFC 1939 §7, PASS)."""
    if not text or len(text) > MAX_ARGUMENT:
        raise BadSyntax(f"an argument of 1 to {MAX_ARGUMENT} characters")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadSyntax("text in UTF-8") from None
    return text


def number(text: str) -> int:
    """A message number, or a number of lines."""
    digits = text.strip()
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= MAX_DIGITS):
        raise BadSyntax("a message number")
    return int(digits)


def optional_number(text: str) -> int | None:
    """A message number, or None for all."""
    return number(text) if text.strip() else None


def two_numbers(text: str) -> tuple[int, int]:
    """A message number and a number of lines (RFC 1939 §7, TOP)."""
    words = text.split()
    if len(words) != 2:
        raise BadSyntax("a message number and a number of lines")
    return number(words[0]), number(words[1])


def mechanism_and_response(text: str) -> tuple[str, bytes | None]:
    """The mechanism in upper case, "" without one, and the initial response (RFC 5034 §4)."""
    words = text.split()
    if len(words) > 2:
        raise BadSyntax("a mechanism and an initial response")
    name = words[0].upper() if words else ""
    return name, words[1].encode("utf-8", "surrogateescape") if len(words) == 2 else None
