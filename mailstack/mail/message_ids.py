"""The msg-ids of Message-ID, References and In-Reply-To (RFC 5322 §3.6.4), normalised (RFC 5256 §3, THREAD)."""

from __future__ import annotations

import re

from mailstack.mail.words import unquote

# msg-id = [CFWS] "<" id-left "@" id-right ">" [CFWS]
_ANGLE = re.compile(rb"<((?:\"(?:[^\"\\]|\\.)*+\"|[^<>\"])*+)>", re.DOTALL)
_QUOTED = re.compile(rb"\"((?:[^\"\\]|\\.)*+)(?:\"|\\?\Z)", re.DOTALL)
_OBSOLETE_SPACE = re.compile(rb"(?<=[.@])[ \t]++|(?<![ \t])[ \t]++(?=[.@])")
_INSIDE = re.compile(rb"[^ \t@]++@[^ \t]*+(?<!@)")


def message_ids(value: bytes) -> list[bytes]:
    """The valid msg-ids of an unfolded value in their order, without angle brackets and quoting."""
    if b"<" not in value:
        return []
    found = []
    for inside in _ANGLE.findall(value):
        quoted = b'"' in inside
        if not quoted and _INSIDE.fullmatch(inside):
            found.append(inside)
        elif made := _normalised(inside):
            found.append(made)
    return found


def _normalised(inside: bytes) -> bytes:
    """b"" if it is no msg-id. White space is allowed around "." and "@" (RFC 5322 §4.5.4)."""
    left, at, right = inside.strip(b" \t").rpartition(b"@")
    if not at or not left.strip(b" \t") or not right.strip(b" \t"):
        return b""
    if b'"' in left:
        left = _QUOTED.sub(lambda match: unquote(match[1]), left.strip(b" \t"))
        right = _OBSOLETE_SPACE.sub(b"", right.strip(b" \t"))
        return left + b"@" + right if b" " not in right and b"\t" not in right else b""
    whole = _OBSOLETE_SPACE.sub(b"", left + b"@" + right)
    return b"" if b" " in whole or b"\t" in whole else whole
