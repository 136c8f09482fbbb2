"""Text in header fields: charsets, encoded-words (RFC 2047), parameters (RFC 2045 §5.1, RFC 2231).

Everything here is tolerant: what cannot be decoded stays as it is, and nothing raises.
"""

from __future__ import annotations

import binascii
import codecs
import re
from urllib.parse import quote_from_bytes, unquote_to_bytes

MAX_PARAMETERS = 100
"""Parameters of one field that are looked at; ours."""
MAX_CONTINUATIONS = 100
"""Sections of one continued parameter that are joined; ours, above any file name's need."""
MAX_VALUE = 64 * 1024
"""Octets of one field's value that are taken apart; ours."""

_NOT_CHARSETS = frozenset({"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined"})
"""Python knows them as text encodings, but they are no MIME charsets, and some are slow."""

# encoded-word = "=?" charset ["*" language] "?" encoding "?" encoded-text "?="  ; RFC 2047 §2, RFC 2231 §5
_ENCODED_WORD = re.compile(rb"=\?([^?*\s]{1,64})(?:\*[^?\s]{0,64})?\?([bBqQ])\?([^?\r\n]*)\?=")
_NON_BASE64 = bytes(octet for octet in range(256) if not re.match(rb"[A-Za-z0-9+/]", bytes([octet])))


def decode(data: bytes, charset: str) -> str:
    """Octets as text; an unknown charset is guessed as UTF-8, else as Latin-1."""
    name = charset.strip().strip("\"'").lower()
    if name.replace("-", "_") not in _NOT_CHARSETS:
        try:
            return data.decode(name or "us-ascii")
        except LookupError:
            return guess(data)
        except ValueError:
            return guess(data) if name in ("", "us-ascii", "ascii", "utf-8", "utf8") else _replace(data, name)
    return guess(data)


def _replace(data: bytes, charset: str) -> str:
    try:
        return data.decode(charset, "replace")
    except (LookupError, ValueError):
        return guess(data)


def guess(data: bytes) -> str:
    """Octets of no declared charset: UTF-8 if they are that, else Latin-1."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def is_charset(name: str) -> bool:
    """Whether text can be decoded from a charset of this name."""
    if name.lower().replace("-", "_") in _NOT_CHARSETS:
        return False
    try:
        b" ".decode(name)
    except UnicodeError:
        return True
    except (LookupError, ValueError):
        return False
    return True


def looks_like_utf8(sample: bytes) -> bool:
    """Whether the octets, which may end within a character, are UTF-8."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample)
    except UnicodeDecodeError:
        return False
    return True


def decode_words(value: bytes) -> str:
    """An unfolded value with its encoded-words decoded. White space between two encoded-words
    vanishes (RFC 2047 §6.2); a character split between two words of one charset is put together."""
    if b"=?" not in value:
        return guess(value)
    pieces: list[str] = []
    pending, pending_charset, at = bytearray(), "", 0
    for match in _ENCODED_WORD.finditer(value):
        charset = match[1].decode("latin-1").lower()
        gap = value[at : match.start()]
        adjacent = bool(pending) and not gap.strip(b" \t\r\n")
        if pending and not (adjacent and charset == pending_charset):
            pieces.append(decode(bytes(pending), pending_charset))
            pending.clear()
        if not adjacent:
            pieces.append(guess(gap))
        pending += _encoded_text(match[2], match[3])
        pending_charset, at = charset, match.end()
    if pending:
        pieces.append(decode(bytes(pending), pending_charset))
    pieces.append(guess(value[at:]))
    return "".join(pieces)


def _encoded_text(encoding: bytes, text: bytes) -> bytes:
    if encoding in b"qQ":
        return binascii.a2b_qp(text, header=True)
    return base64(text)


def base64(text: bytes) -> bytes:
    """What base64 decodes to, whatever is between or missing at the end."""
    text = text.translate(None, _NON_BASE64)
    if len(text) % 4 == 1:
        text = text[:-1]
    return binascii.a2b_base64(text + b"=" * (-len(text) % 4))


# --- parameters -----------------------------------------------------------------------------

Parameters = tuple[tuple[bytes, bytes], ...]
"""Names in lower case and values without quotes, in their order."""

