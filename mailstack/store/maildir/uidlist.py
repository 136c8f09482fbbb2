"""`dovecot-uidlist`, version 3: which UID each message has.

    3 V1790000000 N42 G5a1b…        UIDVALIDITY, next UID, mailbox GUID
    41 W1234 :1790000000.M1P2.host,S=1200,W=1234

Lines are only appended, under the dotlock of the file; now and then the file is written anew. A
message is known by its name up to the first ":". Source: Dovecot's maildir format."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mailstack.store.maildir.layout import replace_file, sync_directory
from mailstack.store.spool import write_all

FILE = "dovecot-uidlist"
VALIDITY_FILE = "dovecot-uidvalidity"
MAX_UID = 0xFFFFFFFF
"""RFC 9051 §2.3.1.1: a UID is a 32-bit value."""
MAX_HEADER = 4096
"""Octets of the first line; Dovecot writes some 60."""
_HEADER = re.compile(rb"3((?: [A-Za-z][^ \n]*)*)\n")
_RECORD = re.compile(rb"^(\d{1,10})((?: [A-Z][^ \n:]*)*) :([^\n]+)\n", re.MULTILINE)

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

    def peek(self) -> tuple[str, int] | None:
        """GUID and UIDVALIDITY in the file's header, without taking in anything; None if there is no
        header that we can read. Raises: OSError."""
        try:
            with self.path.open("rb") as file:
                found = _HEADER.match(file.readline(MAX_HEADER))
        except FileNotFoundError:
            return None
        words = {word[:1]: word[1:] for word in found[1].decode("ascii", "replace").split()} if found else {}
        return (words["G"], int(words["V"])) if "G" in words and words.get("V", "").isdecimal() else None

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
            if stamp[0] == self.stamp[0] and stat.st_size > self.read:
                file.seek(self.read)
                loaded = Loaded(False, self._records(file.read()))
            else:
                loaded = Loaded(True, self._whole(file.read()))
            self.stamp = stamp
        return loaded

    def append(self, bases: Sequence[str]) -> list[int]:
        """Give the next UIDs to these messages, durable on return. The caller holds the lock and has
        loaded the file under it. Raises: OSError, Broken when the UIDs are used up."""
        if not bases:
            return []
        first, after = self.next_uid, self.next_uid + len(bases)
        if after > MAX_UID:
            raise Broken("no UID is left")
        lines = "".join([f"{uid} :{base}\n" for uid, base in enumerate(bases, first)])
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            if os.fstat(fd).st_size > self.read:
                os.ftruncate(fd, self.read)  # a record that a writer did not live to finish
            write_all(fd, os.fsencode(lines))
            os.fsync(fd)
            stat = os.fstat(fd)
        finally:
            os.close(fd)
        self.next_uid = after
        self.records += len(bases)
        self._know(stat)
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
        extra = "".join(f" {word}" for word in self.header)
        lines = [f"3 V{self.validity} N{self.next_uid} G{self.guid}{extra}\n"]
        known = self.extensions
        if known:
            self.extensions = {}
            for uid, base in records:
                text = known.get(uid, "")
                if text:
                    self.extensions[uid] = text
                lines.append(f"{uid}{text} :{base}\n")
        else:
            lines += [f"{uid} :{base}\n" for uid, base in records]
        replace_file(self.path, os.fsencode("".join(lines)))
        self.records = len(lines) - 1
        self._know(self.path.stat())

    def _know(self, stat: os.stat_result) -> None:
        self.stamp = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        self.read = stat.st_size

    def _whole(self, content: bytes) -> list[tuple[int, str]]:
        found = _HEADER.match(content)
        if found is None:
            raise Broken("the header is not that of version 3")
        words = found[1].decode("ascii", "replace").split()
        values = {word[0]: word[1:] for word in words}
        if not values.get("V", "").isdecimal() or not values.get("N", "").isdecimal():
            raise Broken("the header lacks UIDVALIDITY or the next UID")
        self.validity, self.next_uid = int(values["V"]), int(values["N"])
        self.guid = values.get("G", "") or self.guid or os.urandom(16).hex()
        self.header = [word for word in words if word[0] not in "VNG"]
        self.extensions, self.records = {}, 0
        self.read = found.end()
        return self._records(content[found.end() :])

    def _records(self, content: bytes) -> list[tuple[int, str]]:
        # A last line without LF is one that somebody is writing, or did not finish: not ours to read.
        end = content.rfind(b"\n") + 1
        content = content[:end]
        matches = _RECORD.findall(content)
        if len(matches) != content.count(b"\n"):
            raise Broken(f"line at octet {self.read + _bad_line(content)} is no record")
        records: list[tuple[int, str]] = []
        for number, extension, name in matches:
            uid = int(number)
            records.append((uid, os.fsdecode(name.partition(b":")[0])))
            if extension:
                self.extensions[uid] = extension.decode("ascii", "replace")
        if records:
            self.next_uid = max(self.next_uid, max(records)[0] + 1)
        self.records += len(records)
        self.read += end
        return records


def _bad_line(content: bytes) -> int:
    position = 0
    for line in content.split(b"\n"):
        if not _RECORD.fullmatch(line + b"\n"):
            break
        position += len(line) + 1
    return position


def next_validity(account: Path, above: int = 0) -> int:
    """A UIDVALIDITY that no mailbox of the account has had: the time, or one more than the last. The
    last one is in the name `dovecot-uidvalidity.<hex>`, so that a rename takes the next atomically.
    Raises: OSError."""
    while True:
        named = sorted(account.glob(f"{VALIDITY_FILE}.????????"))
        last = _hex(named[-1].name) if named else 0
        value = max(int(time.time()), last + 1, above + 1) & MAX_UID
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


def _hex(name: str) -> int:
    try:
        return int(name.rpartition(".")[2], 16)
    except ValueError:
        return 0
