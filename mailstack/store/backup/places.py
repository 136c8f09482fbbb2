"""Where backups lie: one directory each, named by its time; `manifest.json` in it is written last, and a
directory without one is nothing but what an interrupted run left.

    DIR/20261124T213000Z/manifest.json
                         mail/<account>/   a Maildir++ each, as in the data directory
                         queue/            mail for others that was waiting
                         accounts.sqlite3, sent.sqlite3, suppressed.sqlite3, journal.sqlite3,
                         server-attributes, shared-mailboxes, mailstack.toml
                         SHA256SUMS        of every message, when it was verified"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mailstack.store.maildir.layout import replace_file

FORMAT = 1
"""Of what a backup consists; another number is another form."""
MANIFEST = "manifest.json"
ACCOUNTS = "accounts.sqlite3"
SENT = "sent.sqlite3"
CONFIGURATION = "mailstack.toml"
SUMS = "SHA256SUMS"
_LOCK = ".lock"
_TIME = "%Y%m%dT%H%M%SZ"
_NAME = re.compile(r"\d{8}T\d{6}Z")


class BackupError(Exception):
    """It cannot be done; the message says why, in a line for the one who asked."""


@dataclass(frozen=True, slots=True)
class AccountCounts:
    """What of one account is in a backup. `directory` is below mail/."""

    directory: str
    mailboxes: int
    messages: int
    octets: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a complete backup says of itself. Times are in seconds since the epoch."""

    begun: float
    ended: float
    whole: bool
    """Whether all accounts were asked for."""
    verified: bool
    accounts: dict[str, AccountCounts]
    queued: int
    missing: tuple[str, ...]
    """Messages that could not be read."""

    @property
    def messages(self) -> int:
        return sum(counts.messages for counts in self.accounts.values())

    @property
    def octets(self) -> int:
        return sum(counts.octets for counts in self.accounts.values())

    def write(self, backup: Path) -> None:
        """Makes the backup complete; durable on return. Raises: OSError."""
        document = {"format": FORMAT, "messages": self.messages, "octets": self.octets, **asdict(self)}
        replace_file(backup / MANIFEST, (json.dumps(document, indent=1) + "\n").encode())


def read(backup: Path) -> Manifest:
    """Raises: BackupError."""
    try:
        document = json.loads((backup / MANIFEST).read_bytes())
    except FileNotFoundError:
        raise BackupError(f"{backup} is no complete backup: there is no {MANIFEST}") from None
    except ValueError as error:
        raise BackupError(f"{backup / MANIFEST} cannot be read: {error}") from error
    except OSError as error:
        raise BackupError(f"{backup / MANIFEST}: {error.strerror}") from error
    try:
        if document["format"] != FORMAT:
            raise BackupError(f"{backup} has format {document['format']}; this program reads {FORMAT}")
        return Manifest(
            begun=float(document["begun"]),
            ended=float(document["ended"]),
            whole=bool(document["whole"]),
            verified=bool(document["verified"]),
            accounts={str(name): AccountCounts(**counts) for name, counts in document["accounts"].items()},
            queued=int(document["queued"]),
            missing=tuple(map(str, document["missing"])),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BackupError(f"{backup / MANIFEST} is not what a backup says of itself: {error!r}") from error


def places(directory: Path) -> list[Path]:
    """The backups in a directory, complete or not, oldest first. Raises: OSError."""
    return sorted(path for path in directory.iterdir() if _NAME.fullmatch(path.name) and path.is_dir())


def is_complete(backup: Path) -> bool:
    """Whether its manifest is there."""
    return (backup / MANIFEST).is_file()


def newest(directory: Path) -> Path | None:
    """The last complete backup in a directory. Raises: OSError."""
    complete = [path for path in places(directory) if is_complete(path)]
    return complete[-1] if complete else None


def find(path: Path) -> Path:
    """The backup that `path` is, or the newest in it. Raises: BackupError."""
    try:
        if is_complete(path):
            return path
        found = newest(path)
    except OSError as error:
        raise BackupError(f"{path}: {error.strerror}") from error
    if found is None:
        raise BackupError(f"{path} is no complete backup, and has none in it")
    return found


def begin(directory: Path, now: float) -> Path:
    """A new place for a backup of this time. Raises: OSError."""
    time = datetime.fromtimestamp(now, UTC)
    while True:
        place = directory / time.strftime(_TIME)
        try:
            place.mkdir(mode=0o700)
            return place
        except FileExistsError:
            time += timedelta(seconds=1)


def clean(directory: Path) -> int:
    """Remove what interrupted runs left; the caller holds the lock. Returns how many. Raises: OSError."""
    left = [path for path in places(directory) if not is_complete(path)]
    for path in left:
        shutil.rmtree(path)
    return len(left)


def prune(directory: Path, keep: int) -> list[Path]:
    """Remove the oldest of the backups of all accounts until so many are left. Returns what was removed.
    Raises: BackupError, OSError."""
    with alone(directory):
        whole = [path for path in places(directory) if is_complete(path) and read(path).whole]
        old = whole[: max(0, len(whole) - keep)]
        for path in old:
            (path / MANIFEST).unlink()  # first: what is half removed is no backup
            shutil.rmtree(path)
    return old


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """No other run works on the directory meanwhile. Raises: BackupError, OSError."""
    if not directory.is_dir():
        raise BackupError(f"{directory} is no directory: make it first, or mount what it should be on")
    fd = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupError(f"another backup into {directory} is under way") from None
        yield
    finally:
        os.close(fd)
