"""Languages of texts for people (RFC 4647). There is one, English, as "en" and as "i-default", which everybody has
who did not ask for another (RFC 2277 §4.5)."""

from __future__ import annotations

import re

LANGUAGES = {"en": "en", "i-default": "i-default"}
"""The languages that there are: the range in lower case, and the tag."""
_RANGE = re.compile(r"[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*|\*")


def is_range(text: str) -> bool:
    """Whether it is a basic language range (RFC 4647 §2.1)."""
    return _RANGE.fullmatch(text) is not None


def lookup(asked: str) -> str | None:
    """The tag of the language that a range asks for; subtags are left out from the end until one is found
    (RFC 4647 §3.4). None if there is none."""
    asked = "en" if asked == "*" else asked.lower()
    while asked and asked not in LANGUAGES:
        asked = asked.rpartition("-")[0]
        asked = asked[:-2] if asked[-2:-1] == "-" else asked  # a subtag of one letter goes with the next one
    return LANGUAGES.get(asked)
