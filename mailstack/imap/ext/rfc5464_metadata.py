"""METADATA: annotations of mailboxes and of the server (RFC 5464).

All entry names that are well formed can be set, in /private for the user and in /shared for all who may use the
mailbox. Of the server's, /shared/admin is ours and the rest of /shared is administrators'. Changes by others are
not told unasked (§4.1: that is for servers where METADATA can be enabled)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mailstack.errors import Problem, Refused
from mailstack.imap import replies
from mailstack.imap.registry import AUTHENTICATED, AnnotationCheck, Capability, Feature, command
from mailstack.imap.replies import Reply
from mailstack.imap.wire import encode
from mailstack.imap.wire.cursor import Cursor, astring, mailbox, number, parenthesized, sp, string
from mailstack.mail.special_use import SPECIAL_USES

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession

MAX_VALUE = 32 * 1024
"""Octets of a value. RFC 5464 §4.1 asks for 1024 at least."""
MAX_ENTRIES = 100
"""Entries of one command."""
MAX_NAME = 250
"""Octets of an entry's name."""
TOO_LONG = replies.no("a value is too long", f"METADATA MAXSIZE {MAX_VALUE}")
ADMIN = "/shared/admin"
SPECIAL_USE = "/private/specialuse"
_VENDOR = ("/private/vendor", "/shared/vendor")
_ENTRY = re.compile(rb"/(?:private|shared)(?:/[^\x00-\x19*%/\x7f-\xff]+)*", re.IGNORECASE)
_OPTION = re.compile(rb"MAXSIZE|DEPTH", re.IGNORECASE)
_DEPTHS = {b"0": 0, b"1": 1, b"INFINITY": MAX_NAME}
_DEPTH = re.compile(rb"[A-Za-z0-9]+")


@dataclass(frozen=True, slots=True)
class Options:
    """getmetadata-options. `depth` is how many components may follow those of the name."""

    max_size: int | None = None
    depth: int = 0


@dataclass(frozen=True, slots=True)
class Get:
    """GETMETADATA's arguments: names as the client wrote them."""

    mailbox: str
    options: Options
    entries: tuple[str, ...]


Set = tuple[str, dict[str, bytes | None]]


def getmetadata_arguments(cur: Cursor) -> Get:
    # getmetadata = "GETMETADATA" [SP getmetadata-options] SP mailbox SP entries
    options = Options()
    if cur.peek() == b"(":
        options = getmetadata_options(cur)
        sp(cur)
    name = mailbox(cur)
    sp(cur)
    if cur.peek() == b"(" and _OPTION.match(cur.octets, cur.position + 1):
        options = getmetadata_options(cur)  # here in the examples of RFC 5464 §4.2, against its ABNF
        sp(cur)
    return Get(name, options, entries(cur))


def getmetadata_options(cur: Cursor) -> Options:
    # getmetadata-options = "(" getmetadata-option *(SP getmetadata-option) ")"
    cur.expect(b"(")
    max_size, depth = None, 0
    while True:
        option = cur.match(_OPTION, "MAXSIZE or DEPTH")[0].upper()
        sp(cur)
        if option == b"MAXSIZE":
            max_size = number(cur)
        else:
            start = cur.position
            word = cur.match(_DEPTH, "0, 1 or infinity")[0].upper()
            if word not in _DEPTHS:
                raise cur.expected("0, 1 or infinity", start)
            depth = _DEPTHS[word]
        if cur.skip(b")"):
            return Options(max_size, depth)
        sp(cur)


def entries(cur: Cursor) -> tuple[str, ...]:
    # entries = entry / "(" entry *(SP entry) ")"
    return parenthesized(cur, entry, MAX_ENTRIES, "entries") if cur.peek() == b"(" else (entry(cur),)


def entry(cur: Cursor) -> str:
    # entry = astring   ; §3.2: slash-separated, begins with /private or /shared
    start = cur.position
    name = astring(cur)
    if not _ENTRY.fullmatch(name) or len(name) > MAX_NAME:
        raise cur.expected(f"an entry below /private or /shared, at most {MAX_NAME} octets without * and %", start)
    return name.decode("ascii")


