"""Collations (RFC 4790): how text is compared when messages are sorted and searched (RFC 5255 §4, RFC 5256 §7)."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass


class _Casemap(dict[int, str]):
    """Code point → what it is compared as; filled as text comes along."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        title = char.title()
        if len(title) != 1:  # of full case mapping; the collation has only that of UnicodeData.txt
            title = char
        # Hangul syllables have no decomposition in UnicodeData.txt, and NFKD would give them one.
        made = unicodedata.normalize("NFKD", title) if unicodedata.decomposition(title) else title
        self[code] = made
        return made


_CASEMAP = _Casemap()


def casemap(text: str) -> str:
    # RFC 5051 §2: titlecase mapping, then decomposition, of each character by itself
    """`text` as i;unicode-casemap compares it: two texts are equal if these are, and stand in the order of
    these, whether by code points or by the octets of UTF-8."""
    return text.upper() if text.isascii() else text.translate(_CASEMAP)


def ascii_casemap(text: str) -> str:
    """`text` as i;ascii-casemap compares it (RFC 4790 §9.2): the letters of US-ASCII in upper case."""
    return (
        text.upper()
        if text.isascii()
        else text.encode("utf-8", "surrogatepass").upper().decode("utf-8", "surrogatepass")
    )


def octets(text: str) -> str:
    """`text` as i;octet compares it (RFC 4790 §9.3): as it is. Code points stand in the order of UTF-8's octets."""
    return text


@dataclass(frozen=True, slots=True)
class Collation:
    """Two texts are equal, one is in another, or they stand in an order if that is so of what `map` makes of them."""

    name: str
    map: Callable[[str], str]


DEFAULT = Collation("i;unicode-casemap", casemap)
COLLATIONS: Mapping[str, Collation] = {
    each.name: each for each in (DEFAULT, Collation("i;ascii-casemap", ascii_casemap), Collation("i;octet", octets))
}
"""By name, the most widely useful first (RFC 4790 §3.2)."""
