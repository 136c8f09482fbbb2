"""LANGUAGE (RFC 5255 §3): the language of texts for people. There is one, English, as "en" and as "i-default",
which everybody has who did not ask for another (RFC 2277 §4.5); so nothing needs to be remembered.

The comparators of §4 are not here."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mailstack.imap import replies
from mailstack.imap.registry import ANY, Capability, Feature, command
from mailstack.imap.replies import Reply
from mailstack.imap.wire.cursor import Cursor, astring

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession

LANGUAGES = {"en": "EN", "i-default": "i-default"}
"""The languages that there are, in lower case, and as they are written."""
DEFAULT = "default"
"""The range that asks for the administrator's language."""
MAX_RANGES = 50
"""Language ranges of one command."""
_RANGE = re.compile(rb"[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*|\*")


def language_arguments(cur: Cursor) -> tuple[str, ...]:
    # language-cmd = "LANGUAGE" *(SP lang-range-quoted) ; an astring that is a language-range of RFC 4647 §2.1
    ranges: list[str] = []
    while not cur.at_end:
        if ranges:
            cur.expect(b" ")
        start = cur.position
        if cur.skip(b"*"):  # no ASTRING-CHAR, but clients that mean it say it so
            ranges.append("*")
            continue
        found = astring(cur)
        if not _RANGE.fullmatch(found):
            raise cur.expected("a language range", start)
        ranges.append(found.decode("ascii").lower())
        if len(ranges) > MAX_RANGES:
            raise cur.expected(f"at most {MAX_RANGES} language ranges", start)
    return tuple(ranges)


def lookup(ranges: tuple[str, ...]) -> str | None:
    """The first language that a range asks for; subtags are left out from the end until one is found
    (RFC 4647 §3.4). None if there is none."""
    for asked in ranges:
        if asked == DEFAULT:
            return LANGUAGES["i-default"]
        if asked == "*":
            return LANGUAGES["en"]
        while asked and asked not in LANGUAGES:
            asked = asked.rpartition("-")[0]
            asked = asked[:-2] if asked[-2:-1] == "-" else asked  # a subtag of one letter goes with the next one
        if asked:
            return LANGUAGES[asked]
    return None


async def language(session: ImapSession, ranges: tuple[str, ...]) -> Reply:
    if not ranges:
        session.say(b"* LANGUAGE (%s)\r\n" % " ".join(LANGUAGES.values()).encode())
        return replies.ok("all languages that there are")
    chosen = lookup(ranges)
    if chosen is None:
        return replies.no("no such language")
    session.say(b"* LANGUAGE (%s)\r\n" % chosen.encode())
    return replies.ok("LANGUAGE completed")


FEATURE = Feature(
    commands=(command(b"LANGUAGE", ANY, language_arguments, language),),
    capabilities=(Capability("LANGUAGE"),),
)
