"""Messages that get a place in the mailbox: rows, mod-sequence, and the short way for those that this process has
just put into cur/ itself."""

from __future__ import annotations

from collections.abc import Sequence

from mailstack.store.maildir import names
from mailstack.store.maildir.differences import Differences
from mailstack.store.maildir.folder import FolderFiles
from mailstack.store.maildir.layout import sync_directory

ONE_BY_ONE = 64
"""Messages that are put in their places singly; for more, columns are extended and the table of names made anew."""


def admit(files: FolderFiles, placed: Sequence[str]) -> Differences | None:
    """Give UIDs to files that were just put into cur/ under names that nobody has had, and sync both, without a look:
    who has the lock and finds the uidlist as it knows it need not ask what others did. None if that is not so, or
    if there are records whose messages are not known; then nothing was done. Raises: OSError, Refused."""
    if files.unseen or files.read_only or not files.swept:
        return None
    with files.lock():
        if not files.uidlist.is_as_known():
            return None
        uids = files.uidlist.append([names.split(name)[0] for name in placed])
    # The uidlist before the directory: on a file system with a journal its sync has written the new names, too,
    # and this one finds nothing more to do. Until both are done the client is not told.
    try:
        sync_directory(files.cur)
    except OSError:
        files.lost = True  # there are records for what is taken back now
        raise
    found = Differences()
    insert(files, found, list(zip(uids, placed, strict=True)))
    number(files, found)
    return found


def insert(files: FolderFiles, found: Differences, arrived: list[tuple[int, str]]) -> None:
    """Rows for messages that have UIDs now, ascending."""
    rows = files.rows
    if len(arrived) <= ONE_BY_ONE:
        found.add([uid for uid, _ in arrived], [rows.add(uid, name) for uid, name in arrived])
    elif len(rows) == 0 or arrived[0][0] > rows.uids[-1]:
        before = len(rows)
        rows.extend([uid for uid, _ in arrived], [name for _, name in arrived])
        found.add(rows.uids[before:], rows.flags[before:])
    else:
        merged = sorted([*((uid, rows.name(row)) for row, uid in enumerate(rows.uids)), *arrived])
        rows.clear()
        rows.extend([uid for uid, _ in merged], [name for _, name in merged])
        found.add([uid for uid, _ in arrived], [rows.flags[rows.row(uid)] for uid, _ in arrived])


def number(files: FolderFiles, found: Differences) -> None:
    """Give what was found its mod-sequence. It is noted already: an error is told with it."""
    modseqs = files.modseqs
    try:
        if modseqs.last == 0:
            modseqs.load()
        if found:
            found.modseq = modseqs.next(durable=not files.read_only)
    except OSError as error:
        found.modseq = modseqs.next(durable=False)  # one that clients know would hide the change from them
        found.error = found.error or error
    files.lately.note([uid for uid, _ in found.changed], found.modseq)
