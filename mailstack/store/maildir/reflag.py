"""Other flags for many messages. What matters here is the time that one message takes: a STORE of a hundred thousand
is as many calls of rename(2), and each step of Python's beside it is as many steps."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from mailstack.store.maildir import names
from mailstack.store.maildir.folder import FolderFiles


def reflag_plain(
    files: FolderFiles, uids: Iterable[int], made_of: Callable[[int], int], changed: list[tuple[int, int]]
) -> list[int]:
    """Give files the names for the flags that `made_of` makes of theirs, as far as they have the names that we know
    and have them of us; `changed` gets UID and flags of each that was renamed, also when it raises. Returns the UIDs
    that nothing was done for: those that seem to have the flags, or have another name, take a look each.
    Raises: OSError."""
    rows = files.rows
    rename, base_of, row_of, flags = os.rename, rows.base_octets, rows.row, rows.flags
    known: dict[int, tuple[int, bytes, bytes]] = {}
    left: list[int] = []
    fd = os.open(files.cur, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # a name is found sooner than a long path
    try:
        for uid in uids:
            row = row_of(uid)
            if row < 0:
                continue
            before = flags[row]
            if before not in known:
                known[before] = _step(before, made_of(before))
            after, old, new = known[before]
            if after == before:
                left.append(uid)
                continue
            base = base_of(row)
            try:
                rename(base + old, base + new, src_dir_fd=fd, dst_dir_fd=fd)
            except FileNotFoundError:  # others were there, or it is a name of theirs
                left.append(uid)
                continue
            flags[row] = after
            changed.append((uid, after))
    finally:
        os.close(fd)
    return left


def _step(before: int, after: int) -> tuple[int, bytes, bytes]:
    """The flags as a name can say them, and the ends of the old and the new name."""
    end = names.suffix(after)
    return names.info_bits(end), names.suffix(before).encode(), end.encode()
