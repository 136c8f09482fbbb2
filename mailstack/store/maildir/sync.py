"""One mailbox's files as last seen, and the differences since.

A `FolderFiles` is used in the account's lane only. It never trusts its memory of a name: who finds a
file gone looks again, since any program may rename it at any time."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from mailstack.ports import Log
from mailstack.store.maildir import keywords, names
from mailstack.store.maildir.layout import Folder
from mailstack.store.maildir.locks import dotlock
from mailstack.store.maildir.uidlist import FILE as UIDLIST
from mailstack.store.maildir.uidlist import Broken, UidList

SETTLED = 0.05
"""Seconds after which a directory's time stamp tells every change: file systems count in ticks."""
COMPACT_AFTER = 100
"""Records of vanished messages in the uidlist that are worth writing it anew."""
TMP_AGE = 36 * 3600
"""Seconds after which a file in tmp/ is rubbish (Bernstein, "Using maildir format")."""


@dataclass(frozen=True, slots=True)
class Found:
    """A message that was not known before. `size` is -1 when the name does not say it."""

    uid: int
    flags: int
    size: int
    recent: bool


@dataclass(slots=True)
class Differences:
    """What changed since the last look. `reset`: the UIDs mean other messages now."""

    added: list[Found] = field(default_factory=list)
    changed: list[tuple[int, int]] = field(default_factory=list)
    vanished: list[int] = field(default_factory=list)
    reset: bool = False
    gone: bool = False

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.vanished or self.reset or self.gone)


