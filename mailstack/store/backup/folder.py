"""One mailbox into a backup, while others deliver into it, rename in it, and remove.

The uidlist and the list of files are taken in one moment, under the uidlist's lock; the files are taken
afterwards. One that was renamed meanwhile is looked for by its base name. One that is gone is left out of the
copied uidlist, so each of whose records has its message in the copy."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISREG

from mailstack.errors import Refused
from mailstack.store.maildir.layout import SUBDIRECTORIES, sync_directory
from mailstack.store.maildir.locks import dotlock
from mailstack.store.maildir.uidlist import FILE as UIDLIST
from mailstack.store.maildir.uidlist import Broken, Loaded, UidList
from mailstack.store.owner import acting_as_owner_of

ROUNDS = 5
"""Looks at the directory for a message that is not where it was, before it is taken for gone."""
REPORT_EVERY = 100
"""Messages between two reports of progress."""
_NO_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS})
_UNREADABLE = frozenset({errno.EACCES, errno.EPERM, errno.EIO, errno.ELOOP})
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_PIECE = 1024 * 1024
_NOT_COPIED = ("mailstack-index", "mailstack-texts", "dovecot.index", "maildirsize", UIDLIST)
"""Files beside the messages that can be made again, or are made in another way."""

Place = tuple[str, str]
"""Directory, new or cur, and name of a message's file."""


@dataclass(slots=True)
class Totals:
    """What was done so far."""

    mailboxes: int = 0
    messages: int = 0
    octets: int = 0
    linked: int = 0
    copied: int = 0
    gone: int = 0
    """Messages that were removed while they were to be copied."""
    missing: list[str] = field(default_factory=list)
    """Paths of messages that cannot be read."""
    notes: list[str] = field(default_factory=list)
    report: Callable[[], None] = lambda: None


@contextmanager
def at_rest(folder: Path) -> Iterator[None]:
    """Nobody gives UIDs meanwhile. On a file system that nobody can write to there is nothing to lock.
    Raises: OSError, Refused(STORE_UNAVAILABLE)."""
    with ExitStack() as stack:
        stack.enter_context(acting_as_owner_of(folder))
        try:
            stack.enter_context(dotlock(folder / UIDLIST))
        except OSError as error:
            if error.errno != errno.EROFS:
                raise
        yield


def messages(folder: Path) -> dict[str, Place]:
    """Base name → place of each message. Two files of one base are both there, the second under its whole
    name. Raises: OSError."""
    found: dict[str, Place] = {}
    for directory in ("new", "cur"):
        for name in os.listdir(folder / directory):
            base = name.partition(":")[0]
            if base and not base.startswith("."):
                found[base if base not in found else f"{directory}/{name}"] = (directory, name)
    return found


