"""Mail out of a backup, into a store that may be served meanwhile. Nothing that is there is removed or
overwritten.

A mailbox in which there never was a message becomes the one of the backup, UIDs and UIDVALIDITY with it, so
that no client downloads anything again. Into any other one go the messages that it does not have, with new UIDs and
new names, in which `O=` says what they were made of, so that a second run finds them."""

from __future__ import annotations

import os
import re
import shutil
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from zlib import crc32

from mailstack.errors import Refused
from mailstack.store.backup.folder import Place, copy_open_file, messages
from mailstack.store.backup.places import BackupError
from mailstack.store.maildir import account as account_files
from mailstack.store.maildir import acl_file, attributes, keywords, layout, modseq, names
from mailstack.store.maildir.attributes import AttributeFile
from mailstack.store.maildir.layout import Folder, replace_file, sync_directory
from mailstack.store.maildir.locks import dotlock
from mailstack.store.maildir.maildirsize import FILE as BOOKS
from mailstack.store.maildir.uidlist import FILE as UIDLIST
from mailstack.store.maildir.uidlist import VALIDITY_FILE, Broken, UidList
from mailstack.store.maildir.uidlist_text import MAX_UID
from mailstack.store.owner import as_who_started_it

AT_ONCE = 2000
"""Messages that are put in their places under one lock."""
_ORIGIN = re.compile(r",O=([0-9a-f]{16})(?=,|$)")
STAGE = "restore."
"""Begins the name of a directory in tmp/ with copies that are to be placed."""
UIDS_A_SECOND, LEAST_GAP, GREATEST_GAP = 10, 1000, 1 << 24
"""UIDs that are left out after the backup's last, for each second of its age: the mailbox may have given them
after the backup was made, and a UID is never given twice."""


@dataclass(frozen=True, slots=True)
class Restored:
    """One mailbox. `added` messages were put into it, `there` were there already; `same_uids`: with the UIDs and
    the UIDVALIDITY of the backup. `notes` are for the one who asked."""

    mailbox: str
    added: int
    there: int
    same_uids: bool
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class Saved:
    """One mailbox in a backup."""

    folder: Folder
    messages: dict[str, Place]
    uidlist: UidList | None
    records: list[tuple[int, str]]
    keywords: list[str]

    def in_order(self) -> list[str]:
        """Its messages' base names by UID, those without one last."""
        recorded = [base for _, base in self.records if base in self.messages]
        known = set(recorded)
        return recorded + sorted(base for base in self.messages if base not in known)

    def open(self, place: Place) -> int:
        """Raises: OSError."""
        with as_who_started_it():
            return os.open(self.folder.path.joinpath(*place), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)


def restore(backup: Path, account: Path, *, mailbox: str | None, other_account: bool, age: float) -> Iterator[Restored]:
    """Put back the mailboxes of `backup`, an account's directory in a backup, or one of them; each is durable
    when it is told. `age` of the backup in seconds. Raises: BackupError, OSError, Refused."""
    with as_who_started_it():
        saved = [_read(folder) for folder in _wanted(backup, mailbox)]
    account.mkdir(mode=0o700, exist_ok=True)
    sync_directory(account.parent)
    fresh: list[str] = []
    for each in saved:
        place = layout.folder(account, each.folder.name)
        existed = place.exists
        _make(account, place)
        done = _Restoration(each, place, account, other_account, age).run()
        if done.same_uids or not existed:
            fresh.append(place.name)
        if done.added:
            (account / BOOKS).unlink(missing_ok=True)  # what the account uses is counted anew
        yield done
    _account_files(backup, account, fresh, whole=mailbox is None)


def _make(account: Path, place: Folder) -> None:
    """The mailbox and its superiors (RFC 9051 §6.3.4), as far as they are not there."""
    parts = place.name.split(layout.DELIMITER)
    for depth in range(1, len(parts) + 1):
        each = layout.folder(account, layout.DELIMITER.join(parts[:depth]))
        if not all((each.path / name).is_dir() for name in layout.SUBDIRECTORIES):
            layout.make(each)


def _wanted(backup: Path, mailbox: str | None) -> list[Folder]:
    folders = [folder for folder in layout.folders(backup) if folder.exists]
    if mailbox is None:
        return folders
    name = layout.normalise(mailbox)
    found = [folder for folder in folders if folder.name == name]
    if not found:
        known = ", ".join(folder.name for folder in folders)
        raise BackupError(f"the backup has no mailbox {mailbox}; it has {known}")
    return found


def _read(folder: Folder) -> Saved:
    uidlist = UidList(folder.path / UIDLIST)
    try:
        loaded = uidlist.load()
    except Broken as broken:
        raise BackupError(f"{uidlist.path}: {broken}") from broken
    records = loaded.records if loaded else []
    found = {_base_of(key): place for key, place in messages(folder.path).items()}
    return Saved(folder, found, uidlist if loaded else None, records, keywords.read(folder.path))


