"""What FETCH asks for (RFC 9051 §9: fetch-att and below; RFC 3501 for RFC822)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from mailstack.imap.wire.cursor import Cursor, astring, number, parenthesized, sp
from mailstack.imap.wire.values import (
    BinarySection,
    BinarySize,
    BodySection,
    FetchAtt,
    FetchItem,
    Partial,
    Section,
    SectionText,
)  # fmt: skip

MAX_HEADER_LIST = 500
"""Names of one header-list."""
MAX_PART_DEPTH = 100
"""Numbers of one section-part."""
_WORD = re.compile(rb"[A-Za-z0-9.]+")
_PART = re.compile(rb"[1-9]\d{0,8}(?:\.[1-9]\d{0,8})*")

MACROS: dict[bytes, tuple[FetchItem, ...]] = {
    b"FAST": (FetchAtt.FLAGS, FetchAtt.INTERNALDATE, FetchAtt.RFC822_SIZE),
    b"ALL": (FetchAtt.FLAGS, FetchAtt.INTERNALDATE, FetchAtt.RFC822_SIZE, FetchAtt.ENVELOPE),
    b"FULL": (FetchAtt.FLAGS, FetchAtt.INTERNALDATE, FetchAtt.RFC822_SIZE, FetchAtt.ENVELOPE, FetchAtt.BODY),
}
_ATTS = {att.value.encode(): att for att in FetchAtt}

Rules = Mapping[bytes, Callable[[Cursor], FetchItem]]
"""The data items that extensions add: the rule of what follows each name."""
NONE: Rules = {}


def fetch_items(cur: Cursor, more: Rules = NONE) -> tuple[FetchItem, ...]:
    # "ALL" / "FULL" / "FAST" / fetch-att / "(" fetch-att *(SP fetch-att) ")"
    if not cur.skip(b"("):
        word = _WORD.match(cur.octets, cur.position)
        if word is not None and word[0].upper() in MACROS:
            cur.position = word.end()
            return MACROS[word[0].upper()]
        return (fetch_att(cur, more),)
    items = [fetch_att(cur, more)]
    while cur.skip(b" "):
        items.append(fetch_att(cur, more))
    cur.expect(b")")
    return tuple(items)


def fetch_att(cur: Cursor, more: Rules = NONE) -> FetchItem:
    start = cur.position
    word = cur.match(_WORD, "a data item name")[0].upper()
    bracket = cur.peek() == b"["
    if bracket and word in (b"BODY", b"BODY.PEEK"):
        return BodySection(section(cur), partial(cur), peek=word == b"BODY.PEEK")
    if bracket and word in (b"BINARY", b"BINARY.PEEK"):
        return BinarySection(section_binary(cur), partial(cur), peek=word == b"BINARY.PEEK")
    if bracket and word == b"BINARY.SIZE":
        return BinarySize(section_binary(cur))
    found = _ATTS.get(word)
    if found is not None:
        return found
    rule = more.get(word)
    if rule is None:
        raise cur.expected("a data item name", start)
    return rule(cur)


def section(cur: Cursor) -> Section:
    # section = "[" [section-spec] "]"
    cur.expect(b"[")
    numbers = _part(cur)
    if numbers and not cur.skip(b"."):
        cur.expect(b"]")
        return Section(numbers)
    text, fields = SectionText.ALL, tuple[bytes, ...]()
    if cur.peek() != b"]":
        text, fields = _section_text(cur, inside_part=bool(numbers))
    elif numbers:
        raise cur.expected("HEADER, HEADER.FIELDS, HEADER.FIELDS.NOT, TEXT or MIME")
    cur.expect(b"]")
    return Section(numbers, text, fields)


def _section_text(cur: Cursor, *, inside_part: bool) -> tuple[SectionText, tuple[bytes, ...]]:
    # section-msgtext = "HEADER" / "HEADER.FIELDS" [".NOT"] SP header-list / "TEXT"; section-text adds "MIME"
    start = cur.position
    known = "HEADER, HEADER.FIELDS, HEADER.FIELDS.NOT" + (", TEXT or MIME" if inside_part else " or TEXT")
    word = cur.match(_WORD, known)[0].upper().decode()
    if word in ("HEADER.FIELDS", "HEADER.FIELDS.NOT"):
        sp(cur)
        return SectionText(word), header_list(cur)
    if word in ("HEADER", "TEXT") or (word == "MIME" and inside_part):
        return SectionText(word), ()
    raise cur.expected(known, start)


def header_list(cur: Cursor) -> tuple[bytes, ...]:
    # header-list = "(" header-fld-name *(SP header-fld-name) ")"
    return parenthesized(cur, field_name, MAX_HEADER_LIST, "header field names")


def field_name(cur: Cursor) -> bytes:
    # header-fld-name = astring
    if cur.peek() in (b"", b" ", b")"):
        raise cur.expected("a header field name")
    return astring(cur)


def section_binary(cur: Cursor) -> tuple[int, ...]:
    # section-binary = "[" [section-part] "]"
    cur.expect(b"[")
    numbers = _part(cur)
    cur.expect(b"]")
    return numbers


def _part(cur: Cursor) -> tuple[int, ...]:
    # section-part = nz-number *("." nz-number)
    found = _PART.match(cur.octets, cur.position)
    if found is None:
        return ()
    cur.position = found.end()
    numbers = tuple(map(int, found[0].split(b".")))
    if len(numbers) > MAX_PART_DEPTH:
        raise cur.expected(f"a part number of at most {MAX_PART_DEPTH} levels", found.start())
    return numbers


def partial(cur: Cursor) -> Partial | None:
    # partial = "<" number64 "." nz-number64 ">"
    if not cur.skip(b"<"):
        return None
    offset = number(cur)
    cur.expect(b".")
    start = cur.position
    length = number(cur)
    if not length:
        raise cur.expected("a length of at least 1", start)
    cur.expect(b">")
    return Partial(offset, length)
