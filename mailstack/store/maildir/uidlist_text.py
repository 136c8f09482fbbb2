"""The octets of `dovecot-uidlist`, read and made. Pure.

Version 3 is Dovecot's; version 1 that of old Dovecots and of Courier's `courierimapuiddb`:

    3 V<UIDVALIDITY> N<next UID> G<mailbox GUID> [<key><value> …]        1 <UIDVALIDITY> <next UID>
    <UID> [<key><value> …] :<name>                                       <UID> <name>

Keys of a record are A–Z, of the header any letter; a value ends at a space and may have a ":". What is
after the first ":" of a name are flags that somebody saw once. Source: Dovecot's maildir format."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import lt

MAX_UID = 0xFFFFFFFF
"""RFC 9051 §2.3.1.1: a UID is a 32-bit value. Dovecot takes this one for no UID."""
SHORTEST = len(b"1 :a\n")
"""Octets of the shortest record: so many octets that cannot be read may have been one record each."""
_HEADER = re.compile(rb"3((?: +[A-Za-z][^ \n\0]*)*) *\n")
_HEADER_1 = re.compile(rb"1 +(\d{1,10}) +(\d{1,10})\n")
_GUID = re.compile(r"[0-9A-Fa-f]{32}")
_RECORD = re.compile(rb"^(\d{1,10})((?: +[A-Z][^ \n\0]*)*) +:([^\n\0/]+)\n", re.MULTILINE)
_LINE_END = re.compile(r"[\r\n]")
_RECORD_1 = re.compile(rb"^(\d{1,10})() +([^\n\0/]+)\n", re.MULTILINE)


@dataclass(slots=True)
class Header:
    """`guid` is "" where it is missing or none; `others` are words that are not ours; `octets` is the
    header's length."""

    version: int
    validity: int
    next_uid: int
    guid: str
    others: list[str]
    octets: int


@dataclass(slots=True)
class Records:
    """`records` are UID and base name, UIDs ascending, none twice. `end` is the length of what was whole
    lines; `lost` counts octets of lines that are no records, and `unordered` says that Dovecot would not
    read on."""

    records: list[tuple[int, str]] = field(default_factory=list)
    extensions: dict[int, str] = field(default_factory=dict)
    end: int = 0
    lost: int = 0
    lost_at_the_end: int = 0
    unordered: bool = False
    doubled: set[int] = field(default_factory=set)
    """UIDs that two messages had."""


def read_header(content: bytes) -> Header | None:
    """None if the file does not begin with a header that says UIDVALIDITY and next UID."""
    old = _HEADER_1.match(content)
    if old is not None:
        validity, following, guid, others, version, end = int(old[1]), int(old[2]), "", [], 1, old.end()
    else:
        found = _HEADER.match(content)
        if found is None:
            return None
        words = os.fsdecode(found[1]).split()
        values = {word[0]: word[1:] for word in words}
        validity, following = _number(values.get("V", "")), _number(values.get("N", ""))
        guid = values.get("G", "") if _GUID.fullmatch(values.get("G", "")) else ""
        others = [word for word in words if word[0] not in "VNG"]
        version, end = 3, found.end()
    if not 0 < validity <= MAX_UID or not 0 < following <= MAX_UID:
        return None
    return Header(version, validity, following, guid, others, end)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 10 else 0


def read_records(content: bytes, version: int) -> Records:
    """Every line that is a record, whatever stands between them. A last line without LF is one that
    somebody is writing, or did not finish: not ours to read.

    Of two records with one UID neither is kept: that UID was told for one message to some, for the other to
    others, and both get new ones."""
    end = content.rfind(b"\n") + 1
    content = content[:end]
    pattern = _RECORD if version == 3 else _RECORD_1
    found = Records(end=end)
    matches = pattern.findall(content)
    if len(matches) != content.count(b"\n"):
        found.lost, found.lost_at_the_end = _unread(content, pattern)
    uids = [int(number) for number, _, _ in matches]
    found.records = [
        (uid, os.fsdecode(name.partition(b":")[0])) for uid, (_, _, name) in zip(uids, matches, strict=True)
    ]
    found.extensions = {uid: os.fsdecode(text) for uid, (_, text, _) in zip(uids, matches, strict=True) if text}
    if uids and not (uids[0] > 0 and uids[-1] < MAX_UID and all(map(lt, uids, uids[1:]))):
        _straighten(found, uids)
    return found


def _straighten(found: Records, uids: list[int]) -> None:
    found.unordered = True
    names: dict[int, set[str]] = {}
    for uid, base in found.records:
        names.setdefault(uid, set()).add(base)
    found.records = sorted(
        (uid, base) for uid, bases in names.items() if len(bases) == 1 and 0 < uid < MAX_UID for base in bases
    )
    found.doubled = {uid for uid, bases in names.items() if len(bases) > 1}
    kept = {uid for uid, _ in found.records}
    found.extensions = {uid: text for uid, text in found.extensions.items() if uid in kept}
    found.lost += sum(uid not in kept for uid in uids)


def _unread(content: bytes, pattern: re.Pattern[bytes]) -> tuple[int, int]:
    """Octets that no record covers, and those of them after the last record."""
    position = lost = 0
    for match in pattern.finditer(content):
        lost += match.start() - position
        position = match.end()
    return lost + len(content) - position, len(content) - position


def made(header: Header, records: list[tuple[int, str]], extensions: dict[int, str]) -> bytes:
    """A whole file of version 3."""
    extra = "".join(f" {word}" for word in header.others)
    lines = [f"3 V{header.validity} N{header.next_uid} G{header.guid}{extra}\n"]
    if extensions:
        lines += [f"{uid}{extensions.get(uid, '')} :{base}\n" for uid, base in records]
    else:
        lines += [f"{uid} :{base}\n" for uid, base in records]
    return os.fsencode("".join(lines))


def lines_of(first: int, bases: Sequence[str]) -> bytes:
    """Records for messages that get UIDs in order from `first`. A name with a line end cannot stand in the
    file; its UID is used up all the same."""
    text = "".join([f"{uid} :{base}\n" for uid, base in enumerate(bases, first)])
    if text.count("\n") != len(bases) or "\r" in text:
        text = "".join([f"{uid} :{_LINE_END.sub('?', base)}\n" for uid, base in enumerate(bases, first)])
    return os.fsencode(text)