# parameter = attribute "=" value ; value = token / quoted-string  ; RFC 2045 §5.1, and what real mail does
_PARAMETER = re.compile(
    rb";[ \t\r\n]*+([^\x00-\x20=;\"]++)[ \t\r\n]*+=[ \t\r\n]*+(?:\"((?:[^\"\\]|\\.)*+)(?:\"|\\?\Z)|([^;]*+))", re.DOTALL
)
# a token with a comment behind it, as in the example of RFC 2045 §5.1: us-ascii (Plain text)
_COMMENTED = re.compile(rb"([^\x00-\x20()<>@,;:\\\"/\[\]?=]++)[ \t\r\n]++\([^()]*+\)\Z")
_QUOTED_PAIR = re.compile(rb"\\(.)", re.DOTALL)
# attribute *section* of RFC 2231 §3 and §4: name*0, name*0*, name*
_SECTION = re.compile(rb"([^*]+)\*(?:([0-9]{1,4})(\*)?)?\Z")


def parameters(value: bytes) -> Parameters:
    """The parameters behind the first ";" of an unfolded value, continuations joined: sections
    of plain text become `name`, sections of which any is extended become `name*` with the charset
    UTF-8 (RFC 9051 §7.5.2)."""
    if b";" not in value:
        return ()
    plain: list[tuple[bytes, bytes]] = []
    for match in _PARAMETER.finditer(value[:MAX_VALUE]):
        if len(plain) == MAX_PARAMETERS:
            break
        name, quoted, token = match[1], match[2], match[3]
        text = unquote(quoted) if quoted is not None else _without_comment(token.strip(b" \t\r\n"))
        plain.append((name.lower(), text))
    if not any(b"*" in name for name, _ in plain):
        return tuple(plain)
    return _join(plain)


def _without_comment(token: bytes) -> bytes:
    commented = _COMMENTED.match(token) if token.endswith(b")") else None
    return commented[1] if commented is not None else token


def unquote(quoted: bytes) -> bytes:
    """The inside of a quoted-string without its backslashes."""
    return _QUOTED_PAIR.sub(rb"\1", quoted) if b"\\" in quoted else quoted


def _join(plain: list[tuple[bytes, bytes]]) -> Parameters:
    """RFC 2231 §3: put the sections of each continued parameter together, where its first stood."""
    joined: dict[bytes, bytes] = {}
    sections: dict[bytes, dict[int, tuple[bytes, bool]]] = {}
    for name, text in plain:
        match = _SECTION.match(name)
        if match is None or match[2] is None:
            joined.setdefault(name, text)
            continue
        numbered = sections.setdefault(match[1], {})
        numbered.setdefault(int(match[2]), (text, match[3] is not None))
        joined.setdefault(match[1] + b"*0", b"")
    for base, numbered in sections.items():
        pieces = []
        for number in range(MAX_CONTINUATIONS):
            if number not in numbered:
                break
            pieces.append(numbered[number])
        joined[base + b"*0"] = b""
        extended = any(is_extended for _, is_extended in pieces)
        joined[base + b"*0"] = _extended(pieces) if extended else b"".join(text for text, _ in pieces)
        if extended:
            sections[base] = {-1: (b"", True)}
    return tuple((_joined_name(name, sections), text) for name, text in joined.items())


def _joined_name(name: bytes, sections: dict[bytes, dict[int, tuple[bytes, bool]]]) -> bytes:
    base = name.removesuffix(b"*0")
    if base == name or base not in sections:
        return name
    return base + b"*" if -1 in sections[base] else base


def _extended(pieces: list[tuple[bytes, bool]]) -> bytes:
    """Sections as one extended value with charset UTF-8: "utf-8'language'percent-encoded"."""
    charset, language, octets = b"", b"", b""
    for number, (text, is_extended) in enumerate(pieces):
        if number == 0 and is_extended and text.count(b"'") >= 2:
            charset, language, text = text.split(b"'", 2)
        octets += unquote_to_bytes(text) if is_extended else text
    encoded = quote_from_bytes(decode(octets, charset.decode("latin-1")).encode("utf-8", "replace"), safe="")
    return b"utf-8'" + language + b"'" + encoded.encode()


def parameter(params: Parameters, name: bytes) -> str:
    """The value of one parameter as text, its extended form (RFC 2231 §4) first; "" if absent."""
    found: str = ""
    for key, value in params:
        if key == name + b"*":
            charset, _, text = value.rpartition(b"'")
            return decode(unquote_to_bytes(text), charset.partition(b"'")[0].decode("latin-1"))
        if key == name and not found:
            found = decode_words(value)
    return found
