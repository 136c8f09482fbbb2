"""The mbox format, on the way in and out. Sources: RFC 4155; mbox(5) of qmail for mboxrd and mboxo.

    From alice@example.org Mon Jan  1 10:00:00 2024
    Status: RO
    Subject: hello

    >From here on, "From " at the beginning of a line is quoted.

A message ends before a blank line that a From_ line follows, or at the end of the file. Content-Length is not
looked at: it is wrong as soon as anybody edits the file."""

from __future__ import annotations

import re
import time
from calendar import timegm
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import mktime_tz, parsedate_tz
from typing import BinaryIO

from mailstack.mail import header
from mailstack.ports import Flag, Flags
from mailstack.transfer.values import usable_keywords

WINDOW = 1024 * 1024
"""Octets that are looked through at once, and the longest line in which quoting is seen."""
MAX_FROM_LINE = 1024
"""Octets of a From_ line; a longer one is text."""

_OVERLAP = 4
"""Octets before a From_ line that tell whether a blank line is there: CR LF CR LF."""
_MONTHS = {name: number for number, name in enumerate(
    (b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"), 1)}  # fmt: skip
# From_ line with a date of asctime(3), zones before or behind the year as some programs write them
_FROM = re.compile(
    rb"From (?:[^\n]*? )?[ \t]*(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),?[ ]+([A-Z][a-z]{2})[ ]+(\d{1,2})[ ]+(\d{1,2}):(\d\d)"
    rb"(?::(\d\d))?((?:[ ]+(?:[A-Z]{1,5}|[+-]\d{4}))*)[ ]+(\d{4})((?:[ ]+(?:[A-Z]{1,5}|[+-]\d{4}))*)[ \t]*\r?\n?"
)
_WEEKDAY = re.compile(rb"(?:^|[ \t])(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,?[ ]")
_OFFSET = re.compile(rb"([+-])(\d\d)(\d\d)")
_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")
_QUOTED = re.compile(rb"(?<![^\n])>(>*From )")
_QUOTED_ONCE = re.compile(rb"(?<![^\n])>(From )")
_TO_QUOTE = re.compile(rb"(?<![^\n])(>*From )")
_STATUS = {b"R": Flag.SEEN}
_X_STATUS = {
    b"A": Flag.ANSWERED,
    b"F": Flag.FLAGGED,
    b"D": Flag.DELETED,
    b"T": Flag.DRAFT,
}
# What `status_fields` writes, line by line: a message that begins with a blank is no more of X-Keywords.
_OURS = re.compile(rb"Status: (R?)O\r?\nX-Status: ([AFDT]*)\r?\nX-Keywords: ([^\r\n]*)\r?\n")
_OF_MBOX = (b"status", b"x-status", b"x-keywords")
_MOZILLA = (
    (0x1, Flag.SEEN),
    (0x2, Flag.ANSWERED),
    (0x4, Flag.FLAGGED),
    (0x8, Flag.DELETED),
)
_INTERNAL = re.compile(rb"^X-IMAP(?:base)?:[^\n]*\n", re.IGNORECASE | re.MULTILINE)
_INTERNAL_SUBJECT = b"FOLDER INTERNAL DATA"


@dataclass(frozen=True, slots=True)
class Entry:
    """One message of a file: octets [start, end), its From_ line at `at`, with the date if it can be read."""

    at: int
    start: int
    end: int
    date: float | None


def is_mbox(beginning: bytes) -> bool:
    """Whether a file that begins so may be one."""
    return beginning.lstrip(b"\r\n").startswith(b"From ")


def from_date(line: bytes) -> float | None:
    """The date of a From_ line in seconds since the epoch: UTC where it has no zone (RFC 4155)."""
    found = _FROM.fullmatch(line)
    if found is not None and found[1].lower() in _MONTHS:
        month = _MONTHS[found[1].lower()]
        parts = (
            int(found[7]),
            month,
            int(found[2]),
            int(found[3]),
            int(found[4]),
            int(found[5] or 0),
        )
        offset = _OFFSET.search(found[6] + found[8])
        return timegm((*parts, 0, 0, 0)) - _seconds(offset)
    weekday = _WEEKDAY.search(line)
    if weekday is None:
        return None
    parsed = parsedate_tz(line[weekday.start() :].strip().decode("latin-1"))
    return None if parsed is None else _timestamp(parsed)


def _timestamp(parsed: tuple[int | None, ...]) -> float | None:
    try:
        return float(mktime_tz(parsed if parsed[9] is not None else (*parsed[:9], 0)))  # type: ignore[arg-type]
    except (ValueError, OverflowError):
        return None


def header_date(beginning: bytes) -> float | None:
    """The date of a message's Date field; None if there is none that can be read."""
    end = header.body_start(beginning, 0, len(beginning)) if b"\r\n" in beginning else len(beginning)
    values = header.values(header.block(beginning, 0, end)).get(b"date")
    parsed = parsedate_tz(header.unfold(values[0]).decode("latin-1")) if values else None
    found = None if parsed is None else _timestamp(parsed)
    return found if found is not None and found > 0 else None


def _seconds(offset: re.Match[bytes] | None) -> int:
    if offset is None:
        return 0
    seconds = int(offset[2]) * 3600 + int(offset[3]) * 60
    return -seconds if offset[1] == b"-" else seconds


# --- reading --------------------------------------------------------------------------------


def entries(file: BinaryIO, size: int) -> Iterator[Entry]:
    """The messages of a file, in its order. Raises: OSError."""
    before: tuple[int, int, float | None] | None = None
    for at, line in _from_lines(file, size):
        if before is not None:
            yield Entry(before[0], before[1], at, before[2])
        before = (at, at + len(line), from_date(line))
    if before is not None:
        yield Entry(before[0], before[1], size, before[2])


def _from_lines(file: BinaryIO, size: int) -> Iterator[tuple[int, bytes]]:
    """Each From_ line with where it is."""
    position = 0
    while position < size:
        file.seek(position)
        window = file.read(WINDOW + MAX_FROM_LINE)
        limit = min(len(window), WINDOW)
        if position == 0 and window.startswith(b"From "):
            yield 0, _line(window, 0)
        # The octets before the window's fifth were looked at with the window before.
        found = window.find(b"\nFrom ", _OVERLAP if position else 0)
        while 0 <= found < limit:
            line = _line(window, found + 1)
            if _separates(window, found + 1, line, at_beginning=position == 0):
                yield position + found + 1, line
            found = window.find(b"\nFrom ", found + 1)
        if position + limit >= size:
            return
        position += limit - _OVERLAP


def _line(window: bytes, at: int) -> bytes:
    end = window.find(b"\n", at, at + MAX_FROM_LINE) + 1
    return window[at : end or at + MAX_FROM_LINE]


def _separates(window: bytes, at: int, line: bytes, *, at_beginning: bool) -> bool:
    """Whether a line that begins with "From " ends the message before it, and is not text of that."""
    after = at + len(line)
    next_field = _FIELD.match(window, after) is not None
    next_blank = window[after : after + 2].startswith((b"\n", b"\r\n"))
    after_blank = window[max(0, at - 3) : at].endswith((b"\n\n", b"\n\r\n"))
    if at_beginning and not after_blank:
        after_blank = not window[:at].strip(b"\r\n")
    if from_date(line) is not None:
        return after_blank or next_field or next_blank
    return after_blank and next_field


@dataclass(frozen=True, slots=True)
class Content:
    """A message without what the file added: its flags, how it begins, and all of its octets."""

    flags: Flags
    beginning: bytes
    pieces: Iterator[bytes]


def content(file: BinaryIO, entry: Entry, *, mboxo: bool = False) -> Content:
    """The message of an entry. `mboxo`: only "From " itself was quoted, as older programs do. Raises: OSError."""
    pieces = _unquoted(
        file,
        entry.start,
        _without_blank(file, entry),
        _QUOTED_ONCE if mboxo else _QUOTED,
    )
    first = next(pieces, b"")
    flags, first = _taken_flags(first)
    return Content(flags, first, _chain(first, pieces))


def is_internal(content: Content) -> bool:
    """Whether it is no message but what mail programs of the University of Washington put into a file first."""
    head = content.beginning[: header.MAX_HEADER]
    return _INTERNAL.search(head) is not None and _INTERNAL_SUBJECT in head.split(b"\n\n")[0]


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _without_blank(file: BinaryIO, entry: Entry) -> int:
    """Where the message ends: the blank line before the next From_ line is not its own."""
    length = entry.end - entry.start
    file.seek(entry.end - min(3, length))
    tail = file.read(min(3, length))
    for line_end in (b"\r\n", b"\n"):
        if tail.endswith(b"\n" + line_end) or (tail == line_end and length == len(line_end)):
            return entry.end - len(line_end)
    return entry.end


def _unquoted(file: BinaryIO, start: int, end: int, pattern: re.Pattern[bytes]) -> Iterator[bytes]:
    at_line_start = True
    while start < end:
        file.seek(start)
        data = file.read(min(WINDOW, end - start))
        if not data:
            raise OSError(f"the file became shorter: no octet {start}")
        if start + len(data) < end:
            cut = data.rfind(b"\n") + 1
            data = data[:cut] if cut else data
        start += len(data)
        yield (pattern.sub(rb"\1", data) if at_line_start else pattern.sub(rb"\1", b"x" + data)[1:])
        at_line_start = data.endswith(b"\n")


def _taken_flags(first: bytes) -> tuple[Flags, bytes]:
    """Flags from the first Status, X-Status and X-Keywords field, and the message without these."""
    ours = _OURS.match(first)
    if ours is not None:
        system = _letters(ours[1], _STATUS) | _letters(ours[2], _X_STATUS)
        return Flags(system, usable_keywords(ours[3].decode("utf-8", "replace").split())), first[ours.end() :]
    blank = re.search(rb"(?:\A|\n)\r?\n", first[: header.MAX_HEADER])
    end = blank.end() if blank else min(len(first), header.MAX_HEADER)
    head = first[:end]
    system, keywords, seen, kept, position = (
        Flag(0),
        frozenset[str](),
        set[bytes](),
        [],
        0,
    )
    for field in header.fields(head):
        name = field.name.lower()
        if name == b"x-mozilla-status":
            system |= _mozilla(head[field.value : field.end])
        if name not in _OF_MBOX or name in seen:
            continue
        seen.add(name)
        kept.append(head[position : field.start])
        position = field.end
        value = header.unfold(head[field.value : field.end])
        if name == b"x-keywords":
            keywords = usable_keywords(value.decode("utf-8", "replace").split())
        else:
            system |= _letters(value, _STATUS if name == b"status" else _X_STATUS)
    return Flags(system, keywords), b"".join(kept) + first[position:] if kept else first


def _letters(value: bytes, table: Mapping[bytes, Flag]) -> Flag:
    found = Flag(0)
    for letter, flag in table.items():
        found |= flag if letter in value else Flag(0)
    return found


def _mozilla(value: bytes) -> Flag:
    try:
        bits = int(value.strip(), 16)
    except ValueError:
        return Flag(0)
    return Flag(sum(flag for bit, flag in _MOZILLA if bits & bit))


# --- writing --------------------------------------------------------------------------------


def from_line(sender: str, date: float) -> bytes:
    """The line before a message; `sender` "" is the null reverse-path."""
    return b"From %s %s\n" % (
        (sender or "MAILER-DAEMON").encode(),
        time.asctime(time.gmtime(date)).encode(),
    )


def status_fields(flags: Flags) -> bytes:
    """The fields that keep flags. All three, so that those of the message itself are never taken for them."""
    status = b"R" if flags.system & Flag.SEEN else b""
    letters = b"".join(letter for letter, flag in _X_STATUS.items() if flags.system & flag)
    keywords = " ".join(sorted(flags.keywords)).encode()
    return b"Status: %sO\nX-Status: %s\nX-Keywords: %s\n" % (status, letters, keywords)


def quoted(piece: bytes, *, at_line_start: bool = True) -> bytes:
    """A piece of a message, "From " at the beginning of lines quoted as mboxrd has it. A piece begins where a
    line does (or, with `at_line_start` False, within one) and must not end within ">>>From "."""
    return _TO_QUOTE.sub(rb">\1", piece) if at_line_start else _TO_QUOTE.sub(rb">\1", b"x" + piece)[1:]
