"""What APPEND and REPLACE say between the literals that are streamed (RFC 9051 §9: append-message; RFC 4466 for
its extension points, RFC 4469 for CATENATE, RFC 6855 §4 for UTF8).

The octets of such a command are never together in memory. They come as segments, each with the literal behind
it, or with none at the command's end; `AppendGrammar` remembers what may stand next."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from mailstack.imap.wire.cursor import Cursor, astring, date_time, flag_list, sp
from mailstack.imap.wire.framing import LiteralAnnounced
from mailstack.ports import Flags


@dataclass(frozen=True, slots=True)
class Segment:
    """Octets of a command up to a literal that may be streamed; None: up to the command's end."""

    cur: Cursor
    literal: LiteralAnnounced | None


@dataclass(frozen=True, slots=True)
class Begin:
    """append-opts: what stands before a message."""

    flags: Flags
    internal_date: float | None


@dataclass(frozen=True, slots=True)
class Text:
    """The literal behind the segment is the message, or the next part of it. Always the last step of a segment."""

    literal: LiteralAnnounced
    utf8: bool = False
    """Of the UTF8 data extension: the header may be in UTF-8 (RFC 6855 §4)."""


@dataclass(frozen=True, slots=True)
class Url:
    """The next part of the message is what this URL names (RFC 4469 §3)."""

    url: str


@dataclass(frozen=True, slots=True)
class End:
    """The message is whole."""


Step = Begin | Text | Url | End


class IsPartOfCommand(Exception):
    """The literal behind the segment is a string of the command, and is to be taken into it."""


class _Place(Enum):
    """Where a segment begins."""

    FIRST = "before the first message"
    OPTIONS = "before another message"
    PART = "before a part"
    AFTER_PART = "after a part"
    AFTER_UTF8 = "after the literal of UTF8"
    AFTER = "after a message"


class AppendGrammar:
    """append = "APPEND" SP mailbox 1*append-message, from the space after the mailbox on."""

    def __init__(self) -> None:
        self._place = _Place.FIRST
        self._parts = False

    def segment(self, found: Segment) -> list[Step]:
        """What a segment comes to. The place moves on, unless an exception is raised.

        Raises: BadSyntax, IsPartOfCommand."""
        steps: list[Step] = []
        place, parts = self._place, self._parts
        try:
            while self._step(found, steps):
                pass
        except BaseException:
            self._place, self._parts = place, parts
            raise
        return steps

    def _step(self, found: Segment, steps: list[Step]) -> bool:
        """One step on; whether there is more in the segment."""
        cur = found.cur
        match self._place:
            case _Place.FIRST | _Place.OPTIONS:
                return self._message(found, steps)
            case _Place.PART:
                return self._part(found, steps)
            case _Place.AFTER_UTF8:
                cur.expect(b")")
                self._place = _Place.AFTER_PART if self._parts else _Place.AFTER
            case _Place.AFTER_PART:
                # cat-part *(SP cat-part) ")"
                if cur.skip(b")"):
                    self._place, self._parts = _Place.AFTER, False
                else:
                    if not cur.skip(b" "):
                        raise cur.expected('a space or ")"')
                    self._place = _Place.PART
            case _Place.AFTER:
                steps.append(End())
                if found.literal is None and not cur.octets[cur.position :].strip(b" "):
                    cur.position = len(cur.octets)
                    return False
                sp(cur)
                self._place = _Place.OPTIONS
        return True

    def _message(self, found: Segment, steps: list[Step]) -> bool:
        # append-message = append-opts SP append-data
        # append-data = literal / literal8 / append-data-ext
        # append-data-ext = "CATENATE" SP "(" cat-part *(SP cat-part) ")" / utf8-literal
        cur = found.cur
        steps.append(append_opts(cur))
        if cur.skip(b"CATENATE ("):
            self._place, self._parts = _Place.PART, True
            return True
        if cur.skip(b"UTF8 ("):
            return self._utf8(found, steps)
        if found.literal is None or not cur.at_end:
            raise cur.expected(
                "a message as a literal" if self._place is _Place.FIRST else "flags, a date-time or a message"
            )
        steps.append(Text(found.literal))
        self._place = _Place.AFTER
        return False

    def _part(self, found: Segment, steps: list[Step]) -> bool:
        # cat-part = text-literal / url / utf8-literal ; text-literal = "TEXT" SP literal ; url = "URL" SP astring
        cur = found.cur
        if cur.skip(b"UTF8 ("):
            return self._utf8(found, steps)
        if cur.skip(b"TEXT "):
            if found.literal is None or not cur.at_end or found.literal.binary:
                raise cur.expected("a literal")
            steps.append(Text(found.literal))
            self._place = _Place.AFTER_PART
            return False
        if not cur.skip(b"URL "):
            raise cur.expected("TEXT, URL or UTF8")
        if cur.at_end and found.literal is not None:
            raise IsPartOfCommand
        start = cur.position
        try:
            steps.append(Url(astring(cur).decode("ascii")))
        except UnicodeDecodeError:
            raise cur.expected("a URL in ASCII", start) from None
        self._place = _Place.AFTER_PART
        return True

    def _utf8(self, found: Segment, steps: list[Step]) -> bool:
        # utf8-literal = "UTF8" SP "(" literal8 ")"
        if found.literal is None or not found.cur.at_end or not found.literal.binary:
            raise found.cur.expected("a literal8")
        steps.append(Text(found.literal, utf8=True))
        self._place = _Place.AFTER_UTF8
        return False


def append_opts(cur: Cursor) -> Begin:
    # append-opts = [SP flag-list] [SP date-time] ; here with the space behind, before the data
    flags, internal_date = Flags(), None
    if cur.peek() == b"(":
        flags = flag_list(cur)
        sp(cur)
    if cur.peek() == b'"':
        internal_date = date_time(cur)
        sp(cur)
    return Begin(flags, internal_date)