class FolderCopy:
    """One mailbox on its way into a backup. `previous` is the same mailbox in the last one."""

    def __init__(self, source: Path, target: Path, previous: Path | None, totals: Totals) -> None:
        self._source = source
        self._target = target
        self._previous = previous
        self._totals = totals
        self._links = True
        self._earlier: dict[str, Place] | None = None

    def run(self) -> str:
        """Returns the mailbox id, "" if it has none; durable on return. Raises: OSError;
        FileNotFoundError if the mailbox is gone."""
        uidlist = UidList(self._source / UIDLIST)
        loaded, wanted = self._at_rest(uidlist)
        for directory in ("", *SUBDIRECTORIES):
            (self._target / directory).mkdir(mode=0o700, exist_ok=True)
        taken = self._take_all(wanted)
        copy_beside(self._source, self._target)
        if loaded is not None:
            uidlist.path = self._target / UIDLIST
            uidlist.write([(uid, base) for uid, base in loaded.records if base in taken])
        for directory in ("cur", "new", ""):
            sync_directory(self._target / directory)
        self._totals.mailboxes += 1
        return uidlist.guid if loaded is not None else ""

    def _at_rest(self, uidlist: UidList) -> tuple[Loaded | None, dict[str, Place]]:
        """Records and files of one moment. Without the lock, when it is not to be had, the records that have no
        file yet, and files that have no record, are left to what follows: it is so after a crash, too."""
        try:
            with at_rest(self._source):
                return self._records(uidlist), messages(self._source)
        except Refused as refused:
            self._totals.notes.append(f"{refused.detail}; read without it")
            return self._records(uidlist), messages(self._source)

    def _records(self, uidlist: UidList) -> Loaded | None:
        try:
            return uidlist.load()
        except Broken as broken:
            self._totals.notes.append(f"{uidlist.path}: {broken}; its messages are copied without their UIDs")
            return None

    def _take_all(self, wanted: dict[str, Place]) -> set[str]:
        taken: set[str] = set()
        for _ in range(ROUNDS):
            lost = [key for key, place in wanted.items() if not self._take(place, key, taken)]
            if not lost:
                return taken
            there = messages(self._source)
            wanted = {key: there.get(key, ("cur", key)) for key in lost}
        self._totals.gone += len(wanted)
        return taken

    def _take(self, place: Place, key: str, taken: set[str]) -> bool:
        """False if there is no such file now."""
        source, target = self._source.joinpath(*place), self._target.joinpath(*place)
        try:
            stat = os.lstat(source)
            if S_ISREG(stat.st_mode):
                self._put(source, target, key, stat)
                taken.add(key)
                self._totals.messages += 1
                self._totals.octets += stat.st_size
                if self._totals.messages % REPORT_EVERY == 0:
                    self._totals.report()
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno not in _UNREADABLE or error.filename not in (None, os.fspath(source)):
                raise
            self._totals.missing.append(str(source))
        return True

    def _put(self, source: Path, target: Path, base: str, stat: os.stat_result) -> None:
        if self._links:
            try:
                os.link(source, target, follow_symlinks=False)
                self._totals.linked += 1
                return
            except OSError as error:
                if error.errno not in _NO_LINK:
                    raise
                self._links = error.errno in (errno.EMLINK, errno.EPERM)  # of this file
        if self._link_earlier(base, target, stat):
            self._totals.linked += 1
            return
        copy_file(source, target)
        self._totals.copied += 1

    def _link_earlier(self, base: str, target: Path, stat: os.stat_result) -> bool:
        """Whether the last backup has this file."""
        if self._previous is None:
            return False
        if self._earlier is None:
            self._earlier = messages(self._previous)
        place = self._earlier.get(base)
        if place is None:
            return False
        earlier = self._previous.joinpath(*place)
        found = os.lstat(earlier)
        if (found.st_size, found.st_mtime_ns) != (stat.st_size, stat.st_mtime_ns):
            return False
        try:
            os.link(earlier, target)
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            return False
        return True


def copy_file(source: Path, target: Path) -> None:
    """Octets, times and mode; durable on return, but for the directory. Raises: OSError."""
    fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        copy_open_file(fd, target)
    finally:
        os.close(fd)


def copy_open_file(source: int, target: Path) -> None:
    """As `copy_file`, from a descriptor. Nothing is left when it fails. Raises: OSError."""
    stat = os.fstat(source)
    fd = os.open(target, _CREATE, 0o600)
    try:
        with open(fd, "wb", buffering=0) as file:
            while data := os.read(source, _PIECE):
                view = memoryview(data)
                while view:
                    view = view[file.write(view) :]
            os.utime(fd, ns=(stat.st_atime_ns, stat.st_mtime_ns))
            os.fsync(fd)
    except BaseException:
        os.unlink(target)
        raise


def copy_beside(source: Path, target: Path) -> None:
    """The files beside the messages, as they are now: each is replaced in one step by those who write it.
    Raises: OSError."""
    for entry in os.scandir(source):
        name = entry.name
        if name.startswith(_NOT_COPIED) or name.endswith((".lock", ".tmp")) or not entry.is_file(follow_symlinks=False):
            continue
        try:
            copy_file(source / name, target / name)
        except FileNotFoundError:
            continue
