"""A mailbox's rows and columns into the account's index, and back. In the account's lane."""

from __future__ import annotations

import time
from array import array
from collections.abc import Sequence

from mailstack.store.columns import History, MessageColumns
from mailstack.store.index import AccountIndex, Snapshot
from mailstack.store.maildir import keywords
from mailstack.store.maildir.folder import SETTLED, FolderFiles
from mailstack.store.maildir.rows import Packed

NOTHING = (0, 0)
"""Time stamps that no directory has: everything is looked at again."""


def restore(files: FolderFiles, index: AccountIndex) -> MessageColumns | None:
    """Begin where `take` ended; None if nothing usable was kept. A sync must follow: it looks at what the
    time stamps do not vouch for. Raises: OSError."""
    header = files.uidlist.peek()
    snapshot = None if header is None else index.load(*header)
    if header is None or snapshot is None:
        return None
    try:
        packed = Packed(snapshot.uids[:], snapshot.flags[:], snapshot.starts, snapshot.names, snapshot.slots)
        files.rows.restore(packed, _unpack_odd(snapshot.odd))
    except ValueError:
        return None
    files.uidlist.resume(*header, snapshot.uidlist)
    files.keywords = keywords.read(files.path)
    new, cur = snapshot.stamps
    files.stamps = (new, cur, snapshot.uidlist[2])
    resumed = files.uidlist.stamp == tuple(snapshot.uidlist[:3])  # a copy of the account has another inode
    files.unsure = files.lost = (new, cur) == NOTHING or not resumed
    columns = MessageColumns()
    columns.uids, columns.flags, columns.modseqs = snapshot.uids, snapshot.flags, snapshot.modseqs
    columns.sizes, columns.dates = snapshot.sizes, snapshot.dates
    columns.history = History(snapshot.history)
    columns.history.uids, columns.history.modseqs = snapshot.gone, snapshot.gone_modseqs
    if not files.modseqs.resume(snapshot.modseq):
        # After a crash: a flag may have changed and changed back under numbers that are lost.
        columns.modseqs = array("Q", [files.modseqs.last]) * len(columns)
    return columns


def take(files: FolderFiles, columns: MessageColumns, *, watched: bool) -> Snapshot | None:
    """What `restore` needs. None if rows and columns are not of the same moment, as when a change is on its
    way between them. Raises: OSError."""
    rows = files.rows
    if rows.uids != columns.uids or rows.flags != columns.flags or files.unseen:
        return None
    files.modseqs.settle()
    packed = rows.packed()
    return Snapshot(
        stamps=_stamps(files) if watched else NOTHING if files.unsure else files.stamps[:2],
        uidlist=files.uidlist.state(),
        modseq=files.modseqs.last,
        history=columns.history.since,
        gone=columns.history.uids,
        gone_modseqs=columns.history.modseqs,
        uids=columns.uids,
        flags=columns.flags,
        modseqs=columns.modseqs,
        sizes=columns.sizes,
        dates=columns.dates,
        starts=packed.starts[:],
        slots=packed.slots[:],  # copies: the lane goes on with its own
        names=packed.names,
        odd=_pack_odd(rows.odd()),
    )


def _stamps(files: FolderFiles) -> Sequence[int]:
    """Time stamps old enough to tell every later change."""
    if files.lost:
        return NOTHING
    for _ in range(3):
        stamps = files.stat()[:2]
        age = time.time() - max(stamps) / 1e9
        if age > SETTLED:
            return stamps
        time.sleep(max(0.0, SETTLED - age) + 0.001)
    return NOTHING


def _pack_odd(odd: dict[int, str]) -> bytes:
    return "".join([f"{uid}/{name}/" for uid, name in odd.items()]).encode("utf-8", "surrogateescape")


def _unpack_odd(octets: bytes) -> dict[int, str]:
    """Raises: ValueError."""
    words = octets.decode("utf-8", "surrogateescape").split("/")
    return {int(uid): name for uid, name in zip(words[:-1:2], words[1::2], strict=True)}
