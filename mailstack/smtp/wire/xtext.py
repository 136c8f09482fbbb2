"""xtext: any octets as printable ones (RFC 3461 §4), and the same for addresses in UTF-8 (RFC 6533 §3)."""

from __future__ import annotations

import re

from mailstack.errors import BadSyntax

_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")
_HEXCHAR = re.compile(r"\+([0-9A-F]{2})")
_UNITEXT = re.compile(r"\\x\{([0-9A-F]{2,6})\}")
_PLAIN = re.compile(r"[^!-*,-<>-~]")


def decode_xtext(text: str) -> str:
    """What it stands for, which is printable ASCII and spaces here: nothing that is encoded may bring a line's
    end into a header field. Raises: BadSyntax."""
    # xtext = *( xchar / hexchar ), hexchar = "+" 2(%x30-39 / %x41-46)   ; RFC 3461 §4
    if not _XTEXT.fullmatch(text):
        raise BadSyntax("xtext")
    plain = _HEXCHAR.sub(lambda match: chr(int(match[1], 16)), text)
    if not plain.isascii() or not plain.isprintable():
        raise BadSyntax("xtext of printable ASCII")
    return plain


def encode_xtext(text: str) -> str:
    """ASCII as xtext."""
    return _PLAIN.sub(lambda match: f"+{ord(match[0]):02X}", text)


def decode_unitext(text: str) -> str:
    r"""An address in UTF-8, of which some characters may be `\x{HEX}` (utf-8-addr-xtext, utf-8-addr-unitext).
    Raises: BadSyntax."""
    # EmbeddedUnicodeChar = %x5C.78 "{" HEXPOINT "}"   ; RFC 6533 §3
    try:
        plain = _UNITEXT.sub(lambda match: chr(int(match[1], 16)), text)
        plain.encode("utf-8")
    except (ValueError, OverflowError):
        raise BadSyntax(r"\x{} of a character") from None
    if not plain.isprintable():
        raise BadSyntax("printable characters")
    return plain


def encode_unitext(text: str) -> str:
    r"""As utf-8-addr-xtext, which is ASCII."""
    return "".join(c if c in _SAFE else f"\\x{{{ord(c):02X}}}" for c in text)


_SAFE = frozenset(chr(code) for code in range(0x21, 0x7F)) - set("+=\\")
