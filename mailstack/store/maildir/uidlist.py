"""`dovecot-uidlist`, version 3: which UID each message has.

    3 V1790000000 N42 G5a1b…        UIDVALIDITY, next UID, mailbox GUID
    41 W1234 :1790000000.M1P2.host,S=1200,W=1234

Lines are only appended, under the dotlock of the file; now and then the file is written anew. A
message is known by its name up to the first ":". Source: Dovecot's maildir format."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from mailstack.store.maildir.layout import replace_file, sync_directory
from mailstack.store.spool import write_all

FILE = "dovecot-uidlist"
VALIDITY_FILE = "dovecot-uidvalidity"
MAX_UID = 0xFFFFFFFF
"""RFC 9051 §2.3.1.1: a UID is a 32-bit value."""
_HEADER = re.compile(rb"3((?: [A-Za-z][^ \n]*)*)\n")
_RECORD = re.compile(rb"(\d{1,10})((?: [A-Z][^ \n:]*)*) :([^\n]+)\n")


class Broken(Exception):
    """The file is not a uidlist that we can read; the message says where."""


@dataclass(slots=True)
class UidList:
    """The file as last read. `uids` maps a message's base name to its UID; `extensions` keeps what
    other programs noted in a record. Not thread-safe: used in the account's lane."""

    path: Path
    validity: int = 0
    next_uid: int = 1
    guid: str = ""
    uids: dict[str, int] = field(default_factory=dict)
    extensions: dict[int, str] = field(default_factory=dict)
    header: list[str] = field(default_factory=list)
    records: int = 0
    _stamp: tuple[int, int, int] = (0, 0, 0)
    _read: int = 0

    def load(self) -> bool:
        """Take in what others did to the file; False if there is none.
        Raises: Broken, OSError."""
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        with open(fd, "rb") as file:
            stat = os.fstat(fd)
            stamp = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
            if stamp == self._stamp:
                return True
            if stamp[0] == self._stamp[0] and stat.st_size > self._read:
                file.seek(self._read)
                self._records(file.read())
            else:
                self._whole(file.read())
            self._stamp = stamp
        return True

    def append(self, bases: Iterable[str]) -> list[int]:
        """Give the next UIDs to these messages, durable on return. The caller holds the lock and has
        loaded the file under it. Raises: OSError, Broken when the UIDs are used up."""
        uids: list[int] = []
        lines: list[str] = []
        for base in bases:
            if self.next_uid >= MAX_UID:
                raise Broken("no UID is left")
            uids.append(self.next_uid)
            lines.append(f"{self.next_uid} :{base}\n")
            self.uids[base] = self.next_uid
            self.next_uid += 1
        if not lines:
            return uids
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            if os.fstat(fd).st_size > self._read:
                os.ftruncate(fd, self._read)  # a record that a writer did not live to finish
            write_all(fd, os.fsencode("".join(lines)))
            os.fsync(fd)
            stat = os.fstat(fd)
        finally:
            os.close(fd)
        self.records += len(lines)
        self._stamp = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        self._read = stat.st_size
        return uids

    def create(self, account: Path, guid: str = "") -> None:
        """Begin anew with a UIDVALIDITY above all earlier ones of the account. The caller holds the
        lock. Raises: OSError."""
        self.validity = next_validity(account, self.validity)
        self.next_uid, self.guid = 1, guid or os.urandom(16).hex()
        self.uids, self.extensions, self.header = {}, {}, []
        self.write()

    def write(self, keep: Iterable[int] | None = None) -> None:
        """Write the file anew, with the records of the UIDs in `keep` (all if None), durable on
        return. The caller holds the lock. Raises: OSError."""
        if keep is not None:
            kept = set(keep)
            self.uids = {base: uid for base, uid in self.uids.items() if uid in kept}
            self.extensions = {uid: text for uid, text in self.extensions.items() if uid in kept}
        extra = "".join(f" {word}" for word in self.header)
        lines = [f"3 V{self.validity} N{self.next_uid} G{self.guid}{extra}\n"]
        for base, uid in sorted(self.uids.items(), key=lambda item: item[1]):
            lines.append(f"{uid}{self.extensions.get(uid, '')} :{base}\n")
        content = os.fsencode("".join(lines))
        replace_file(self.path, content)
        stat = self.path.stat()
        self.records = len(lines) - 1
        self._stamp = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        self._read = len(content)

    def _whole(self, content: bytes) -> None:
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
        self.uids, self.extensions, self.records = {}, {}, 0
        self._read = found.end()
        self._records(content[found.end() :])

    def _records(self, content: bytes) -> None:
        # A last line without LF is one that somebody is writing, or did not finish: not ours to read.
        end = content.rfind(b"\n") + 1
        position = 0
        while position < end:
            found = _RECORD.match(content, position)
            if found is None:
                raise Broken(f"line at octet {self._read + position} is no record")
            uid, base = int(found[1]), os.fsdecode(found[3]).partition(":")[0]
            self.uids[base] = uid
            if found[2]:
                self.extensions[uid] = found[2].decode("ascii", "replace")
            self.next_uid = max(self.next_uid, uid + 1)
            self.records += 1
            position = found.end()
        self._read += end


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
