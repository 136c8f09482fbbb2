"""A message with 8-bit text, made one of 7-bit text for a server that takes no other (RFC 6152 §3; RFC 2045 §6).

Only the transfer encodings of parts change, never what is in them, and nothing that is signed or encrypted as it
stands (RFC 1847 §2.1). A DKIM signature over the body does not survive it, which no other way could help."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator

from mailstack.mail import mime
from mailstack.mail.mime import Part

MAX_OCTETS = 32 * 1024 * 1024
"""Of a message; ours: it is converted in memory."""
_ENCODING = re.compile(
    rb"^content-transfer-encoding[ \t]*+:[^\n]*+\n?(?:[ \t][^\n]*+\n?)*+", re.IGNORECASE | re.MULTILINE
)
_TYPE = re.compile(rb"^content-type[ \t]*+:", re.IGNORECASE | re.MULTILINE)
_UNENCODED = (b"7bit", b"8bit", b"binary")
_SEALED = (b"signed", b"encrypted")
_EDIT = tuple[int, int, bytes]
_UNKNOWN = b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\n"
"""For who sent 8-bit text without MIME (RFC 1428 §3)."""


class CannotConvert(Exception):
    """The message cannot go without 8-bit transport; says why."""


def downconvert(octets: bytes) -> bytes:
    """The message, its lines ending in CRLF, in ASCII. Raises: CannotConvert."""
    if len(octets) > MAX_OCTETS:
        raise CannotConvert(f"it has more than {MAX_OCTETS} octets")
    pieces: list[bytes] = []
    at = 0
    for start, end, new in _edits(octets, mime.scan(octets), root=True):
        pieces += (octets[at:start], new)
        at = end
    converted = b"".join([*pieces, octets[at:]])
    if not converted.isascii():
        raise CannotConvert("there is 8-bit text outside of its parts")
    return converted


def _edits(octets: bytes, part: Part, *, root: bool = False) -> Iterator[_EDIT]:
    """What to replace, in the order of the octets."""
    header = octets[part.header_start : part.body_start]
    if not header.isascii():
        raise CannotConvert("it has a header field in 8-bit text")
    if part.type == b"multipart" and part.subtype in _SEALED:
        if not octets[part.body_start : part.end].isascii():
            raise CannotConvert(f"what is {part.subtype.decode()} has 8-bit text in it")
        return
    if part.type == b"multipart" or part.message is not None:
        if part.encoding in _UNENCODED[1:]:
            yield _relabelled(part, header, b"7bit")
        for inner in (part.message,) if part.message is not None else part.children:
            yield from _edits(octets, inner)
        return
    yield from _leaf(octets, part, header, root=root)


def _leaf(octets: bytes, part: Part, header: bytes, *, root: bool) -> Iterator[_EDIT]:
    body = octets[part.body_start : part.end]
    if body.isascii():
        if part.encoding in _UNENCODED[1:]:
            yield _relabelled(part, header, b"7bit")
        return
    if part.encoding not in _UNENCODED:
        raise CannotConvert(f"a part in {part.encoding.decode('ascii', 'replace')} has 8-bit text in it")
    if part.type == b"message":
        raise CannotConvert("a part is a message of which not all is there")
    if not header.endswith(b"\r\n"):
        raise CannotConvert("it has no header")
    eighth = len(body) - len(body.translate(None, _EIGHT_BIT))
    quoted = part.type == b"text" and eighth * 6 < len(body)
    unknown = _UNKNOWN if root and not _TYPE.search(header) else b""
    yield _relabelled(part, header, b"quoted-printable" if quoted else b"base64", unknown)
    yield part.body_start, part.end, _quoted_printable(body) if quoted else _base64(body)


_EIGHT_BIT = bytes(range(128, 256))


def _relabelled(part: Part, header: bytes, encoding: bytes, more: bytes = b"") -> _EDIT:
    """The header with another Content-Transfer-Encoding; the first one counts, and there may be none."""
    field = b"Content-Transfer-Encoding: %s\r\n" % encoding
    without = _ENCODING.sub(b"", header)
    blank = 2 if without.endswith(b"\r\n\r\n") or without == b"\r\n" else 0
    cut = len(without) - blank
    return part.header_start, part.body_start, without[:cut] + more + field + without[cut:]


def _quoted_printable(body: bytes) -> bytes:
    # The library breaks lines as the text's own are, of which there must be one.
    ended = body if b"\r\n" in body else body + b"\r\n"
    return binascii.b2a_qp(ended, istext=True)[: None if ended is body else -2]


def _base64(body: bytes) -> bytes:
    lines = [binascii.b2a_base64(body[at : at + 57], newline=False) for at in range(0, len(body), 57)]
    return b"\r\n".join([*lines, b""])