def _base_of(key: str) -> str:
    """The second of two files with one base name gets one of its own, the same each time."""
    if "/" not in key:
        return key
    base = names.split(key.partition("/")[2])[0]
    time, _, rest = base.partition(".")
    return f"{time}.twin{crc32(os.fsencode(key)):08x}.{rest}"


class _Restoration:
    """One mailbox on its way back."""

    def __init__(self, saved: Saved, place: Folder, account: Path, other_account: bool, age: float) -> None:
        self._saved = saved
        self._place = place
        self._account = account
        self._other_account = other_account
        self._age = age
        self._notes: list[str] = []
        self._unique = names.UniqueNames()
        self._uidlist = UidList(place.path / UIDLIST)
        self._origins: set[str] = set()
        self._stamps: tuple[int, ...] = ()

    def run(self) -> Restored:
        saved = self._saved
        if saved.uidlist is None and not saved.messages:
            return Restored(self._place.name, 0, 0, True)  # it was never looked at
        if saved.uidlist is not None and self._is_fresh():
            with self._staged(saved.in_order()) as stage, dotlock(self._place.path / UIDLIST):
                if self._is_fresh():  # still
                    self._fill(stage, saved.uidlist)
                    return Restored(self._place.name, len(saved.messages), 0, True, tuple(self._notes))
        self._look()
        missing = [base for base in saved.in_order() if _origin(base) not in self._origins]
        added = 0
        for start in range(0, len(missing), AT_ONCE):
            with self._staged(missing[start : start + AT_ONCE]) as stage, dotlock(self._place.path / UIDLIST):
                added += self._add(stage, missing[start : start + AT_ONCE])
        there = len(saved.messages) - len(missing)
        return Restored(self._place.name, added, there, False, tuple(self._notes))

    # --- copies, before the lock is taken

    @contextmanager
    def _staged(self, bases: Sequence[str]) -> Iterator[Path]:
        """A directory with these messages, numbered, synced. A directory in tmp/ is not swept."""
        tmp = self._place.path / "tmp"
        for left in tmp.glob(f"{STAGE}*"):
            if _is_dead(left.name):
                shutil.rmtree(left)
        stage = tmp / f"{STAGE}{os.getpid()}.{os.urandom(4).hex()}.{socket.gethostname()}"
        stage.mkdir(mode=0o700)
        try:
            for number, base in enumerate(bases):
                self._stage(self._saved.messages[base], stage / str(number))
            yield stage
        finally:
            shutil.rmtree(stage, ignore_errors=True)

    def _stage(self, place: Place, target: Path) -> None:
        source = self._saved.folder.path.joinpath(*place)
        with as_who_started_it():
            if os.lstat(source).st_uid == self._place.path.stat().st_uid:
                try:
                    os.link(source, target, follow_symlinks=False)
                    return
                except OSError:  # whatever it is: a copy will do, or say what is wrong
                    target.unlink(missing_ok=True)
        fd = self._saved.open(place)
        try:
            copy_open_file(fd, target)
        finally:
            os.close(fd)

    # --- under the lock

    def _is_fresh(self) -> bool:
        """No message was ever in it."""
        if messages(self._place.path):
            return False
        uidlist = UidList(self._place.path / UIDLIST)
        try:
            loaded = uidlist.load()
        except Broken:
            return False
        return loaded is None or (not loaded.records and uidlist.next_uid <= 1)

    def _fill(self, stage: Path, uidlist: UidList) -> None:
        saved, path = self._saved, self._place.path
        gap = min(max(LEAST_GAP, int(UIDS_A_SECOND * self._age)), GREATEST_GAP)
        uidlist.path = path / UIDLIST
        uidlist.next_uid = min(uidlist.next_uid + gap, MAX_UID)
        if self._other_account or uidlist.guid in _ids(self._account):
            uidlist.guid = os.urandom(16).hex()
        if saved.keywords:
            self._copy_beside(keywords.FILE)
        self._copy_beside(modseq.FILE)
        if not self._other_account:
            self._copy_beside(acl_file.FILE)
        uidlist.write([(uid, base) for uid, base in saved.records if base in saved.messages])
        for number, base in enumerate(saved.in_order()):
            (stage / str(number)).rename(path.joinpath(*saved.messages[base]))
        sync_directory(path / "cur")
        sync_directory(path / "new")

    def _copy_beside(self, name: str) -> None:
        with as_who_started_it():
            try:
                content = (self._saved.folder.path / name).read_bytes()
            except FileNotFoundError:
                return
        replace_file(self._place.path / name, content)

    def _add(self, stage: Path, bases: Sequence[str]) -> int:
        """Put them in their places; returns how many were not there meanwhile."""
        path, uidlist = self._place.path, self._uidlist
        try:
            if uidlist.load() is None:
                uidlist.create(self._account)
        except Broken as broken:
            raise BackupError(f"{uidlist.path}: {broken}; `mailstack store repair` first") from broken
        letters = self._keyword_letters(bases)
        if self._stamps != self._stat():
            self._look()
        wanted = [(number, base) for number, base in enumerate(bases) if _origin(base) not in self._origins]
        # The old names may be known with their old UIDs, to a session or in the uidlist.
        renamed = [_new_name(self._unique.new(), base) for _, base in wanted]
        for (number, base), name in zip(wanted, renamed, strict=True):
            letters_here = _translated(self._saved.messages[base][1], letters)
            (stage / str(number)).rename(path / "cur" / names.join(name, letters_here))
        sync_directory(path / "cur")
        self._stamps = self._stat()
        try:
            uidlist.append(renamed)
        except Broken as broken:
            raise BackupError(f"{uidlist.path}: {broken}") from broken
        return len(wanted)

    def _look(self) -> None:
        """What the messages that are there are made of."""
        self._stamps = self._stat()
        self._origins = {_origin(names.split(name)[0]) for _, name in messages(self._place.path).values()}

    def _stat(self) -> tuple[int, ...]:
        return tuple((self._place.path / name).stat().st_mtime_ns for name in ("cur", "new"))

    def _keyword_letters(self, bases: Sequence[str]) -> dict[str, str]:
        """Letter in the backup → letter here for those of these messages, "" for keywords that find no room."""
        used = {letter for base in bases for letter in names.split(self._saved.messages[base][1])[1]}
        known = keywords.read(self._place.path)
        found: dict[str, str] = {}
        for number, keyword in enumerate(self._saved.keywords):
            if chr(97 + number) not in used or not keyword:
                continue
            try:
                here = keywords.numbers(self._place.path, known, [keyword])[0]
            except Refused:
                here = -1
                note = f"no room for the keyword {keyword}: messages come without it"
                if note not in self._notes:
                    self._notes.append(note)
            found[chr(97 + number)] = chr(97 + here) if here >= 0 else ""
        return found