class FolderFiles:
    """The files of one mailbox."""

    def __init__(self, account: Path, folder: Folder, log: Log) -> None:
        self.account = account
        self.folder = folder
        self.path = folder.path
        self.log = log
        self.uidlist = UidList(self.path / UIDLIST)
        self.keywords: list[str] = []
        self.names: dict[int, str] = {}
        self._bases: dict[str, int] = {}
        self._stamps: tuple[int, int, int] = (0, 0, 0)
        self._looked = 0.0
        self._unsure = True

    def lock(self) -> AbstractContextManager[None]:
        """The lock under which UIDs and keywords are given."""
        return dotlock(self.path / UIDLIST)

    def sync(self, *, force: bool = False) -> Differences:
        """Look for what others did; move new mail to cur/ and give it UIDs.
        Raises: OSError, Refused(STORE_UNAVAILABLE)."""
        try:
            stamps = self._stat()
        except FileNotFoundError:
            return Differences(gone=True)
        if stamps == self._stamps and not self._unsure and not force:
            return Differences()
        differences = Differences()
        self._looked = time.time()
        self.keywords = keywords.read(self.path)
        fresh = self._scan("new")
        files = self._scan("cur")
        self._load_uidlist(differences)
        self._compare(files, fresh, differences)
        self._add(files, fresh, differences)
        self._note_stamps(stamps)
        self._compact()
        return differences

    def changed(self) -> bool:
        """Whether a sync may find something. Costs three calls of stat(2) and no more, so it may be
        asked in the reactor's thread."""
        if self._unsure:
            return True
        try:
            return self._stat() != self._stamps
        except OSError:
            return True  # sync will say what it is

    def path_of(self, uid: int) -> Path | None:
        """Where a message is now; None if it is gone. Raises: OSError."""
        name = self.names.get(uid)
        if name is None:
            return None
        path = self.path / "cur" / name
        return path if path.exists() else self.find(uid)

    def find(self, uid: int) -> Path | None:
        """Look for a message whose file was renamed since. Raises: OSError."""
        name = self.names.get(uid)
        if name is None:
            return None
        base = names.split(name)[0]
        for entry in os.scandir(self.path / "cur"):
            if entry.name.startswith(base) and names.split(entry.name)[0] == base:
                self.names[uid] = entry.name
                return Path(entry.path)
        return None

    def touched(self) -> None:
        """We changed the directory ourselves: look at it again at the next sync, to be sure."""
        self._unsure = True

    def know(self, uid: int, name: str) -> None:
        """A message of ours that has this name now."""
        self.names[uid] = name
        self._bases[names.split(name)[0]] = uid

    def forget(self, uid: int) -> None:
        """A message that we removed."""
        name = self.names.pop(uid, None)
        if name is not None:
            self._bases.pop(names.split(name)[0], None)

    # --- the steps of sync

    def _stat(self) -> tuple[int, int, int]:
        new, cur = (self.path / "new").stat(), (self.path / "cur").stat()
        try:
            uidlist = (self.path / UIDLIST).stat().st_mtime_ns
        except FileNotFoundError:
            uidlist = 0
        return new.st_mtime_ns, cur.st_mtime_ns, uidlist

    def _note_stamps(self, before: tuple[int, int, int]) -> None:
        # The stamps from before the scan: what was changed during it has another stamp, or one so
        # young that it may hide a second change.
        after = self._stat()
        self._stamps = after
        self._unsure = after != before or self._looked - max(before) / 1e9 < SETTLED

    def _scan(self, directory: str) -> dict[str, str]:
        """Base name → file name of the messages in new/ or cur/."""
        found: dict[str, str] = {}
        for entry in os.scandir(self.path / directory):
            name = entry.name
            if name.startswith("."):
                continue
            base = name.partition(":")[0]
            other = found.get(base)
            if other is not None:
                name = self._twin(directory, other, name)
            found[base] = name
        return found

    def _twin(self, directory: str, one: str, two: str) -> str:
        """Two names with one base: usually one file that was renamed during the scan."""
        here = [name for name in (one, two) if (self.path / directory / name).exists()]
        if len(here) == 2:
            self.log.warning("two files of one name; the second is kept aside", folder=str(self.path), name=two)
            aside = f"{names.UniqueNames().new()}"
            (self.path / directory / two).rename(self.path / "new" / aside)
            return one
        return here[0] if here else two

    def _load_uidlist(self, differences: Differences) -> None:
        validity = self.uidlist.validity
        try:
            if not self.uidlist.load():
                with self.lock():
                    if not self.uidlist.load():
                        self.uidlist.create(self.account)
        except Broken as broken:
            self.log.warning("uidlist broken; all messages get new UIDs", folder=str(self.path), reason=str(broken))
            with self.lock():
                self.uidlist.create(self.account)
        if validity and validity != self.uidlist.validity:
            differences.reset = True
            self.names.clear()
            self._bases.clear()

    def _compare(self, files: dict[str, str], fresh: dict[str, str], differences: Differences) -> None:
        missing = [base for base in self._bases if base not in files]
        if missing:
            # A file that is renamed while its directory is read may be missed once.
            again = self._scan("cur")
            files.update((base, again[base]) for base in missing if base in again)
        for base in missing:
            if base not in files:
                uid = self._bases[base]
                self.forget(uid)
                if base not in fresh:
                    self.uidlist.uids.pop(base, None)
                differences.vanished.append(uid)
        for base, name in files.items():
            known = self._bases.get(base)
            if known is not None and self.names[known] != name:
                self.names[known] = name
                differences.changed.append((known, names.bits(names.split(name)[1])))

    def _add(self, files: dict[str, str], fresh: dict[str, str], differences: Differences) -> None:
        unknown = [base for base in files if base not in self._bases]
        coming = [base for base in fresh if base not in files]
        if not unknown and not coming:
            return
        strangers = [base for base in unknown + coming if base not in self.uidlist.uids]
        if strangers:
            self._give_uids(strangers)
        for base in coming:
            name = self._take_in(fresh[base])
            if name is not None:
                files[base] = name
        recent = set(coming)
        for base in unknown + coming:
            uid = self.uidlist.uids.get(base)
            if uid is None or base not in files:
                continue
            self.know(uid, files[base])
            flags = names.bits(names.split(files[base])[1])
            differences.added.append(Found(uid, flags, names.sizes(base).with_crlf, base in recent))
        differences.added.sort(key=lambda found: found.uid)

    def _give_uids(self, bases: Iterable[str]) -> None:
        with self.lock():
            self.uidlist.load()
            wanted = [base for base in bases if base not in self.uidlist.uids]
            self.uidlist.append(sorted(wanted, key=_arrival))

    def _take_in(self, name: str) -> str | None:
        """new/ → cur/; None if somebody was quicker."""
        target = name if ":2," in name else names.join(name.partition(":")[0], "")
        try:
            os.rename(self.path / "new" / name, self.path / "cur" / target)
        except FileNotFoundError:
            return None
        return target

    def _compact(self) -> None:
        surplus = self.uidlist.records - len(self.names)
        if surplus < COMPACT_AFTER or surplus < len(self.names) // 4:
            return
        with self.lock():
            self.uidlist.load()
            known = set(self.names)
            newest = max(known, default=0)
            self.uidlist.write(uid for uid in self.uidlist.uids.values() if uid in known or uid > newest)


def _arrival(base: str) -> tuple[int, int, str]:
    """Orders new messages by the time in their names."""
    second, _, rest = base.partition(".")
    microsecond = rest[1:7] if rest[:1] == "M" else ""
    return (
        int(second) if second.isdecimal() and len(second) < 16 else 0,
        int(microsecond) if microsecond.isdecimal() else 0,
        base,
    )


def sweep_tmp(folder: Path, now: float) -> int:
    """Remove what deliveries that did not end left in tmp/; returns how many. Raises: OSError."""
    removed = 0
    for entry in os.scandir(folder / "tmp"):
        try:
            if entry.is_file(follow_symlinks=False) and now - entry.stat(follow_symlinks=False).st_mtime > TMP_AGE:
                os.unlink(entry.path)
                removed += 1
        except FileNotFoundError:
            continue
    return removed
