"""The header section of a message or body part, as octets (RFC 5322 §2.2).

Everything here is tolerant: a line that is no field belongs to nobody, and nothing raises.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import NamedTuple, Protocol

MAX_HEADER = 256 * 1024
"""Octets of one header section that are looked at; ours, well above the largest seen in real mail."""
MAX_FIELDS = 10_000
"""Fields of one header section that are looked at; ours."""


class Findable(Protocol):
    """What is needed of a message: `bytes`, or `ports.Octets`."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: slice, /) -> bytes: ...

    def find(self, sub: bytes, start: int = 0, end: int = ..., /) -> int: ...

    def count(self, sub: bytes, start: int = 0, end: int = ..., /) -> int: ...


class Field(NamedTuple):
    """One field: its name as written, and where it lies in the block: [start, end) with its CRLF,
    the value beginning at `value`, right after the colon."""

    name: bytes
    start: int
    value: int
    end: int


# field = field-name ":" unstructured CRLF, and the obs- forms with WSP before the colon  ; RFC 5322 §2.2, §4.5.8
_FIELD = re.compile(rb"^([!-9;-~]++)[ \t]*+:([^\n]*+\n?(?:[ \t][^\n]*+\n?)*+)", re.MULTILINE)
# The same with a group for the whole of it.
_WHOLE_FIELD = re.compile(rb"^(([!-9;-~]++)[ \t]*+:[^\n]*+\n?(?:[ \t][^\n]*+\n?)*+)", re.MULTILINE)
# The same of the fields that are asked for of every message, each after the line end of the line before it.
_COMMON = re.compile(
    rb"\n(date|subject|from|sender|reply-to|to|cc|bcc|message-id|in-reply-to|references)[ \t]*+:"
    rb"([^\n]*+(?:\n[ \t][^\n]*+)*+)",
    re.IGNORECASE,
)
_FOLD = re.compile(rb"\r?\n(?=[ \t])")


Values = dict[bytes, list[bytes]]
"""Raw values by field name in lower case, in their order."""


def body_start(octets: Findable, start: int, end: int) -> int:
    """Where the body begins, behind the blank line that ends the header at `start`; `end` if there
    is no blank line."""
    if octets[start : min(start + 2, end)] == b"\r\n":
        return start + 2
    found = octets.find(b"\r\n\r\n", start, end)
    return end if found < 0 else found + 4


def block(octets: Findable, start: int, end: int) -> bytes:
    """The header section [start, end) as bytes, cut at MAX_HEADER."""
    return octets[start : min(end, start + MAX_HEADER)]


def whole_header(octets: Findable) -> bytes:
    """The header section of a whole message, cut at MAX_HEADER; no more of the message is looked at."""
    return octets[: body_start(octets, 0, MAX_HEADER)]


def fields(header: bytes) -> Iterator[Field]:
    """The fields of a header section in their order, at most MAX_FIELDS."""
    for count, match in enumerate(_FIELD.finditer(header)):
        if count == MAX_FIELDS:
            return
        yield Field(match[1], match.start(), match.start(2), match.end())


def values(header: bytes) -> Values:
    """The raw values (not unfolded, with their CRLF) by field name in lower case, in their order."""
    found: Values = {}
    get = found.get
    for name, value in _FIELD.findall(header)[:MAX_FIELDS]:
        name = name.lower()
        known = get(name)
        if known is None:
            found[name] = [value]
        else:
            known.append(value)
    return found


class Headed(bytes):
    """A whole message whose header is taken apart once, for several that ask."""

    common: Values | None = None


def common_values(octets: Findable) -> Values:
    """As `values` of a whole message's header, but only the fields that envelopes, searches, orders and threads are
    made of, and in half the time."""
    if isinstance(octets, Headed):
        if octets.common is None:
            octets.common = _common_values(octets)
        return octets.common
    return _common_values(octets)


def _common_values(octets: Findable) -> Values:
    found: Values = {}
    for name, value in _COMMON.findall(b"\n" + whole_header(octets))[:MAX_FIELDS]:
        name = name.lower()
        if name in found:
            found[name].append(value)
        else:
            found[name] = [value]
    return found


def unfold(value: bytes) -> bytes:
    """A raw value as one line without white space around it (RFC 5322 §2.2.3)."""
    value = value.strip(b" \t\r\n")
    lines = value.count(b"\n")
    if not lines:
        return value
    if lines == value.count(b"\r\n"):
        return value.replace(b"\r\n ", b" ").replace(b"\r\n\t", b"\t")
    return _FOLD.sub(b"", value)


def subset(header: bytes, names: Collection[bytes], *, exclude: bool) -> bytes:
    """The fields named, or with `exclude` everything but those, octet for octet in their order, and the
    blank line if the header has one (RFC 9051 §6.4.5.1). `names` are in lower case."""
    blank = len(header) - 2 if header.endswith(b"\r\n\r\n") or header == b"\r\n" else len(header)
    if not exclude:
        found = _WHOLE_FIELD.findall(header)[:MAX_FIELDS]
        return b"".join([field for field, name in found if name.lower() in names]) + header[blank:]
    pieces: list[bytes] = []
    kept = 0
    for field in fields(header):
        if field.name.lower() in names:
            pieces.append(header[kept : field.start])
            kept = min(field.end, blank)
    return b"".join([*pieces, header[kept:]])
