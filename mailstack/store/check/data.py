"""What lies beside the accounts: the queue, the spool, and what is no account."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from mailstack.queue import former
from mailstack.queue.content import DAMAGED, SUFFIX
from mailstack.queue.database import DATABASE, QueueDatabaseError, known_items
from mailstack.queue.recovery import ASIDE
from mailstack.store.accounts import strangers
from mailstack.store.check.findings import Finding, Kind
from mailstack.store.maildir.sweep import TMP_AGE


def check_data(data: Path) -> Iterator[Finding]:
    """Raises: OSError."""
    if (data / "mail").is_dir():
        for path in strangers(data):
            yield Finding("", "", Kind.STRANGER, f"mail/{path.name} is no account's", path)
    yield from _queue(data / "queue")
    for path in _files(data / "spool"):
        if _old(path):
            yield Finding("", "", Kind.SPOOL_OLD, f"spool/{path.name} is old", path)


def _queue(queue: Path) -> Iterator[Finding]:
    other = {former.MESSAGE: former.NOTE, former.NOTE: former.MESSAGE}
    files = _files(queue)
    for path in files:
        if path.suffix in other and not path.with_suffix(other[path.suffix]).exists() and _old(path):
            what = f"queue/{path.name} has no {'envelope' if path.suffix == former.MESSAGE else 'message'}"
            yield Finding("", "", Kind.QUEUE_ORPHAN, what, path)
        elif path.suffix == DAMAGED or path.name.startswith(f"{DATABASE}.{ASIDE}"):
            yield Finding("", "", Kind.QUEUE_ASIDE, f"queue/{path.name} was damaged and set aside", path)
    yield from _against_database(queue, [path for path in files if path.suffix == SUFFIX])
    for path in _files(queue / "tmp"):
        if _old(path):
            yield Finding("", "", Kind.QUEUE_ORPHAN, f"queue/tmp/{path.name} is old", path)


def _against_database(queue: Path, messages: list[Path]) -> Iterator[Finding]:
    """`messages` were listed before the database is asked: what it does not know is not about to be acknowledged."""
    database = queue / DATABASE
    if not database.exists():
        return  # the next start makes it of the files
    try:
        known = known_items(database)
        if known is None:
            return
        gone = [name for name in sorted(known) if not (queue / (name + SUFFIX)).exists()]
        still = (known_items(database) or set()) if gone else set()
    except QueueDatabaseError as error:
        yield Finding("", "", Kind.QUEUE_DATABASE, str(error), database)
        return
    for path in messages:
        if path.stem not in known and _old(path):
            yield Finding("", "", Kind.QUEUE_ORPHAN, f"queue/{path.name} is not in the database", path)
    for name in gone:
        if name in still:
            yield Finding("", "", Kind.QUEUE_MESSAGE, f"queue/{name}{SUFFIX} is gone", queue / (name + SUFFIX))


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
