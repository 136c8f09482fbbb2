"""`dovecot-uidlist`, version 3: which UID each message has.

    3 V1790000000 N42 G5a1b…        UIDVALIDITY, next UID, mailbox GUID
    41 W1234 :1790000000.M1P2.host,S=1200,W=1234

Lines are only appended, under the dotlock of the file; now and then the file is written anew. A
message is known by its name up to the first ":". Source: Dovecot's maildir format."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mailstack.store.maildir.layout import replace_file, sync_directory
from mailstack.store.maildir.uidlist_text import (
    MAX_UID,
    SHORTEST,
    Header,
    lines_of,
    made,
    read_header,
    read_records,
)
from mailstack.store.spool import write_all

FILE = "dovecot-uidlist"
VALIDITY_FILE = "dovecot-uidvalidity"
MAX_HEADER = 4096
"""Octets of the first line; Dovecot writes some 60."""
_TAIL = 64
"""Octets before the place that was read up to, by which it is known again."""

WRITTEN_BACK = 3600.0
"""Seconds after which the system has written a changed file to disk by itself; Linux takes half a minute."""

Stamp = tuple[int, int, int]
"""inode, size, modification time: what tells one state of the file from another."""


class Broken(Exception):
    """The file is not a uidlist that we can read; the message says where."""


@dataclass(slots=True)
class Loaded:
    """What `load` found. `anew`: the file was read from its beginning, so `records` are all there are;
    otherwise they are those that were appended since. Each is a UID and a base name."""

    anew: bool = False
    records: list[tuple[int, str]] = field(default_factory=list)


@dataclass(slots=True)
class UidList:
    """The file's header as last read, and how far the file was read. Who asks keeps the records, since a
    million of them are to be kept in one place only. `extensions` has what other programs noted in a
    record. Not thread-safe: used in the account's lane."""

    path: Path
    validity: int = 0
    next_uid: int = 1
    guid: str = ""
    extensions: dict[int, str] = field(default_factory=dict)
    header: list[str] = field(default_factory=list)
    records: int = 0
    stamp: Stamp = (0, 0, 0)
    read: int = 0
    """Octets of the file that are known."""
    damage: str = ""
    """What is wrong with the file, though it can be read; whoever next gives UIDs writes it anew."""
    doubled: set[int] = field(default_factory=set)
    """UIDs that two messages had in the file; neither has it now."""
    _version: int = 3
    _tail: bytes = b""
    _name: str = ""
    """`path` as text, which the system is asked for more quickly."""
    _partly: bool = False
    """Whether the words of others in the file are not known, as after `resume`."""

    def peek(self) -> tuple[str, int] | None:
        """GUID and UIDVALIDITY in the file's header, without taking in anything; None if there is no
        header that we can read. Raises: OSError."""
        try:
            with self.path.open("rb") as file:
                found = read_header(file.readline(MAX_HEADER))
        except FileNotFoundError:
            return None
        return (found.guid, found.validity) if found is not None and found.guid else None

    def resume(self, guid: str, validity: int, state: Sequence[int]) -> None:
        """Go on from what `state` gave once, if the file has only been appended to since. Raises: OSError."""
        inode, size, modified, read, records, next_uid = state
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            return
        self.guid, self.validity = guid, validity
        if stat.st_ino == inode and stat.st_size >= size and (stat.st_size > size or stat.st_mtime_ns == modified):
            self.stamp, self.read, self.records, self.next_uid = (inode, size, modified), read, records, next_uid
            self._partly, self._tail = True, b""

    def pretend(self, now: float) -> None:
        """There is no file, and none can be written: a UIDVALIDITY and an id for as long as it is so."""
        self.validity, self.next_uid, self.guid = int(now) & MAX_UID, 1, os.urandom(16).hex()

    def state(self) -> tuple[int, ...]:
        """How far the file is known."""
        return (*self.stamp, self.read, self.records, self.next_uid)

    def load(self) -> Loaded | None:
        """Take in what others did to the file; None if there is none. Raises: Broken, OSError."""
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        with open(fd, "rb") as file:
            stat = os.fstat(fd)
            stamp = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
            if stamp == self.stamp:
                return Loaded()
            if stamp[0] == self.stamp[0] and stat.st_size > self.read and self._known_again(fd):
                file.seek(self.read)
                following = self.next_uid
                loaded = Loaded(False, self._records(file.read()))
                if loaded.records and loaded.records[0][0] < following:  # given by two that both had the lock
                    file.seek(0)
                    loaded = Loaded(True, self._whole(file.read()))
            else:
                loaded = Loaded(True, self._whole(file.read()))
            if (loaded.records or loaded.anew) and time.time() - stat.st_mtime < WRITTEN_BACK:
                self._sync_read(fd, anew=loaded.anew)
            self.stamp = stamp
            self._remember(fd)
        return loaded

    def _sync_read(self, fd: int, *, anew: bool) -> None:
        """Who wrote what we read, and tell, may have been killed before it was synced. Raises: OSError."""
        try:
            os.fsync(fd)
            if anew:
                sync_directory(self.path.parent)
        except OSError as error:
            if error.errno not in (errno.EROFS, errno.EINVAL):  # nobody writes there
                raise

    def is_as_known(self) -> bool:
        """Whether nobody has done anything to the file since it was read or written here, and all of it is understood.
        One call of stat(2). Raises: OSError."""
        if self.damage or self.stamp[0] == 0:
            return False
        try:
            stat = os.stat(self._name or self._named())
        except FileNotFoundError:
            return False
        return (stat.st_ino, stat.st_size, stat.st_mtime_ns) == self.stamp

    def append(self, bases: Sequence[str]) -> list[int]:
        """Give the next UIDs to these messages, durable on return. The caller holds the lock and has
        loaded the file under it. Raises: OSError, Broken when the UIDs are used up."""
        if not bases:
            return []
        if self.damage:
            self._mend()
        first, after = self.next_uid, self.next_uid + len(bases)
        if after > MAX_UID:
            raise Broken("no UID is left")
        lines = lines_of(first, bases)
        fd = os.open(self._name or self._named(), os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            if self.stamp[1] > self.read:
                os.ftruncate(fd, self.read)  # a record that a writer did not live to finish
            write_all(fd, lines)
            os.fsync(fd)
            self._know(os.fstat(fd))
            self._tail = (self._tail + lines)[-_TAIL:]
        finally:
            os.close(fd)
        self.next_uid = after
        self.records += len(bases)
        return list(range(first, after))

    def create(self, account: Path, guid: str = "") -> None:
        """Begin anew, without records, with a UIDVALIDITY above all earlier ones of the account. The
        caller holds the lock. Raises: OSError."""
        self.validity = next_validity(account, self.validity)
        self.next_uid, self.guid = 1, guid or os.urandom(16).hex()
        self.extensions, self.header = {}, []
        self.write(())

    def write(self, records: Iterable[tuple[int, str]]) -> None:
        """Write the file anew with these records, UIDs ascending; durable on return. The caller holds
        the lock. Raises: OSError."""
        if self._partly:
            self._learn_words()
        kept = list(records)
        if self.extensions:
            uids = {uid for uid, _ in kept}
            self.extensions = {uid: text for uid, text in self.extensions.items() if uid in uids}
        self._replace(kept)

    def _learn_words(self) -> None:
        """Take in what others noted, of a file of which only the end was read. Raises: OSError."""
        content = self.path.read_bytes()
        header = read_header(content)
        if header is not None:
            self.header = header.others
            self.extensions = read_records(content[header.octets :], header.version).extensions

    def _replace(self, records: list[tuple[int, str]]) -> None:
        header = Header(3, self.validity, self.next_uid, self.guid, self.header, 0)
        content = made(header, records, self.extensions)
        replace_file(self.path, content)
        self.records, self.damage, self.doubled, self._version, self._partly = len(records), "", set(), 3, False
        self._tail = content[-_TAIL:]
        self._know(self.path.stat())

    def _mend(self) -> None:
        """Write anew what can be read. The caller holds the lock. Raises: OSError, Broken."""
        following = self.next_uid
        content = self.path.read_bytes()
        records = self._whole(content)
        self.next_uid = max(self.next_uid, following)
        self._replace(records)

    def _named(self) -> str:
        self._name = str(self.path)
        return self._name

    def _know(self, stat: os.stat_result) -> None:
        self.stamp = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        self.read = stat.st_size

    def _remember(self, fd: int) -> None:
        start = max(0, self.read - _TAIL)
        self._tail = os.pread(fd, self.read - start, start)

    def _known_again(self, fd: int) -> bool:
        """Whether what was read is still there: the number of a removed file is soon given to another."""
        return os.pread(fd, len(self._tail), self.read - len(self._tail)) == self._tail

    def _whole(self, content: bytes) -> list[tuple[int, str]]:
        found = read_header(content)
        self.damage, self.doubled, self._partly = "", set(), False
        if found is None:
            # Who knows the header from before may go on with it: the UIDs mean what they meant.
            if not self.validity:
                raise Broken("the header is that of no version that is known")
            self.damage = "the header cannot be read"
            found = Header(3, self.validity, self.next_uid, self.guid, self.header, 0)
        elif found.version != 3:
            self.damage = f"version {found.version}"
        elif not found.guid:
            self.damage = "no mailbox id"
        if found.validity != self.validity:
            self.next_uid = 1
        self.validity, self.next_uid = found.validity, max(found.next_uid, self.next_uid)
        self.guid = found.guid or self.guid or _stand_in(self.path, found.validity)
        self.header, self._version = found.others, found.version
        self.extensions, self.records = {}, 0
        self.read = found.octets
        return self._records(content[found.octets :])

    def _records(self, content: bytes) -> list[tuple[int, str]]:
        found = read_records(content, self._version)
        self.doubled |= found.doubled
        if found.lost or found.unordered:
            self.damage = f"{found.lost} octets from {self.read} on are no records"
        given = [uid for uid in found.doubled if uid < MAX_UID] + [uid for uid, _ in found.records[-1:]]
        self.next_uid = max(self.next_uid, max(given, default=0) + 1)
        # UIDs are given in order, so so many at most were in what cannot be read; they may have been told.
        self.next_uid = min(self.next_uid + found.lost_at_the_end // SHORTEST, MAX_UID)
        self.extensions.update(found.extensions)
        self.records += len(found.records)
        self.read += found.end
        return found.records


def _stand_in(path: Path, validity: int) -> str:
    """An id for a mailbox without one, the same each time, until the file is written."""
    return hashlib.sha256(f"{validity} {path.parent.stat().st_ino}".encode()).hexdigest()[:32]


def next_validity(account: Path, above: int = 0) -> int:
    """A UIDVALIDITY that no mailbox of the account has had: the time, or one more than the last. The
    last one is in the name `dovecot-uidvalidity.<hex>`, so that a rename takes the next atomically.
    Raises: OSError."""
    while True:
        named = sorted(path for path in account.glob(f"{VALIDITY_FILE}.????????") if _hex(path.name))
        last = _hex(named[-1].name) if named else _last_noted(account)
        value = max(int(time.time()), last + 1, above + 1)
        if value > MAX_UID:
            raise Broken("no UIDVALIDITY is left")
        target = account / f"{VALIDITY_FILE}.{value:08x}"
        try:
            if named:
                named[-1].rename(target)
            else:
                os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        except (FileNotFoundError, FileExistsError):
            continue  # another process took it
        replace_file(account / VALIDITY_FILE, f"{value:08x}".encode())
        sync_directory(account)
        return value


def _last_noted(account: Path) -> int:
    try:
        return _hex("." + (account / VALIDITY_FILE).read_text("ascii", "replace").strip())
    except FileNotFoundError:
        return 0


def _hex(name: str) -> int:
    digits = name.rpartition(".")[2]
    return int(digits, 16) if re.fullmatch("[0-9a-fA-F]{8}", digits) else 0