def _is_dead(stage: str) -> bool:
    """Whether a process of this host that was killed left it."""
    pid, _, rest = stage.removeprefix(STAGE).partition(".")
    if not pid.isdecimal() or rest.partition(".")[2] != socket.gethostname():
        return False
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        return False
    return False


def _origin(base: str) -> str:
    """What a message is made of: of the one of this name, or of the one that it says it is."""
    found = _ORIGIN.search(base)
    return found[1] if found else blake2b(os.fsencode(base), digest_size=8).hexdigest()


def _new_name(unique: str, base: str) -> str:
    sizes = names.sizes(base)
    octets = f",S={sizes.octets}" if sizes.octets >= 0 else ""
    return f"{unique},O={_origin(base)}{octets}" + (f",W={sizes.with_crlf}" if sizes.with_crlf >= 0 else "")


def _translated(name: str, letters: dict[str, str]) -> str:
    info = names.split(name)[1]
    return "".join(sorted({letters.get(letter, letter) for letter in info} - {""}))


def _ids(account: Path) -> set[str]:
    """The mailbox ids that are in use."""
    peeked = [UidList(folder.path / UIDLIST).peek() for folder in layout.folders(account)]
    return {found[0] for found in peeked if found}


def _account_files(backup: Path, account: Path, fresh: Sequence[str], *, whole: bool) -> None:
    """Subscriptions and special uses: what the backup has and the account lacks. Raises: OSError."""
    with as_who_started_it():
        subscribed, uses = account_files.subscriptions(backup), account_files.special_uses(backup)
        annotations = dict(AttributeFile(backup / attributes.FILE).read())
        validities = {path.name: path.read_bytes() for path in backup.glob(f"{VALIDITY_FILE}*")}
    if not any(account.glob(f"{VALIDITY_FILE}*")):
        for name, content in validities.items():
            replace_file(account / name, content)
    if annotations:  # by the ids of mailboxes, which are the same where nothing was left
        AttributeFile(account / attributes.FILE).change(lambda entries: entries.update({**annotations, **entries}))
    here = account_files.subscriptions(account)
    lacking = [name for name in subscribed if name not in here and (whole or name in fresh)]
    if lacking:
        account_files.write_subscriptions(account, [*here, *lacking])
    known = account_files.special_uses(account)
    given = {name: use for name, use in uses.items()
             if name not in known and use not in known.values() and (whole or name in fresh)}  # fmt: skip
    if given or (whole and not (account / account_files.SPECIAL_USE).exists()):
        account_files.write_special_uses(account, {**known, **given})