def setmetadata_arguments(cur: Cursor) -> Set:
    # setmetadata = "SETMETADATA" SP mailbox SP "(" entry-value *(SP entry-value) ")"
    name = mailbox(cur)
    sp(cur)
    cur.expect(b"(")
    values: dict[str, bytes | None] = {}
    while True:
        start = cur.position
        key = entry(cur).lower()
        if key.count("/") < (4 if key.startswith(_VENDOR) else 2):
            raise cur.expected("an entry with a name behind /private, /shared or the vendor's", start)
        sp(cur)
        values[key] = None if cur.skip(b"NIL") else string(cur)  # value = nstring / literal8
        if len(values) > MAX_ENTRIES:
            raise cur.expected(f"at most {MAX_ENTRIES} entries", start)
        if cur.skip(b")"):
            return name, values
        sp(cur)


async def getmetadata(session: ImapSession, asked: Get) -> Reply:
    known = await session.store.annotations.of(asked.mailbox)
    if not asked.mailbox:
        known = {**known, ADMIN: session.settings.admin_contact.encode()}
    shown, longest = chosen(known, asked.entries, asked.options)
    if shown:
        await session.say_much(response(session, asked.mailbox, shown))
    return replies.ok("GETMETADATA completed", f"METADATA LONGENTRIES {longest}" if longest else "")


def chosen(known: Mapping[str, bytes], names: Sequence[str], options: Options) -> tuple[dict[str, bytes | None], int]:
    """What a client that asks for `names` is told, an entry that is not there being NIL; and the octets of the
    longest value that is left out for MAXSIZE."""
    found: dict[str, bytes | None] = {}
    longest = 0
    for name in names:
        key = name.lower()
        below = sorted(other for other in known if options.depth and _is_below(other, key, options.depth))
        for other, told in [(key, name), *((other, other) for other in below)]:
            value = known.get(other)
            if value is not None and options.max_size is not None and len(value) > options.max_size:
                longest = max(longest, len(value))
            elif value is not None or not options.depth:
                found[told] = value
    if not found and not longest:  # RFC 5464 §4.2: a METADATA response is required
        found = dict.fromkeys(names)
    return found, longest


def _is_below(other: str, key: str, depth: int) -> bool:
    return other.startswith(key + "/") and other[len(key) :].count("/") <= depth


def response(session: ImapSession, name: str, values: Mapping[str, bytes | None]) -> bytes:
    """METADATA with values (RFC 5464 §4.4.1)."""
    shown = encode.mailbox(name, utf8=session.utf8) if name else b'""'
    pairs = b" ".join(
        b"%s %s" % (encode.astring(key.encode()), _value(session, value)) for key, value in values.items()
    )
    return b"* METADATA %s (%s)\r\n" % (shown, pairs)


def _value(session: ImapSession, value: bytes | None) -> bytes:
    # value = nstring / literal8 ; a literal8 for what no string can hold
    if value is not None and b"\0" in value:
        return encode.literal8(value)
    return encode.nstring(value, utf8=session.utf8)


async def setmetadata(session: ImapSession, asked: Set) -> Reply:
    name, values = asked
    if any(value is not None and len(value) > MAX_VALUE for value in values.values()):
        return TOO_LONG
    if not name:
        if ADMIN in values:
            raise Refused(Problem.CANNOT, "that entry is the configuration's")
        if not session.administers and any(key.startswith("/shared/") for key in values):
            raise Refused(Problem.NOT_PERMITTED, "the server's shared annotations")
    elif values.get(SPECIAL_USE) is not None:
        use = special_use(values[SPECIAL_USE] or b"")
        if use is None:
            return replies.no("a mailbox can have one of the special uses of CREATE", "USEATTR")
        values = {**values, SPECIAL_USE: use or None}
    for check in annotation_checks():
        await check(session, name, values)
    await session.store.annotations.change(name, values)
    return replies.ok("SETMETADATA completed")


def annotation_checks() -> Sequence[AnnotationCheck]:
    """What extensions ask of values."""
    from mailstack.imap.features import ANNOTATION_CHECKS

    return ANNOTATION_CHECKS


def special_use(value: bytes) -> bytes | None:
    """The one attribute as LIST shows it, b"" for none; None if it is not one that a mailbox can have."""
    words = value.split()
    if not words:
        return b""
    if len(words) > 1 or not words[0].startswith(b"\\") or words[0][1:].upper() not in SPECIAL_USES:
        return None
    return b"\\" + words[0][1:].capitalize()


FEATURE = Feature(
    commands=(
        command(b"GETMETADATA", AUTHENTICATED, getmetadata_arguments, getmetadata),
        command(b"SETMETADATA", AUTHENTICATED, setmetadata_arguments, setmetadata, too_long=TOO_LONG),
    ),
    capabilities=(Capability("METADATA", AUTHENTICATED),),
)
