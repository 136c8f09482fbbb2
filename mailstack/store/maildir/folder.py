"""One mailbox's files: where each message is, and what is known of the directory's state.

Used in the account's lane; only `locate` may be asked from any worker. Nothing here trusts its memory of a
name: who finds a file gone looks again, since any program may rename it at any time."""

from __future__ import annotations

import os
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from mailstack.ports import Log
from mailstack.quota import QuotaLimit
from mailstack.store.maildir import keywords, names
from mailstack.store.maildir.lately import Lately
from mailstack.store.maildir.layout import Folder
from mailstack.store.maildir.locks import Mark, dotlock
from mailstack.store.maildir.modseq import ModSequences
from mailstack.store.maildir.rows import Rows
from mailstack.store.maildir.uidlist import FILE as UIDLIST
from mailstack.store.maildir.uidlist import UidList

SETTLED = 0.05
"""Seconds after which a directory's time stamp tells every change: file systems count in ticks."""
LOOKS = 3
"""Readings of a directory before a message is taken for gone: a file that is renamed meanwhile may be missed."""
MAX_NAME = 255
"""Octets of a file name (Linux, NAME_MAX)."""

Stamps = tuple[int, int, int]
"""Modification times of new/, cur/ and dovecot-uidlist, in nanoseconds."""


class Expecting(Protocol):
    """A watch that is told what we do ourselves, so that it need not tell us. Thread-safe."""

    @property
    def listens(self) -> bool:
        """Whether it hears of anything now."""

    def expect(self, directory: str, name: str, present: bool) -> None: ...

    def unexpect(self, directory: str, name: str, present: bool) -> None: ...


class Booking(Protocol):
    """The books of the account's quota. Used in the lane."""

    @property
    def limit(self) -> QuotaLimit: ...

    def booked(self, octets: int, messages: int, *, enforce: bool = True) -> AbstractContextManager[None]: ...

    def add(self, octets: int, messages: int) -> None: ...


