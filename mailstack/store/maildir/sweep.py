"""What crashes leave in a mailbox's directories, and removing it."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from mailstack.ports import Log

TMP_AGE = 36 * 3600
"""Seconds after which a file that is being written is rubbish (Bernstein, "Using maildir format")."""
DELETED = "deleted."
"""Begins the name in the account's tmp/ of a mailbox that is being removed."""
_REPLACING = re.compile(r".+\.\d+\.[0-9a-f]{8}\.tmp")
"""Names that `layout.replace_file` writes under."""


def sweep(folder: Path, now: float, log: Log) -> None:
    """Remove what deliveries, deletions and writings that did not end left behind. `now` is in seconds since
    the epoch. An error costs a line of the log."""
    try:
        removed = _sweep_tmp(folder / "tmp", now) + _sweep_replacing(folder, now)
    except OSError as error:
        log.warning("mailbox not swept", folder=str(folder), reason=str(error))
        return
    if removed:
        log.event("mailbox swept", folder=str(folder), removed=removed)


def _sweep_tmp(directory: Path, now: float) -> int:
    removed = 0
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                removed += _remove_if_old(entry, now)
            elif entry.name.startswith(DELETED):
                shutil.rmtree(entry.path, ignore_errors=True)  # another process may be at it, too
                removed += 1
    return removed


def _sweep_replacing(folder: Path, now: float) -> int:
    with os.scandir(folder) as entries:
        return sum(_remove_if_old(entry, now) for entry in entries if _REPLACING.fullmatch(entry.name))


def _remove_if_old(entry: os.DirEntry[str], now: float) -> int:
    try:
        if now - last_touched(entry.stat(follow_symlinks=False)) <= TMP_AGE:
            return 0
        os.unlink(entry.path)
    except FileNotFoundError:
        return 0  # it was finished just now
    return 1


def last_touched(status: os.stat_result) -> float:
    """When anybody last wrote to a file, in seconds since the epoch. Its modification time alone does not say: that of
    a message on its way in is the internal date already, perhaps years ago."""
    return max(status.st_mtime, status.st_ctime)
