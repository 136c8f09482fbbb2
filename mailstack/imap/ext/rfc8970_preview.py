"""PREVIEW (RFC 8970): the beginning of what a message says, with LAZY if it is at hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from mailstack.imap.registry import Capability, Feature, FetchWord
from mailstack.imap.wire import encode
from mailstack.imap.wire.values import ColumnItem
from mailstack.mail.preview import preview

if TYPE_CHECKING:
    from mailstack.imap.wire.cursor import Cursor
    from mailstack.ports import Columns, Mailbox, Octets

ITEM = "PREVIEW 1"
"""The name under which previews are kept: to be changed when `mail.preview` says something else."""
AT_ONCE = 32
"""Messages that are read in one visit to a worker."""
MADE_LAZILY = 100
"""Previews that are made though the client is in a hurry, of each thousand messages or so: it takes some milliseconds,
and a small mailbox keeps none."""


def text(octets: Octets) -> bytes:
    """The preview in UTF-8. Pure; for Mailbox.derive."""
    return preview(octets).encode("utf-8", "replace")


async def previews(mailbox: Mailbox, found: Columns) -> Iterable[bytes]:
    # msg-att-dynamic =/ "PREVIEW" SP nstring ; never NIL without LAZY (§3.2)
    return [encode.string(made or b"") for made in await _made(mailbox, found.uids)]


async def lazy_previews(mailbox: Mailbox, found: Columns) -> Iterable[bytes]:
    """§4.1: NIL where it would take a while."""
    known = dict(zip(found.uids, await mailbox.kept(found.uids, ITEM), strict=True))
    missing = [uid for uid, made in known.items() if made is None][:MADE_LAZILY]
    known.update(zip(missing, await _made(mailbox, missing), strict=True))
    return [encode.nstring(known[uid]) for uid in found.uids]


async def _made(mailbox: Mailbox, uids: Sequence[int]) -> list[bytes | None]:
    made: list[bytes | None] = []
    for start in range(0, len(uids), AT_ONCE):
        made += await mailbox.derive(uids[start : start + AT_ONCE], ITEM, text)
    return made


PREVIEW = ColumnItem("PREVIEW", previews)
LAZY_PREVIEW = ColumnItem("PREVIEW", lazy_previews)


def preview_item(cur: Cursor) -> ColumnItem:
    # fetch-att =/ "PREVIEW" [SP "(" preview-mod *(SP preview-mod) ")"] ; preview-mod = "LAZY"
    if not cur.skip(b" ("):
        return PREVIEW
    while True:
        if not cur.skip(b"LAZY"):
            raise cur.expected("LAZY")
        if cur.skip(b")"):
            return LAZY_PREVIEW
        cur.expect(b" ")


FEATURE = Feature(capabilities=(Capability("PREVIEW"),), fetch_items=(FetchWord(b"PREVIEW", preview_item),))
