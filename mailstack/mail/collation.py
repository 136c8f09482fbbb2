"""The collation i;unicode-casemap (RFC 5051), by which SORT and THREAD compare text (RFC 5256 §7)."""

from __future__ import annotations

import unicodedata


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
