"""The files of the queue. Blocking.

    queue/tmp/<id>      being written
    queue/<id>.msg      one line that says what it is, with the envelope; then the message

    queue/<id>.damaged  was to be taken into a new database and could not be read; for people

A file is whole in itself: when the database beside it is lost, the items are made again of the files. A crash leaves
files in tmp/, and files that no row speaks of; they were never acknowledged, or are done, and are swept."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mailstack.ports import MEMORY_LIMIT, Envelope
from mailstack.queue.envelopes import document, envelope_of
from mailstack.store.maildir.deliver import copy
from mailstack.store.maildir.layout import sync_directory
from mailstack.store.spool import write_all

QUEUE = "queue"
"""The directory, in the data directory."""
SUFFIX, DAMAGED = ".msg", ".damaged"
MAGIC = b"mailstack-queue "
"""How the first line begins."""
MAX_FIRST_LINE = 4 * 1024 * 1024
"""Octets of the first line: some 20,000 recipients with all that may be said of each."""
RESERVE = 2 * 1024 * 1024
"""Octets of the disk that new messages leave free: to take down what was sent, and so to make room, needs some."""
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class Damaged(Exception):
    """A file that is not one of the queue, or not all of one; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Slice:
    """Octets of an item's file that become part of another one."""

    name: str
    start: int
    size: int

    def __len__(self) -> int:
        return self.size


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Files:
    """The directory. Raises: OSError."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._place = str(directory)
        if not (directory / "tmp").is_dir():
            (directory / "tmp").mkdir(mode=0o700, parents=True, exist_ok=True)
            sync_directory(directory.parent)  # else a power cut may take it along with what is in it
        self._fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._sends = os.open(directory / "tmp", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        """No more calls; locks are given back."""
        os.close(self._fd)
        os.close(self._sends)

    # --- several processes on one directory: all of them may queue, one of them sends

    def be_alone(self) -> bool:
        """Whether no other process uses the directory; until `share` none can begin to."""
        return _locked(self._fd)

    def share(self) -> None:
        """Use it beside others. Waits while one of them is alone."""
        fcntl.flock(self._fd, fcntl.LOCK_SH)

    def send_alone(self) -> bool:
        """Whether this process may send what is queued: no other does. Holds until `close`."""
        return _locked(self._sends)

    def demand_room(self, size: int) -> None:
        """For a new message of so many octets. Raises: OSError(ENOSPC)."""
        disk = os.fstatvfs(self._fd)
        if disk.f_flag & os.ST_RDONLY:
            return  # that is what is wrong with it, and what is said when it is written to
        if disk.f_bavail * disk.f_frsize < size + RESERVE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.directory))

    def write(
        self,
        name: str,
        envelope: Envelope,
        arrived: float,
        parts: Sequence[bytes | Slice],
        source: int = -1,
        start: int = 0,
    ) -> int:
        """Write a message of `parts` and then the file `source` from `start` on, if there is one, and sync it; the name
        is durable after `sync`. Returns where the message begins."""
        size = sum(map(len, parts)) + (os.fstat(source).st_size - start if source >= 0 else 0)
        said = {**document(envelope, arrived), "size": size}
        first = MAGIC + json.dumps(said, separators=(",", ":")).encode() + b"\r\n"
        path = f"{self._place}/tmp/{name}"
        fd = os.open(path, _CREATE, 0o600)
        try:
            try:
                self._write_parts(fd, (first, *parts))
                if source >= 0:
                    copy(source, fd, start)
                os.fsync(fd)
            finally:
                os.close(fd)
            os.rename(path, self._plain_path(name))
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(path)
            raise
        return len(first)

    def _write_parts(self, fd: int, parts: Sequence[bytes | Slice]) -> None:
        together: list[bytes] = []
        for part in parts:
            if not isinstance(part, Slice):
                together.append(part)
                continue
            for start in range(0, part.size, MEMORY_LIMIT):
                size = min(MEMORY_LIMIT, part.size - start)
                write_all(fd, b"".join((*together, self.read(part.name, part.start + start, size))))
                together.clear()
        write_all(fd, b"".join(together))

    def sync(self) -> None:
        """Make all names durable that are there."""
        os.fsync(self._fd)

    def path(self, name: str) -> Path:
        """Of an item, by its id."""
        return self.directory / (name + SUFFIX)

    def _plain_path(self, name: str) -> str:
        """As `path`, at a tenth of its cost."""
        return f"{self._place}/{name}{SUFFIX}"

    def remove(self, name: str) -> None:
        """An item's file. That it is not there any more is right, too."""
        with suppress(FileNotFoundError):
            os.unlink(self._plain_path(name))

    def set_aside(self, name: str) -> Path:
        """An item's file that cannot be read, for people to look at; returns where it is."""
        aside = self.directory / (name + DAMAGED)
        self.path(name).rename(aside)
        return aside

    def names(self) -> Iterator[str]:
        """The ids of all files, in no order."""
        with os.scandir(self.directory) as entries:
            for entry in entries:
                if entry.name.endswith(SUFFIX):
                    yield entry.name[: -len(SUFFIX)]

    def sweep_unfinished(self) -> int:
        """Remove what was being written when a process died; returns how many files. Only at the start of the process
        that owns the queue."""
        left = list((self.directory / "tmp").iterdir())
        for path in left:
            path.unlink()
        return len(left)

    def read_envelope(self, name: str) -> tuple[Envelope, float, int, int]:
        """Envelope, arrival, offset and size of an item's file. Raises: Damaged."""
        path = self.path(name)
        with open(path, "rb") as file:
            first = file.readline(MAX_FIRST_LINE)
            size = os.fstat(file.fileno()).st_size - len(first)
        if not first.startswith(MAGIC) or not first.endswith(b"\n"):
            raise Damaged(f"{path}: it does not begin as a file of the queue")
        try:
            found = json.loads(first[len(MAGIC) :])
            envelope, arrived = envelope_of(found), float(found["arrived"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Damaged(f"{path}: its envelope cannot be read: {error!r}") from error
        if size != found.get("size", size):
            raise Damaged(f"{path}: the message has {size} octets, not {found['size']}")
        return envelope, arrived, len(first), size

    def read(self, name: str, offset: int, size: int) -> bytes:
        """Octets of an item's file. Raises: Damaged when they are not all there."""
        path = self._plain_path(name)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:  # it does not come back
            raise Damaged(f"{path}: it is not there") from error
        try:
            octets = os.pread(fd, size, offset)
            while len(octets) < size and (more := os.pread(fd, size - len(octets), offset + len(octets))):
                octets += more
        finally:
            os.close(fd)
        if len(octets) < size:
            raise Damaged(f"{path}: it ends {size - len(octets)} octets too early")
        return octets
