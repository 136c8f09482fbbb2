"""The durable spool for recipients elsewhere.

    queue/tmp/<id>.eml   being written
    queue/<id>.eml       the message: trace header fields, then mail data
    queue/<id>.json      its envelope; written last, it is what makes the item exist

A crash leaves files in tmp/, or one of the two files without the other; they are nobody's and are
swept at the next start. With both in place, and the directory synced, the item is ours."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mailstack.errors import Problem, Refused
from mailstack.ports import Blob, Envelope, Log
from mailstack.queue.envelopes import document, envelope_of
from mailstack.store.maildir.deliver import copy
from mailstack.store.maildir.layout import sync_directory
from mailstack.store.spool import StoredBlob, refusal, write_all
from mailstack.store.workers import Workers

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class QueueItem:
    """One message that waits. `arrived` in seconds since the epoch."""

    id: str
    envelope: Envelope
    arrived: float
    message: Path


class QueueSpool:
    """Implements `ports.Outbound` in a directory."""

    def __init__(self, directory: Path, workers: Workers, log: Log, *, clock: Callable[[], float] = time.time) -> None:
        self._directory = directory
        self._workers = workers
        self._log = log
        self._clock = clock
        if not (directory / "tmp").is_dir():
            (directory / "tmp").mkdir(mode=0o700, parents=True, exist_ok=True)
            sync_directory(directory.parent)  # else a power cut may take it along with what is in it

    async def enqueue(self, envelope: Envelope, prefix: bytes, blob: Blob) -> str:
        assert isinstance(blob, StoredBlob), "a blob of the store's own spool"
        queue_id = f"{int(self._clock() * 1000):x}{os.urandom(4).hex()}"
        try:
            await self._workers.run(partial(self._write, queue_id, envelope, prefix, blob))
        except OSError as error:
            refused = refusal(error)
            problem = Problem.DISK_FULL if refused.problem is Problem.DISK_FULL else Problem.QUEUE_UNAVAILABLE
            raise Refused(problem, refused.detail) from error
        return queue_id

    async def hasten(self, domain: str, *, subdomains: bool = False) -> int:
        waiting = await self._workers.run(partial(self._waiting, domain.lower(), subdomains))
        if waiting:
            raise Refused(Problem.QUEUE_UNAVAILABLE, f"{waiting} messages wait for {domain}")
        return 0

    def _waiting(self, domain: str, subdomains: bool) -> int:
        below = f".{domain}"

        def concerns(name: str) -> bool:
            return name == domain or (subdomains and name.endswith(below))

        return sum(
            any(concerns(recipient.domain.lower()) for recipient in item.envelope.recipients) for item in self.items()
        )

    def items(self) -> Iterator[QueueItem]:
        """What waits, oldest first. An envelope that cannot be read is logged and left alone.
        Blocking. Raises: OSError."""
        for path in sorted(self._directory.glob("*.json")):
            try:
                yield _read(path)
            except (ValueError, KeyError, TypeError) as error:
                self._log.warning("queue item cannot be read", file=str(path), reason=str(error))

    def sweep(self) -> int:
        """Remove what a crash left; returns how many files. Blocking; only before the first
        enqueue of the process that owns the queue. Raises: OSError."""
        other = {".eml": ".json", ".json": ".eml"}
        files = [path for path in self._directory.iterdir() if path.suffix in other]
        orphans = [path for path in files if not path.with_suffix(other[path.suffix]).exists()]
        orphans += (self._directory / "tmp").iterdir()
        for path in orphans:
            path.unlink()
        if orphans:
            self._log.event("queue swept", files=len(orphans))
        return len(orphans)

    def _write(self, queue_id: str, envelope: Envelope, prefix: bytes, blob: StoredBlob) -> None:
        message, note = f"{queue_id}.eml", f"{queue_id}.json"
        placed: list[Path] = []
        try:
            for name, parts, source in (
                (message, (prefix, *blob.chunks), blob.fd),
                (note, (json.dumps(document(envelope, self._clock())).encode(),), -1),
            ):
                placed.append(self._directory / "tmp" / name)
                _write_file(placed[-1], b"".join(parts), source)
            for name in (message, note):
                (self._directory / "tmp" / name).rename(self._directory / name)
                placed.append(self._directory / name)
            sync_directory(self._directory)
        except BaseException:
            for path in reversed(placed):  # the envelope first: without it there is no item
                path.unlink(missing_ok=True)
            raise


def _write_file(path: Path, octets: bytes, source: int) -> None:
    fd = os.open(path, _CREATE, 0o600)
    try:
        write_all(fd, octets)
        if source >= 0:
            copy(source, fd)
        os.fsync(fd)
    finally:
        os.close(fd)


def _read(path: Path) -> QueueItem:
    document = json.loads(path.read_bytes())
    return QueueItem(path.stem, envelope_of(document), document["arrived"], path.with_suffix(".eml"))
