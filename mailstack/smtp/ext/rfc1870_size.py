"""SIZE: how large a message may be, and is going to be (RFC 1870)."""

from __future__ import annotations

from mailstack.errors import BadSyntax
from mailstack.smtp.facts import Facts
from mailstack.smtp.registry import Extension

MAX_DIGITS = 20
"""RFC 1870 §5: size-value = 1*20DIGIT."""


def keyword(facts: Facts) -> str:
    """The most that we take, in octets."""
    return f"SIZE {facts.settings.max_size}"


def size(facts: Facts, value: str | None) -> None:
    """SIZE= of MAIL; the check of the declared size looks at it."""
    # size-value = 1*20DIGIT   ; RFC 1870 §5
    if value is None or not (value.isascii() and value.isdigit()) or len(value) > MAX_DIGITS:
        raise BadSyntax("SIZE=octets")
    facts.declared_size = int(value)


SIZE = Extension(keyword, mail_parameters=(("SIZE", size),))
