"""The base of the grammar: a cursor on one command's octets, and the rules that all commands share.

Functions are named after the ABNF of RFC 9051 §9, with the production above them."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from typing import TypeVar

from mailstack.errors import BadSyntax
from mailstack.imap.wire.values import STAR, SequenceSet
from mailstack.mail.mailbox_name import from_modified_utf7
from mailstack.ports import Flag, Flags

T = TypeVar("T")

MAX_RANGES = 20_000
"""Ranges of one sequence-set; a line holds no more."""
_TAG = re.compile(rb"[^\x00-\x20\x7f-\xff(){%*\"\\+]+")
_ATOM = re.compile(rb"[^\x00-\x20\x7f-\xff(){%*\"\\\]]+")
_ASTRING = re.compile(rb"[^\x00-\x20\x7f-\xff(){%*\"\\]+")
_LIST_CHARS = re.compile(rb"[^\x00-\x20\x7f(){\"\\]+")
_QUOTED = re.compile(rb'"((?:[^"\\\r\n\0]|\\["\\])*)"')
_ESCAPE = re.compile(rb"\\(.)")
_LITERAL = re.compile(rb"~?\{(\d{1,19})\+?\}\r\n")
_NUMBER = re.compile(rb"\d{1,19}")
_RANGE = re.compile(rb"(\d{1,19}|\*)(?::(\d{1,19}|\*))?")
_DATE_TIME = re.compile(rb'"([ \d]\d)-([A-Za-z]{3})-(\d{4}) (\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)"')
_DATE = re.compile(rb'("?)(\d{1,2})-([A-Za-z]{3})-(\d{4})\1')
_MONTHS = {name: number for number, name in enumerate(
    (b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"), 1)}  # fmt: skip
_SYSTEM_FLAGS = {
    b"\\SEEN": Flag.SEEN,
    b"\\ANSWERED": Flag.ANSWERED,
    b"\\FLAGGED": Flag.FLAGGED,
    b"\\DELETED": Flag.DELETED,
    b"\\DRAFT": Flag.DRAFT,
}


class Cursor:
    """A place in the octets of one command. `utf8`: mailbox names are UTF-8 and nothing else, as the
    client enabled IMAP4rev2. `accepts`: it enabled UTF8=ACCEPT, so that no string has another charset (RFC 9755 §3)."""

    __slots__ = ("accepts", "octets", "position", "utf8")

    def __init__(self, octets: bytes, position: int = 0, *, utf8: bool = False, accepts: bool = False) -> None:
        self.octets = octets
        self.position = position
        self.utf8 = utf8
        self.accepts = accepts

    def expected(self, what: str, at: int | None = None) -> BadSyntax:
        """The error that says what should stand here, or at column `at`, where a token began that is
        well formed but cannot be meant."""
        return BadSyntax(what, self.position if at is None else at)

    @property
    def at_end(self) -> bool:
        return self.position >= len(self.octets)

    def peek(self, length: int = 1) -> bytes:
        return self.octets[self.position : self.position + length]

    def skip(self, token: bytes) -> bool:
        """Go past `token`, in any case of letters, if it stands here."""
        end = self.position + len(token)
        if self.octets[self.position : end].upper() != token:
            return False
        self.position = end
        return True

    def expect(self, token: bytes) -> None:
        """Raises: BadSyntax unless `token` stands here."""
        if not self.skip(token):
            raise self.expected(repr(token.decode()))

    def match(self, pattern: re.Pattern[bytes], what: str) -> re.Match[bytes]:
        """Raises: BadSyntax unless `pattern` matches here."""
        found = pattern.match(self.octets, self.position)
        if found is None:
            raise self.expected(what)
        self.position = found.end()
        return found


def sp(cur: Cursor) -> None:
    # SP
    if not cur.skip(b" "):
        raise cur.expected("a space")


def end(cur: Cursor) -> None:
    """Nothing may follow; spaces at the end are forgiven, since several clients send them."""
    if cur.octets[cur.position :].strip(b" "):
        raise cur.expected("the end of the command")


def parenthesized(cur: Cursor, rule: Callable[[Cursor], T], most: int, what: str) -> tuple[T, ...]:
    # "(" item *(SP item) ")"
    """At most so many; `what` names them in the error."""
    cur.expect(b"(")
    found = [rule(cur)]
    while cur.skip(b" "):
        found.append(rule(cur))
        if len(found) > most:
            raise cur.expected(f"at most {most} {what}")
    cur.expect(b")")
    return tuple(found)


def tag(cur: Cursor) -> bytes:
    # tag = 1*<any ASTRING-CHAR except "+">
    return cur.match(_TAG, "a tag")[0]


def tag_of(began: bytes) -> bytes:
    """The tag that octets begin with; "*" if they do not, as of a response that belongs to no command."""
    try:
        return tag(Cursor(began))
    except BadSyntax:
        return b"*"


def atom(cur: Cursor) -> bytes:
    # atom = 1*ATOM-CHAR
    return cur.match(_ATOM, "an atom")[0]


def number(cur: Cursor) -> int:
    # number64 = 1*DIGIT
    return int(cur.match(_NUMBER, "a number")[0])


def string(cur: Cursor) -> bytes:
    # string = quoted / literal
    if cur.peek() == b'"':
        start = cur.position
        text = cur.match(_QUOTED, "a quoted string")[1]
        if cur.utf8 and not text.isascii():
            _decoded(text, cur, start)  # RFC 6855 §3: nothing else may be in it
        return _ESCAPE.sub(rb"\1", text) if b"\\" in text else text
    size = int(cur.match(_LITERAL, "a string")[1])
    start = cur.position
    if start + size > len(cur.octets):
        raise cur.expected(f"a literal of {size} octets")
    cur.position += size
    return cur.octets[start : cur.position]


def astring(cur: Cursor) -> bytes:
    # astring = 1*ASTRING-CHAR / string
    found = _ASTRING.match(cur.octets, cur.position)
    if found is not None:
        cur.position = found.end()
        return found[0]
    return string(cur)


def text(cur: Cursor) -> str:
    # astring, as text
    start = cur.position
    return _decoded(astring(cur), cur, start)


def _decoded(octets: bytes, cur: Cursor, start: int) -> str:
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        raise cur.expected("text in UTF-8", start) from None


def mailbox(cur: Cursor) -> str:
    # mailbox = "INBOX" / astring ; in modified UTF-7 (RFC 3501 §5.1.3) or UTF-8 (RFC 9051 §5.1)
    return _mailbox_name(text(cur), cur)


def _mailbox_name(name: str, cur: Cursor) -> str:
    """A name in either form: text that is no modified UTF-7 is itself."""
    if "&" in name and name.isascii() and not cur.utf8:
        try:
            return from_modified_utf7(name)
        except ValueError:
            return name
    return name


def list_mailbox(cur: Cursor) -> str:
    # list-mailbox = 1*list-char / string
    start = cur.position
    found = _LIST_CHARS.match(cur.octets, start)
    if found is None:
        return _mailbox_name(_decoded(string(cur), cur, start), cur)
    cur.position = found.end()
    return _mailbox_name(_decoded(found[0], cur, start), cur)


def sequence_set(cur: Cursor) -> SequenceSet:
    # sequence-set = (seq-number / seq-range) ["," sequence-set]
    ranges: list[tuple[int, int]] = []
    while True:
        found = cur.match(_RANGE, "a sequence set" if not ranges else "a sequence number or range")
        low = _seq_number(found, 1, cur)
        ranges.append((low, _seq_number(found, 2, cur) if found[2] else low))
        if len(ranges) > MAX_RANGES:
            raise cur.expected(f"a sequence set of at most {MAX_RANGES} ranges")
        if not cur.skip(b","):
            return tuple(ranges)


def _seq_number(found: re.Match[bytes], group: int, cur: Cursor) -> int:
    # seq-number = nz-number / "*"
    octets = found[group]
    if octets == b"*":
        return STAR
    value = int(octets)
    if not 0 < value < STAR:
        raise cur.expected("a number from 1 to 4294967295", found.start(group))
    return value


def flag_list(cur: Cursor) -> Flags:
    # flag-list = "(" [flag *(SP flag)] ")"
    cur.expect(b"(")
    if cur.skip(b")"):
        return Flags()
    flags = flags_without_parentheses(cur)
    cur.expect(b")")
    return flags


def flags_without_parentheses(cur: Cursor) -> Flags:
    # flag *(SP flag)
    system, keywords = Flag(0), set()
    while True:
        start = cur.position
        if cur.skip(b"\\"):
            name = b"\\" + cur.match(_ATOM, "the name of a system flag")[0]
            known = _SYSTEM_FLAGS.get(name.upper())
            if known is None:
                raise cur.expected(f"a flag that can be set, not {name.decode()},", start)
            system |= known
        else:
            keywords.add(cur.match(_ATOM, "a flag")[0].decode("ascii"))
        if not cur.skip(b" "):
            return Flags(system, frozenset(keywords))


def date_time(cur: Cursor) -> float:
    # date-time = DQUOTE date-day-fixed "-" date-month "-" date-year SP time SP zone DQUOTE
    found = cur.match(_DATE_TIME, 'a date-time as "17-Jul-1996 02:44:25 -0700"')
    day, month, year, hour, minute, second, sign, zone_hour, zone_minute = found.groups()
    zone = timedelta(hours=int(zone_hour), minutes=int(zone_minute))
    try:
        moment = datetime(
            int(year), _MONTHS[month.lower()], int(day), int(hour), int(minute), min(int(second), 59),
            tzinfo=timezone(zone if sign == b"+" else -zone),
        )  # fmt: skip
        return moment.astimezone(UTC).timestamp()
    except (ValueError, KeyError, OverflowError):
        raise cur.expected("a date and time that exist", found.start()) from None


def date_(cur: Cursor) -> date:
    # date = date-text / DQUOTE date-text DQUOTE
    found = cur.match(_DATE, "a date as 1-Feb-1994")
    try:
        return date(int(found[4]), _MONTHS[found[3].lower()], int(found[2]))
    except (ValueError, KeyError):
        raise cur.expected("a date that exists", found.start()) from None
