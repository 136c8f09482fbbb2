"""One mailbox: its directories, its messages' files, its uidlist and keywords."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISLNK, S_ISREG

from mailstack.errors import Refused
from mailstack.ports import MAX_KEYWORDS
from mailstack.store.backup.folder import at_rest
from mailstack.store.backup.restore import STAGE
from mailstack.store.check import records
from mailstack.store.check.findings import Finding, Kind
from mailstack.store.check.records import Records, some
from mailstack.store.maildir import keywords, names
from mailstack.store.maildir.layout import FOLDER_MARK, SUBDIRECTORIES, Folder
from mailstack.store.maildir.locks import stale
from mailstack.store.maildir.sweep import DELETED, TMP_AGE
from mailstack.store.maildir.uidlist import FILE as UIDLIST
from mailstack.store.measure import read_sizes

PATIENCE = 0.2
"""Seconds in which a message that was put into cur/ gets its UID from who put it there."""
REPORT_EVERY = 200

Tell = Callable[[int], None]
"""Told how many messages were looked at."""


@dataclass(slots=True)
class Scan:
    """What lies in a mailbox: base name → (directory, name) of each file of it; other things in cur/ and new/."""

    files: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    unlisted: list[tuple[str, str]] = field(default_factory=list)
    """Directories that cannot be read, and why."""

    def bases(self, directory: str) -> set[str]:
        return {base for base, places in self.files.items() if any(where == directory for where, _ in places)}


def scan(folder: Path) -> Scan:
    """Both directories. A directory that is not there is empty."""
    found = Scan()
    for directory in ("new", "cur"):
        try:
            listing = os.listdir(folder / directory)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            found.unlisted.append((directory, error.strerror or "unreadable"))
            continue
        for name in listing:
            base = name.partition(":")[0]
            if base and not base.startswith("."):
                found.files.setdefault(base, []).append((directory, name))
    return found


@contextmanager
def _at_rest(folder: Path) -> Iterator[None]:
    """Under the lock, if it is to be had. It is not taken where nobody holds it any more, or where we may not."""
    lock = folder / f"{UIDLIST}.lock"
    try:
        left = stale(lock, folder / UIDLIST)
    except OSError:
        left = lock.exists()
    with ExitStack() as stack:
        if not left and os.access(folder, os.W_OK, effective_ids=True):
            with suppress(Refused):  # held for longer than anybody should: then what is found may be on its way
                stack.enter_context(at_rest(folder))
        yield


class FolderCheck:
    """A look at one mailbox. `owner` is the user that its files should be readable for."""

    def __init__(self, account: str, place: Folder, *, deep: bool, tell: Tell) -> None:
        self._account = account
        self._place = place
        self._path = place.path
        self._deep = deep
        self._tell = tell
        self._user = os.geteuid()
        self.validity = 0
        self.guid = ""
        """Of its uidlist, once it has run."""

    def run(self) -> Iterator[Finding]:
        """Raises: OSError."""
        yield from self._directories()
        yield from self._leftovers()
        with _at_rest(self._path):
            found, listed = scan(self._path), records.read(self._path / UIDLIST)
        for directory, why in found.unlisted:
            yield self._finding(Kind.UNREADABLE, f"{directory}/: {why}", directory)
        yield from self._uidlist(found, listed)
        yield from self._keywords(found)
        yield from self._files(found)

    def _finding(self, kind: Kind, what: str, *path: str) -> Finding:
        return Finding(self._account, self._place.name, kind, what, self._path.joinpath(*path))

    # --- what is beside the messages

    def _directories(self) -> Iterator[Finding]:
        for name in SUBDIRECTORIES:
            if not (self._path / name).is_dir():
                if os.path.lexists(self._path / name):
                    yield self._finding(Kind.NO_MESSAGE, f"{name} is no directory", name)
                else:
                    yield self._finding(Kind.DIRECTORY_MISSING, f"{name}/ is missing", name)
            elif (self._path / name).is_symlink():
                yield self._finding(Kind.LINK_OUT, f"{name} is a symbolic link", name)

    def _leftovers(self) -> Iterator[Finding]:
        now = time.time()
        for entry in _entries(self._path):
            if entry.name.endswith(".lock") and entry.is_file(follow_symlinks=False):
                if _is_stale(Path(entry.path)):
                    yield self._finding(Kind.LOCK_LEFT, f"{entry.name} is nobody's", entry.name)
            elif entry.name.endswith(".tmp") and _old(entry, now):
                yield self._finding(Kind.FILE_LEFT, f"{entry.name} is old", entry.name)
        for entry in _entries(self._path / "tmp"):
            if not _old(entry, now):
                continue
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith((STAGE, DELETED)):
                yield self._finding(Kind.TMP_DIRECTORY, f"tmp/{entry.name} is old", "tmp", entry.name)
            else:
                yield self._finding(Kind.TMP_OLD, f"tmp/{entry.name} is old", "tmp", entry.name)

    # --- UIDs

    def _uidlist(self, found: Scan, listed: Records | None) -> Iterator[Finding]:
        in_cur = found.bases("cur")
        if listed is None:
            if in_cur:
                yield self._finding(Kind.UIDLIST_MISSING, f"there is none, and {len(in_cur)} messages", UIDLIST)
            return
        self.validity, self.guid = listed.validity, listed.guid
        for kind, what in listed.troubles:
            yield self._finding(kind, what, UIDLIST)
        without = self._still_without(in_cur - listed.uids.keys()) if listed.validity else set()
        if without:
            first = min(without)
            yield self._finding(Kind.UID_NONE, f"{len(without)} messages without a UID, the first {first}", UIDLIST)
        gone = [uid for base, uid in listed.uids.items() if base not in found.files]
        if gone:
            yield self._finding(Kind.RECORD_GONE, f"{len(gone)} records without a message: UID {some(gone)}", UIDLIST)

    def _still_without(self, bases: set[str]) -> set[str]:
        """Those that no session is about to give a UID."""
        if not bases:
            return bases
        time.sleep(PATIENCE)
        listed = records.read(self._path / UIDLIST)
        return (bases - listed.uids.keys() if listed else bases) & scan(self._path).bases("cur")

    def _keywords(self, found: Scan) -> Iterator[Finding]:
        used = {
            letter
            for places in found.files.values()
            for directory, name in places
            if directory == "cur"
            for letter in names.split(name)[1]
            if "a" <= letter <= "z"
        }
        try:
            known = keywords.read(self._path)
            lines = (self._path / keywords.FILE).read_text("utf-8", "replace").splitlines()
        except FileNotFoundError:
            known, lines = [], []
        except OSError as error:
            yield self._finding(Kind.UNREADABLE, f"{keywords.FILE}: {error.strerror}", keywords.FILE)
            return
        for letter in sorted(used):
            number = ord(letter) - 97
            if number >= len(known) or not known[number]:
                yield self._finding(Kind.KEYWORD_UNKNOWN, f"the letter {letter} in names is no keyword", keywords.FILE)
        for line in lines:
            number_text, _, keyword = line.partition(" ")
            if not (number_text.isdecimal() and int(number_text) < MAX_KEYWORDS and keyword):
                yield self._finding(Kind.KEYWORD_LINE, f"{line!r} names no keyword", keywords.FILE)

    # --- files

    def _files(self, found: Scan) -> Iterator[Finding]:
        unsized = count = 0
        for base, places in found.files.items():
            there = [place for place in places if os.path.lexists(self._path.joinpath(*place))]
            if len(there) > 1:
                what = " and ".join("/".join(place) for place in there)
                yield self._finding(Kind.TWINS, f"{what} have one base name", *there[0])
            for place in there:
                yield from self._file(place)
            unsized += names.sizes(base).octets < 0
            count += 1
            if count % REPORT_EVERY == 0:
                self._tell(count)
        self._tell(count)
        if unsized:
            yield self._finding(Kind.SIZE_NONE, f"{unsized} names without S=")
        mark = self._path / FOLDER_MARK
        if self._place.path.name.startswith(".") and not mark.exists():
            yield self._finding(Kind.DIRECTORY_MISSING, f"the file {FOLDER_MARK} is missing", FOLDER_MARK)

    def _file(self, place: tuple[str, str]) -> Iterator[Finding]:
        path, shown = self._path.joinpath(*place), "/".join(place)
        try:
            stat = os.lstat(path)
            if S_ISLNK(stat.st_mode):
                yield self._finding(Kind.LINK_OUT, f"{shown} is a symbolic link", *place)
            elif not S_ISREG(stat.st_mode):
                yield self._finding(Kind.NO_MESSAGE, f"{shown} is no file", *place)
            elif not self._readable(path, stat):
                yield self._finding(
                    Kind.UNREADABLE, f"{shown}: mode {stat.st_mode & 0o777:o}, owner {stat.st_uid}", *place
                )
            else:
                yield from self._sizes(place, stat.st_size)
        except FileNotFoundError:
            return  # renamed or removed meanwhile
        except OSError as error:
            yield self._finding(Kind.UNREADABLE, f"{shown}: {error.strerror}", *place)

    def _readable(self, path: Path, stat: os.stat_result) -> bool:
        if self._user == 0 or (stat.st_uid == self._user and stat.st_mode & 0o400):
            return True
        return os.access(path, os.R_OK, effective_ids=True, follow_symlinks=False)

    def _sizes(self, place: tuple[str, str], octets: int) -> Iterator[Finding]:
        said, shown = names.sizes(names.split(place[1])[0]), "/".join(place)
        if said.octets not in (-1, octets):
            yield self._finding(Kind.SIZE_WRONG, f"{shown}: S={said.octets}, but it has {octets} octets", *place)
        elif self._deep:
            with_crlf = read_sizes(self._path.joinpath(*place)).with_crlf
            if said.with_crlf not in (-1, with_crlf):
                what = f"{shown}: W={said.with_crlf}, but it has {with_crlf} octets with CRLF"
                yield self._finding(Kind.SIZE_WRONG, what, *place)


def _is_stale(lock: Path) -> bool:
    try:
        return stale(lock, lock.with_suffix(""))
    except OSError:
        return False


def _old(entry: os.DirEntry[str], now: float) -> bool:
    try:
        stat = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return False
    return now - max(stat.st_mtime, stat.st_ctime) > TMP_AGE


def _entries(directory: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return []  # what keeps it from being read is told elsewhere
