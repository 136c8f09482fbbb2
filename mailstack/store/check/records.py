"""What is wrong with a uidlist, and what it says all the same."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from mailstack.store.check.findings import Kind
from mailstack.store.maildir.uidlist_text import read_header, read_records

SHOWN = 5
"""UIDs that are told; of more of them, how many there are."""


@dataclass(slots=True)
class Records:
    """`uids`: base name → UID. `validity` is 0 when there is no header, and no UID means anything."""

    validity: int = 0
    guid: str = ""
    uids: dict[str, int] = field(default_factory=dict)
    troubles: list[tuple[Kind, str]] = field(default_factory=list)


def read(path: Path) -> Records | None:
    """None if there is no such file. Raises: OSError."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    header = read_header(content)
    if header is None:
        return Records(troubles=[(Kind.UIDLIST_BROKEN, "its first line is no header: all messages get new UIDs")])
    told = Records(header.validity, header.guid)
    if header.version != 3 or not header.guid:
        what = "it has no mailbox id" if header.version == 3 else f"it is of version {header.version}"
        told.troubles.append((Kind.UIDLIST_OLD, what))
    body = content[header.octets :]
    found = read_records(body, header.version)
    told.uids = {base: uid for uid, base in found.records}
    left_out = body.count(b"\n") - len(found.records)
    if found.lost > (left_out if found.doubled else 0):
        told.troubles.append((Kind.UIDLIST_BROKEN, f"{found.lost} octets of it are no records"))
    if found.doubled:
        told.troubles.append((Kind.UID_TWICE, f"given to two messages: UID {some(sorted(found.doubled))}"))
    elif found.unordered:
        told.troubles.append((Kind.UID_ORDER, "its UIDs do not ascend"))
    if content[-1:] != b"\n":
        told.troubles.append((Kind.UIDLIST_TORN, "its last line has no end"))
    return told


def some(numbers: Iterable[int]) -> str:
    """The first of them."""
    listed = list(numbers)
    shown = ", ".join(map(str, listed[:SHOWN]))
    return shown if len(listed) <= SHOWN else f"{shown} and {len(listed) - SHOWN} more"
