"""Queue directories of former versions: <id>.eml the message, <id>.json its envelope, which was written last and made
the item exist. Blocking."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mailstack.ports import Envelope, Log
from mailstack.queue.content import Files
from mailstack.queue.envelopes import envelope_of

MESSAGE, NOTE = ".eml", ".json"


@dataclass(frozen=True, slots=True)
class Pair:
    """One item. `arrived` in seconds since the epoch."""

    id: str
    envelope: Envelope
    arrived: float
    message: Path
    note: Path


def pairs(directory: Path, log: Log) -> list[Pair]:
    """What waits, oldest first. An envelope that cannot be read is logged and left alone. Raises: OSError."""
    found = []
    for note in sorted(directory.glob("*" + NOTE)):
        message = note.with_suffix(MESSAGE)
        if not message.exists():
            continue
        try:
            document = json.loads(note.read_bytes())
            found.append(Pair(note.stem, envelope_of(document), float(document["arrived"]), message, note))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("queue item of a former version cannot be read", file=str(note), reason=repr(error))
    return found


def orphans(directory: Path) -> list[Path]:
    """Half pairs: a crash left them, and their senders were told to try again, or they are done. Raises: OSError."""
    other = {MESSAGE: NOTE, NOTE: MESSAGE}
    files = [path for path in directory.iterdir() if path.suffix in other]
    return [path for path in files if not path.with_suffix(other[path.suffix]).exists()]


def rewrite(files: Files, pair: Pair) -> tuple[int, int]:
    """The pair as one file of the queue beside it; returns where its message begins, and the message's octets.
    Raises: OSError."""
    source = os.open(pair.message, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(source).st_size
        return files.write(pair.id, pair.envelope, pair.arrived, (), source), size
    finally:
        os.close(source)


def remove(taken: Iterable[Pair]) -> None:
    """The envelopes first: without it a message is nobody's. Raises: OSError."""
    for pair in taken:
        pair.note.unlink(missing_ok=True)
        pair.message.unlink(missing_ok=True)
