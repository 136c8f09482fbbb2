"""What lies beside the accounts: the queue, the spool, and what is no account."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from mailstack.store.accounts import strangers
from mailstack.store.check.findings import Finding, Kind
from mailstack.store.maildir.sweep import TMP_AGE


def check_data(data: Path) -> Iterator[Finding]:
    """Raises: OSError."""
    if (data / "mail").is_dir():
        for path in strangers(data):
            yield Finding("", "", Kind.STRANGER, f"mail/{path.name} is no account's", path)
    queue = data / "queue"
    other = {".eml": ".json", ".json": ".eml"}
    for path in _files(queue):
        if path.suffix in other and not path.with_suffix(other[path.suffix]).exists() and _old(path):
            what = f"queue/{path.name} has no {'envelope' if path.suffix == '.eml' else 'message'}"
            yield Finding("", "", Kind.QUEUE_ORPHAN, what, path)
    for path in _files(queue / "tmp"):
        if _old(path):
            yield Finding("", "", Kind.QUEUE_ORPHAN, f"queue/tmp/{path.name} is old", path)
    for path in _files(data / "spool"):
        if _old(path):
            yield Finding("", "", Kind.SPOOL_OLD, f"spool/{path.name} is old", path)


def _files(directory: Path) -> list[Path]:
    try:
        return sorted(path for path in directory.iterdir() if path.is_file() and not path.is_symlink())
    except FileNotFoundError:
        return []


def _old(path: Path) -> bool:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return False
    return time.time() - max(stat.st_mtime, stat.st_ctime) > TMP_AGE
