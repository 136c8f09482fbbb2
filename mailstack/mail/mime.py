"""Where the parts of a message lie (RFC 2045, RFC 2046), as offsets into its octets.

The scanner looks at headers and delimiter lines and at nothing else. It never raises: what is odd
becomes the nearest thing that is not. A multipart of which no part can be found has one text/plain
part, its whole body. Past MAX_DEPTH a multipart or message is an application/octet-stream.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from mailstack.mail.header import Findable, block, body_start, unfold
from mailstack.mail.words import Parameters, parameters

MAX_DEPTH = 50
"""How deep parts lie in one another at most; ours. Real mail that was forwarded often has some 20."""
MAX_PARTS = 10_000
"""Parts of one message at most, as Dovecot has it; what follows belongs to the last one."""
MAX_NEAR_DELIMITERS = 100_000
"""Lines of one message that begin like a delimiter and are none; ours. Boundaries that begin alike could
else make every level look at every line. What follows has no delimiters any more."""
MAX_BOUNDARY = 256
"""Octets of a boundary; RFC 2046 §5.1.1 allows 70, some senders take more."""
MAX_PADDING = 1024
"""Octets of white space after a delimiter (transport-padding of RFC 2046 §5.1.1); ours."""

SHORT_TYPE = 200
"""Octets of a Content-Type that is remembered once it was taken apart: most parts have one of a few."""
MAX_TYPES = 1024
"""Content-Types that are remembered, at most about 1 KB each; ours."""

_FIELD = re.compile(
    rb"content-(type|transfer-encoding|disposition|id|description|language|location|md5)[ \t]*+:"
    rb"([^\n]*+\n?(?:[ \t][^\n]*+\n?)*+)",
    re.IGNORECASE,
)
# content := "Content-Type" ":" type "/" subtype   ; RFC 2045 §5.1
_TYPE = re.compile(rb"[ \t]*([!#$&\-^_.+0-9A-Za-z*'`{|}~%]+)[ \t]*/[ \t]*([!#$&\-^_.+0-9A-Za-z*'`{|}~%]+)")
_TOKEN = re.compile(rb"[!#$&\-^_.+0-9A-Za-z*'`{|}~%]+")
_TEXT_PLAIN = (b"text", b"plain")
_RFC822 = (b"message", b"rfc822")
_OCTET_STREAM = (b"application", b"octet-stream")
_US_ASCII: Parameters = ((b"charset", b"us-ascii"),)


@dataclass(slots=True, eq=False)
class Part:
    """A message or body part: its header is [header_start, body_start), its body [body_start, end).

    Names, types and `encoding` are in lower case; other values are as in the header, unfolded, and
    None if there is none. `children` are a multipart's parts; `message` is what a message/rfc822 or
    message/global has inside, its header beginning where this part's body does. `lines` counts the
    line ends of the body of text and of messages, and is 0 for others.
    """

    header_start: int
    body_start: int
    end: int
    type: bytes
    subtype: bytes
    params: Parameters
    encoding: bytes = b"7bit"
    id: bytes | None = None
    description: bytes | None = None
    disposition: bytes | None = None
    disposition_params: Parameters = ()
    language: tuple[bytes, ...] = ()
    location: bytes | None = None
    md5: bytes | None = None
    lines: int = 0
    children: tuple[Part, ...] = ()
    message: Part | None = None

    @property
    def size(self) -> int:
        """Octets of the body, still encoded."""
        return self.end - self.body_start

    def param(self, name: bytes) -> bytes | None:
        """The raw value of a parameter of Content-Type."""
        for key, value in self.params:
            if key == name:
                return value
        return None


def scan(octets: Findable) -> Part:
    """The structure of a whole message."""
    return _Scan(octets).part(0, len(octets), 0, _TEXT_PLAIN)


class _Scan:
    def __init__(self, octets: Findable) -> None:
        self._octets = octets
        self._left = MAX_PARTS
        self._near_left = MAX_NEAR_DELIMITERS

    def part(self, start: int, end: int, depth: int, default: tuple[bytes, bytes]) -> Part:
        octets = self._octets
        body = body_start(octets, start, end)
        found = _content_fields(block(octets, start, body))
        kind, subtype, params = _content_type(found.get(b"type"), default)
        composite = kind == b"multipart" or (kind == b"message" and subtype in (b"rfc822", b"global"))
        if composite and depth >= MAX_DEPTH:
            (kind, subtype), composite = _OCTET_STREAM, False
        part = Part(start, body, end, kind, subtype, params)
        if found:
            _fill(part, found)
        if kind == b"text":
            part.lines = octets.count(b"\n", body, end)
        elif composite and kind == b"message":
            part.lines = octets.count(b"\n", body, end)
            self._left -= 1
            part.message = self.part(body, end, depth + 1, _TEXT_PLAIN)
        elif composite:
            part.children = self._children(part, depth)
        return part

    def _children(self, multipart: Part, depth: int) -> tuple[Part, ...]:
        default = _RFC822 if multipart.subtype == b"digest" else _TEXT_PLAIN
        boundary = multipart.param(b"boundary")
        spans = self._spans(multipart, boundary) if boundary and len(boundary) <= MAX_BOUNDARY else []
        if not spans:
            start, end = multipart.body_start, multipart.end
            lines = self._octets.count(b"\n", start, end)
            return (Part(start, start, end, *_TEXT_PLAIN, _US_ASCII, lines=lines),)
        return tuple([self.part(start, end, depth + 1, default) for start, end in spans])

    def _spans(self, multipart: Part, boundary: bytes) -> list[tuple[int, int]]:
        """Start and end of each part, between the delimiter lines (RFC 2046 §5.1.1)."""
        octets, end = self._octets, multipart.end
        delimiter = b"\r\n--" + boundary
        spans: list[tuple[int, int]] = []
        start = -1
        # The CRLF before the first delimiter may be the one of the header's blank line.
        at = octets.find(delimiter, max(multipart.body_start - 2, 0), end)
        while at >= 0:
            after, closes = self._after(at + len(delimiter), end)
            if after < 0:
                self._near_left -= 1
                if self._near_left <= 0:
                    break
                at = octets.find(delimiter, at + 2, end)
                continue
            if start >= 0:
                spans.append((start, max(at, start)))
            start = -1
            if closes or self._left <= 0:
                break
            start = after
            self._left -= 1
            if self._left <= 0:
                break
            at = octets.find(delimiter, max(after - 2, at + 2), end)
        if start >= 0:
            spans.append((start, end))
        return spans

    def _after(self, at: int, end: int) -> tuple[int, bool]:
        """The start of the line after the delimiter whose boundary ends at `at`, and whether it is the
        closing one; -1 if the line goes on, as the boundary of another multipart does."""
        octets = self._octets
        rest = octets[at : min(at + 4, end)]
        if rest[:2] == b"\r\n":
            return at + 2, False
        closes = rest[:2] == b"--"
        if closes:
            at += 2
            rest = rest[2:]
        if rest and rest[0] not in b" \t\r":
            return -1, False
        padding = octets[at : min(at + MAX_PADDING, end)]
        line = padding.lstrip(b" \t")
        if line and not line.startswith(b"\r\n"):
            return -1, False
        return min(at + len(padding) - len(line) + 2, end), closes


def _content_fields(header: bytes) -> dict[bytes, bytes]:
    """The raw value of each content- field by the rest of its name in lower case; the first wins."""
    found: dict[bytes, bytes] = {}
    lowered = header.lower()
    at = 0 if lowered.startswith(b"content-") else lowered.find(b"\ncontent-") + 1
    if not at and not lowered.startswith(b"content-"):
        return found
    while True:
        match = _FIELD.match(header, at)
        if match is not None:
            found.setdefault(match[1].lower(), match[2])
        at = lowered.find(b"\ncontent-", at) + 1
        if not at:
            return found


def _content_type(raw: bytes | None, default: tuple[bytes, bytes]) -> tuple[bytes, bytes, Parameters]:
    if raw is None:
        return *default, _US_ASCII if default is _TEXT_PLAIN else ()
    return _remembered_type(raw) if len(raw) <= SHORT_TYPE else _typed(raw)


def _typed(raw: bytes) -> tuple[bytes, bytes, Parameters]:
    value = unfold(raw)
    match = _TYPE.match(value)
    if match is None:
        # RFC 2045 §5.2: what cannot be understood is text/plain; "text" alone is what old software wrote
        return *_TEXT_PLAIN, parameters(value) or _US_ASCII
    kind, subtype = match[1].lower(), match[2].lower()
    params = parameters(value)
    if not params and kind == b"text":
        params = _US_ASCII
    return kind, subtype, params


_remembered_type = lru_cache(MAX_TYPES)(_typed)


def _fill(part: Part, found: dict[bytes, bytes]) -> None:
    """Take over the fields other than Content-Type."""
    for name, raw in found.items():
        value = unfold(raw)
        match name:
            case b"transfer-encoding":
                token = _TOKEN.match(value)
                if token is not None:
                    part.encoding = token[0].lower()
            case b"disposition":
                token = _TOKEN.match(value)
                if token is not None:
                    part.disposition = token[0].lower()
                    part.disposition_params = parameters(value)
            case b"id":
                part.id = value
            case b"description":
                part.description = value
            case b"language":
                # Content-Language: 1#language-tag   ; RFC 3282 §2
                part.language = tuple(tag for item in value.split(b",")[:100] if (tag := item.strip(b" \t")))
            case b"location":
                part.location = value
            case b"md5":
                part.md5 = value
