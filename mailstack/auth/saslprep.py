"""SASLprep (RFC 4013): one form for user names and passwords that look the same."""

from __future__ import annotations

import stringprep
import unicodedata

_PROHIBITED = (
    stringprep.in_table_c12, stringprep.in_table_c21_c22, stringprep.in_table_c3, stringprep.in_table_c4,
    stringprep.in_table_c5, stringprep.in_table_c6, stringprep.in_table_c7, stringprep.in_table_c8,
    stringprep.in_table_c9,
)  # fmt: skip
"""RFC 4013 §2.3."""


class NotPrepared(ValueError):
    """The text has characters that SASLprep does not allow."""


def is_prohibited(text: str) -> bool:
    """Whether it has a character of RFC 4013 §2.3, but for spaces, which §2.1 maps to one."""
    return any(table(char) for char in text for table in _PROHIBITED[1:])


def saslprep(text: str) -> str:
    """The prepared form, as of a query: code points that Unicode 3.2 does not know are left as they are
    (RFC 4013 §2.5). Raises: NotPrepared."""
    if text.isascii() and text.isprintable():
        return text
    # §2.1 mapping, §2.2 normalization
    mapped = "".join(
        " " if stringprep.in_table_c12(char) else char for char in text if not stringprep.in_table_b1(char)
    )
    normal = unicodedata.ucd_3_2_0.normalize("NFKC", mapped)
    if any(table(char) for char in normal for table in _PROHIBITED):
        raise NotPrepared("a character that SASLprep prohibits")
    # §2.4, which is RFC 3454 §6: right-to-left text is so from its first to its last character
    if any(stringprep.in_table_d1(char) for char in normal):
        if any(stringprep.in_table_d2(char) for char in normal):
            raise NotPrepared("letters of both directions")
        if not (stringprep.in_table_d1(normal[0]) and stringprep.in_table_d1(normal[-1])):
            raise NotPrepared("right-to-left text that does not begin and end so")
    return normal