class FolderFiles:
    """The files of one mailbox. `ledger` is None when nobody counts what the account uses; `mark` is what locks are
    made of, None for who takes few."""

    def __init__(
        self, account: Path, folder: Folder, log: Log, ledger: Booking | None = None, mark: Mark | None = None
    ) -> None:
        self.account = account
        self.folder = folder
        self.path = folder.path
        self.log = log
        self.ledger = ledger
        self._mark = mark
        self._uidlist_path = f"{folder.path}/{UIDLIST}"
        self.uidlist = UidList(self.path / UIDLIST)
        self.modseqs = ModSequences(self.path)
        self.lately = Lately()
        self.keywords: list[str] = []
        self._keywords_stamp: tuple[int, ...] = ()
        self.rows = Rows()
        self.unseen: dict[str, int] = {}
        """Records of the uidlist whose message we have not seen yet: another process was quicker."""
        self.watch: Expecting | None = None
        self.stamps: Stamps = (0, 0, 0)
        self.read_only = False
        """Whether the last look could not write, so that new messages have no UIDs."""
        self.unsure = True
        """Whether the directory may have changed without another time stamp."""
        self.lost = True
        """Whether hints of a watch were lost, so that only reading both directories tells."""
        self.swept = False
        """Whether what crashes left was removed."""
        self.taken_in = True
        """Whether messages have left new/, by us or others, since it was last synced."""
        self._keywords_path = f"{self.path}/{keywords.FILE}"
        self.cur = f"{self.path}/cur/"
        """The directory as text that a name is put behind: a Path costs as much as a system call."""
        self.new = f"{self.path}/new/"
        self.tmp = f"{self.path}/tmp/"

    def lock(self) -> AbstractContextManager[None]:
        """The lock under which UIDs and keywords are given."""
        return dotlock(self._uidlist_path, self._mark)

    # --- where a message is

    def locate(self, uid: int) -> str | None:
        """The path of a message's file, as last seen; None if it is gone. From any worker."""
        name = self.rows.name_of(uid)
        return None if name is None else self.cur + name

    def find(self, uid: int) -> str | None:
        """Look for a message whose file was renamed since; its path. From any worker. Raises: OSError."""
        name = self._found(uid)
        return None if name is None else self.cur + name

    def found_again(self, uid: int) -> bool:
        """As `find`, and take note of the new name. Raises: OSError."""
        name = self._found(uid)
        if name is None:
            return False
        self.rows.rename(self.rows.row(uid), name)
        return True

    def _found(self, uid: int) -> str | None:
        name = self.rows.name_of(uid)
        if name is None:
            return None
        base = names.split(name)[0]
        for _ in range(LOOKS):
            with os.scandir(self.cur) as entries:
                for entry in entries:
                    if entry.name.startswith(base) and names.split(entry.name)[0] == base:
                        return entry.name
        return None

    def present(self, directory: str, name: str) -> bool:
        """Whether new/ or cur/ has a file of this name now."""
        return os.path.lexists((self.cur if directory == "cur" else self.new) + name)

    # --- what we do ourselves

    def reflag(self, row: int, flags: int) -> bool:
        """Give a message's file in cur/ the name for these flags; False if it has not the name that we know.
        Raises: OSError."""
        before, after = self.rows.names_with(row, flags)
        if not self._rename("cur", self.cur + before, before, after):
            return False
        self.rows.reflag(row, flags)
        return True

    def is_as_known(self, row: int) -> bool:
        """Whether a message's file in cur/ has the name that we know."""
        return os.path.lexists(self.cur + self.rows.names_with(row, self.rows.flags[row])[0])

    def take_in(self, name: str) -> str | None:
        """new/ → cur/; the name there, or None if somebody was quicker. A name that has no room for flags
        stays as it is. Raises: OSError."""
        after = name if names.INFO in name else names.join(name.partition(":")[0], "")
        if len(os.fsencode(after)) > MAX_NAME:
            after = name
        return after if self._rename("new", self.new + name, name, after) else None

    def _rename(self, directory: str, path: str, before: str, after: str) -> bool:
        if self.watch is not None:
            self.watch.expect(directory, before, False)
            self.watch.expect("cur", after, True)
        try:
            os.rename(path, self.cur + after)
        except OSError as error:
            self._not_done((directory, before, False), ("cur", after, True))
            if isinstance(error, FileNotFoundError):
                return False
            raise
        return True

    def _not_done(self, *expected: tuple[str, str, bool]) -> None:
        """What was expected did not happen, and what happened instead may not have been told."""
        if self.watch is not None:
            for each in expected:
                self.watch.unexpect(*each)
            self.lost = True

    def remove(self, name: str) -> bool:
        """Remove a file of cur/; False if there is none. Raises: OSError."""
        self.expect("cur", name, False)
        try:
            os.unlink(self.cur + name)
        except OSError as error:
            self._not_done(("cur", name, False))
            if isinstance(error, FileNotFoundError):
                return False
            raise
        return True

    def expect(self, directory: str, name: str, present: bool) -> None:
        """What comes is our own doing."""
        if self.watch is not None:
            self.watch.expect(directory, name, present)

    def touched(self) -> None:
        """We changed the directory ourselves. Its time stamp may hide what others did meanwhile."""
        self.unsure = True

    def read_keywords(self) -> None:
        """Dovecot writes a keyword's name after it has renamed messages. Raises: OSError."""
        self._keywords_stamp = self._stamp_of_keywords()
        self.keywords = keywords.read(self.path)

    def keywords_changed(self) -> bool:
        """Whether the names of keywords may be others than were read. One call of stat(2)."""
        return self._stamp_of_keywords() != self._keywords_stamp

    def _stamp_of_keywords(self) -> tuple[int, ...]:
        try:
            stat = os.stat(self._keywords_path)
        except OSError:
            return ()
        return stat.st_ino, stat.st_size, stat.st_mtime_ns

    # --- whether others did something

    def changed(self) -> bool:
        """Whether a sync may find something. Costs four calls of stat(2) and no more, so it may be
        asked in the reactor's thread."""
        if self.unsure:
            return True
        try:
            return self.stat() != self.stamps or self.keywords_changed()
        except OSError:
            return True  # sync will say what it is

    def uidlist_changed(self) -> bool:
        """As `changed`, when a watch tells of the messages: two calls of stat(2)."""
        try:
            stat = os.stat(self.uidlist.path)
        except OSError:
            return True
        return (stat.st_ino, stat.st_size, stat.st_mtime_ns) != self.uidlist.stamp or self.keywords_changed()

    def stat(self) -> Stamps:
        """Raises: OSError."""
        new, cur = os.stat(self.new), os.stat(self.cur)
        try:
            uidlist = os.stat(self.uidlist.path).st_mtime_ns
        except FileNotFoundError:
            uidlist = 0
        return new.st_mtime_ns, cur.st_mtime_ns, uidlist

    def note_stamps(self, before: Stamps, looked: float) -> None:
        """What was read between `before` and now is known. The stamps from before it count: what was changed
        meanwhile has another stamp, or one so young that it may hide a second change."""
        after = self.stat()
        self.stamps = after
        self.unsure = after[:2] != before[:2] or looked - max(before[:2]) / 1e9 < SETTLED


def now() -> float:
    """The clock that file systems stamp with."""
    return time.time()
