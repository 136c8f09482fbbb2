"""LANGUAGE (RFC 5255 §3): the language of texts for people. There is one, English, as "en" and as "i-default",
which everybody has who did not ask for another (RFC 2277 §4.5); so nothing needs to be remembered.

The comparators of §4 are in `rfc5255_i18nlevel.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailstack.imap import replies
from mailstack.imap.registry import ANY, Capability, Feature, command
from mailstack.imap.replies import Reply
from mailstack.imap.wire.cursor import Cursor, astring
from mailstack.mail import language

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession

SHOWN = {"en": "EN", "i-default": "i-default"}
"""The languages that there are, as they are written here."""
DEFAULT = "default"
"""The range that asks for the administrator's language."""
MAX_RANGES = 50
"""Language ranges of one command."""


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
        asked = found.decode("latin-1")
        if not language.is_range(asked):
            raise cur.expected("a language range", start)
        ranges.append(asked.lower())
        if len(ranges) > MAX_RANGES:
            raise cur.expected(f"at most {MAX_RANGES} language ranges", start)
    return tuple(ranges)


def lookup(ranges: tuple[str, ...]) -> str | None:
    """The first language that a range asks for. None if there is none."""
    for asked in ranges:
        found = "i-default" if asked == DEFAULT else language.lookup(asked)
        if found is not None:
            return SHOWN[found]
    return None


async def choose(session: ImapSession, ranges: tuple[str, ...]) -> Reply:
    if not ranges:
        session.say(b"* LANGUAGE (%s)\r\n" % " ".join(SHOWN.values()).encode())
        return replies.ok("all languages that there are")
    chosen = lookup(ranges)
    if chosen is None:
        return replies.no("no such language")
    session.say(b"* LANGUAGE (%s)\r\n" % chosen.encode())
    return replies.ok("LANGUAGE completed")


FEATURE = Feature(
    commands=(command(b"LANGUAGE", ANY, language_arguments, choose),),
    capabilities=(Capability("LANGUAGE"),),
)
