"""A whole backup, made while the store is served. What it does in order:

1. hard links of all messages, or copies where links cannot be; each directory synced
2. databases by SQLite's own backup, and the server's other files (`data_files.py`)
3. on request, every message read
4. the manifest, synced: only now it is a backup"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mailstack.store.backup import places
from mailstack.store.backup.data_files import BESIDE_ACCOUNTS, Kept, found_in
from mailstack.store.backup.databases import copy_database
from mailstack.store.backup.folder import FolderCopy, Totals, copy_beside, copy_file
from mailstack.store.backup.places import AccountCounts, Manifest
from mailstack.store.backup.queue_copy import copy_queue
from mailstack.store.backup.verify import write_sums
from mailstack.store.maildir.layout import SUBDIRECTORIES, sync_directory
from mailstack.store.maildir.uidlist import FILE as UIDLIST
from mailstack.store.maildir.uidlist import UidList

Progress = Callable[[str, int], None]
"""Told what is worked on, and how many messages are done."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What goes into a backup. `accounts`: name → directory; `whole` if these are all."""

    accounts: Mapping[str, Path]
    whole: bool
    queue: Path | None = None
    database: Path | None = None
    """The accounts', which need not be in the data directory; BESIDE_ACCOUNTS are beside it."""
    configuration: Path | None = None
    data: Path | None = None
    """The data directory, for what is of no account."""


@dataclass(frozen=True, slots=True)
class Made:
    """What came of it."""

    path: Path
    manifest: Manifest
    totals: Totals
    problems: list[str]
    """What is not whole, when every message was read."""
    cleaned: int
    """Interrupted runs that were removed first."""


def make(directory: Path, sources: Sources, *, verify: bool, progress: Progress) -> Made:
    """A new backup in `directory`, complete and durable on return. When it cannot be, nothing of it is left,
    unless it is interrupted: then the next run cleans. Raises: BackupError, OSError."""
    with places.alone(directory):
        cleaned = places.clean(directory)
        previous = places.newest(directory)
        begun = time.time()
        place = places.begin(directory, begun)
        try:
            return _Run(place, previous, sources, progress).make(begun, cleaned, verify=verify)
        except Exception:
            shutil.rmtree(place, ignore_errors=True)
            raise


class _Run:
    def __init__(self, place: Path, previous: Path | None, sources: Sources, progress: Progress) -> None:
        self._place = place
        self._previous = previous
        self._sources = sources
        self._progress = progress
        self._totals = Totals()

    def make(self, begun: float, cleaned: int, *, verify: bool) -> Made:
        sources, totals = self._sources, self._totals
        (self._place / "mail").mkdir(mode=0o700)
        accounts: dict[str, AccountCounts] = {}
        for name, path in sources.accounts.items():
            try:
                accounts[name] = self._account(name, path)
            except FileNotFoundError:
                if path.exists():
                    raise
                totals.notes.append(f"{name}: removed meanwhile")
                shutil.rmtree(self._place / "mail" / path.name)
        self._progress("", totals.messages)
        queued = copy_queue(sources.queue, self._place / "queue") if sources.queue is not None else 0
        if sources.database is not None:
            copy_database(sources.database, self._place / places.ACCOUNTS)
            for name in BESIDE_ACCOUNTS:
                if (path := sources.database.with_name(name)).exists():
                    copy_database(path, self._place / name)
        if sources.data is not None:
            self._server(sources.data)
        if sources.configuration is not None:
            copy_file(sources.configuration, self._place / places.CONFIGURATION)
        for directory in (self._place / "mail", self._place, self._place.parent):
            sync_directory(directory)
        problems = write_sums(self._place, self._progress) if verify else []
        missing = tuple(totals.missing)
        manifest = Manifest(begun, time.time(), sources.whole, verify, accounts, queued, missing)
        manifest.write(self._place)
        return Made(self._place, manifest, totals, problems, cleaned)

    def _server(self, data: Path) -> None:
        """What is of no account."""
        for name, known in found_in(data).items():
            if (self._place / name).exists():
                continue
            if known is None:
                self._totals.notes.append(f"{data / name}: not mailstack's, not in the backup")
            elif known.kept is Kept.DATABASE:
                copy_database(data / name, self._place / name)
            elif known.kept is Kept.COPY:
                copy_file(data / name, self._place / name)

    def _account(self, name: str, source: Path) -> AccountCounts:
        totals = self._totals
        mailboxes, messages, octets = totals.mailboxes, totals.messages, totals.octets
        totals.report = lambda: self._progress(name, totals.messages)
        target = self._place / "mail" / source.name
        target.mkdir(mode=0o700)
        earlier = _by_id(self._previous / "mail" / source.name) if self._previous is not None else {}
        done: dict[str, str] = {}
        # Twice: a mailbox that is renamed meanwhile, or made, is found the second time.
        for _ in range(2):
            for directory in _folders(source):
                if directory not in done:
                    done[directory] = self._folder(source, target, directory, earlier, done)
        self._others(source, target)
        sync_directory(target)
        return AccountCounts(
            source.name, totals.mailboxes - mailboxes, totals.messages - messages, totals.octets - octets
        )

    def _folder(
        self, source: Path, target: Path, directory: str, earlier: Mapping[str, Path], done: Mapping[str, str]
    ) -> str:
        """Returns the mailbox id. `done`: directory → id of those that were taken."""
        peeked = UidList(source / directory / UIDLIST).peek()
        guid = peeked[0] if peeked else ""
        if guid and any(other == guid and not (source / name).exists() for name, other in done.items()):
            return guid  # it was taken under its old name
        place = target / directory
        try:
            return FolderCopy(source / directory, place, earlier.get(guid), self._totals).run()
        except FileNotFoundError:
            if (source / directory / "cur").exists():
                raise
            if directory:
                shutil.rmtree(place, ignore_errors=True)
            self._totals.notes.append(f"{source / directory}: removed meanwhile")
            return guid

    def _others(self, source: Path, target: Path) -> None:
        """Directories that are no mailboxes, as a program's for filters; and the account's files if it has no INBOX."""
        if not (target / "cur").exists():
            copy_beside(source, target)
        for entry in os.scandir(source):
            if entry.is_symlink():
                self._totals.notes.append(f"{entry.path}: a symbolic link; what it leads to is not in the backup")
                continue
            known = entry.name in SUBDIRECTORIES or (target / entry.name).exists()
            if entry.is_dir() and not known and not _has_mail(Path(entry.path)):
                _tree(source / entry.name, target / entry.name)


def _folders(account: Path) -> list[str]:
    """Directories of an account that have mail, "" for its INBOX; whatever their names."""
    found = [""] if _has_mail(account) else []
    for entry in sorted(os.scandir(account), key=lambda entry: entry.name):
        if entry.name.startswith(".") and entry.is_dir(follow_symlinks=False) and _has_mail(Path(entry.path)):
            found.append(entry.name)
    return found


def _has_mail(folder: Path) -> bool:
    return all((folder / name).is_dir() for name in ("cur", "new"))


def _tree(source: Path, target: Path) -> None:
    target.mkdir(mode=0o700)
    copy_beside(source, target)
    for entry in os.scandir(source):
        if entry.is_dir(follow_symlinks=False):
            _tree(source / entry.name, target / entry.name)
    sync_directory(target)


def _by_id(account: Path) -> dict[str, Path]:
    """Mailbox id → directory, of an account in a backup."""
    if not account.is_dir():
        return {}
    found: dict[str, Path] = {}
    for directory in _folders(account):
        peeked = UidList(account / directory / UIDLIST).peek()
        found[peeked[0] if peeked else ""] = account / directory
    return found
