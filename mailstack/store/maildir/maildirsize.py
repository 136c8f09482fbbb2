"""`maildirsize`: what an account uses, kept by all who change it. A cache: `recalculate` makes it again.

    2147483648S,100000C         the limit: octets, messages
    104857600 4200              what was counted last: octets, messages
    4120 1                      a message came
    -4120 -1                    one went

Who adds or removes messages appends a line with one write(2) to a descriptor opened with O_APPEND; nobody
locks. Counted is every mailbox, Trash too, and each message by the octets of its file, as S= in its name
says. That is what Dovecot's quota backend `maildir` counts, which shares the file with us. It is counted
anew when it is missing or broken, and when an account that is full by it may not be: at most once in
STALE seconds, since that reads every directory. A file of more than 5120 octets, which others would count
anew, does not come about: before, its lines become one.

Source: Courier's Maildir++, README.maildirquota.html, "Maildir++ quota: contents of maildirsize"; Dovecot,
"Quota backend: maildir"."""

from __future__ import annotations

import os
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from mailstack.quota import QuotaLimit
from mailstack.store.maildir import names
from mailstack.store.maildir.layout import folders

FILE = "maildirsize"
CONDENSE = 4096
"""Octets of the file from which on its lines are made one; others count anew above 5120."""
STALE = 15 * 60.0
"""Seconds for which a count is good enough to refuse mail by."""
CHECK = 6 * 3600.0
"""Seconds for which a count is good enough to take mail by."""
MAX_READ = 64 * 1024
"""Octets of a file that is still read; a larger one is broken."""
MAX_OPEN = 256
"""Accounts whose file is kept open."""
ATTEMPTS = 3
"""Counts that are made when mail comes or goes meanwhile; the last one must do."""
_LINE = re.compile(rb" *([+-]?\d{1,19}) +([+-]?\d{1,19}) *")
_DEFINITION = re.compile(rb"(\d{1,19})([SC])")
_APPEND = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class Usage(NamedTuple):
    """Octets and messages, of an account or of a part of it."""

    octets: int = 0
    messages: int = 0

    def plus(self, octets: int, messages: int) -> Usage:
        """So much more."""
        return Usage(self.octets + octets, self.messages + messages)


def directory_usage(directory: str) -> Usage:
    """What lies in one new/ or cur/; nothing if it is not there. Raises: OSError."""
    octets = messages = 0
    try:
        listing = os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return Usage()
    for name in listing:
        if not name.startswith("."):
            octets += file_octets(directory, name)
            messages += 1
    return Usage(octets, messages)


def file_octets(directory: str, name: str) -> int:
    """Octets of a message's file: by its name, else by looking; 0 if it is gone. Raises: OSError."""
    size = names.sizes(names.split(name)[0]).octets
    if size >= 0:
        return size
    try:
        return os.stat(f"{directory}/{name}", follow_symlinks=False).st_size
    except FileNotFoundError:
        return 0


def folder_usage(folder: Path) -> Usage:
    """What one mailbox uses. Raises: OSError."""
    new, cur = directory_usage(f"{folder}/new"), directory_usage(f"{folder}/cur")
    return new.plus(cur.octets, cur.messages)


def count(account: Path) -> Usage:
    """What all mailboxes of an account use, by reading every directory. Raises: OSError."""
    total = Usage()
    if not account.is_dir():
        return total  # nothing has come yet
    for place in folders(account):
        found = folder_usage(place.path)
        total = total.plus(found.octets, found.messages)
    return total


def definition(limit: QuotaLimit) -> bytes:
    """The first line. "0S" when there is no limit, as Dovecot writes it."""
    parts = [b"%dS" % limit.octets] if limit.octets or not limit.messages else []
    return b",".join([*parts, b"%dC" % limit.messages] if limit.messages else parts)


class Broken(Exception):
    """The file is none that we can read."""


class SizeFile:
    """The file of one account. From any thread; one at a time is in it. Raises: OSError, from every method."""

    def __init__(self, account: Path, clock: Callable[[], float] = time.time) -> None:
        self._account = account
        self._path = f"{account}/{FILE}"
        self._clock = clock
        self._lock = threading.Lock()
        self._fd = -1
        self._opened = 0
        """How many files of this name were opened: one after the other may have a place of its own."""
        self._read = 0
        self._lines = 0
        self._first = b""
        self._limit: QuotaLimit | None = None
        """That of the first line, once it was compared."""
        self._usage = Usage()
        self._promised = Usage()
        self._counted = float("-inf")

    def __del__(self) -> None:
        self._close()

    @property
    def age(self) -> float:
        """Seconds since this process has counted: others may have changed the account without a line here."""
        return self._clock() - self._counted

    def at_hand(self, limit: QuotaLimit) -> Usage | None:
        """What is used and promised, if that costs no more than a look at the file; else None. Does not wait
        for others who are in here."""
        if not self._lock.acquire(blocking=False):
            return None
        try:
            known = self._known(limit)
            return None if known is None else known.plus(self._promised.octets, self._promised.messages)
        finally:
            self._lock.release()

    def usage(self, limit: QuotaLimit) -> Usage:
        """What is used."""
        with self._lock:
            return self._current(limit)

    def promise(
        self, limit: QuotaLimit, octets: int, messages: int, *, enforce: bool = True, grace: bool = False
    ) -> bool:
        """Whether there is room; then it is kept until `withdraw`. `grace` takes what does not fit if
        the account is not full before it. Not `enforce`: there is room."""
        with self._lock:
            if enforce and not self._has_room(self._current(limit), limit, octets, messages, grace):
                if not self._may_be_wrong():
                    return False
                if not self._has_room(self._count(limit), limit, octets, messages, grace):
                    return False
            self._promised = self._promised.plus(octets, messages)
            return True

    def withdraw(self, octets: int, messages: int) -> None:
        """What was promised did not come."""
        with self._lock:
            self._promised = self._promised.plus(-octets, -messages)

    def add(self, limit: QuotaLimit, octets: int, messages: int, *, promised: bool = False) -> Usage:
        """So much came, or went (negative); it is not promised any more, if it was. Returns what is used now."""
        with self._lock:
            if promised:
                self._promised = self._promised.plus(-octets, -messages)
            if limit is not self._limit and self._known(limit) is None:
                return self._count(limit)  # it is there already
            line = b"%d %d\n" % (octets, messages)
            size = self._append(line)
            if size < 0:  # another process has put a new file in its place
                if self._known(limit) is None:
                    return self._count(limit)
                size = self._append(line)
            after = self._usage.plus(octets, messages)
            if size == self._read + len(line):
                self._usage, self._read, self._lines = after, size, self._lines + 1
            else:  # others wrote too
                after = self._current(limit)
            if self._read > CONDENSE:
                self._write(limit, after)
            return after

    def recalculate(self, limit: QuotaLimit) -> Usage:
        """Count, and write the file anew. Deliveries wait only if they keep coming while it counts."""
        for _ in range(ATTEMPTS):
            with self._lock:
                if self._known(limit) is None:
                    break
                mark = (self._opened, self._read)
            usage = count(self._account)
            with self._lock:
                quiet = self._known(limit) is not None and not any(self._promised)
                if quiet and mark == (self._opened, self._read):
                    return self._counted_now(limit, usage)
        with self._lock:
            return self._count(limit)

    # --- inside, with the lock

    def _has_room(self, used: Usage, limit: QuotaLimit, octets: int, messages: int, grace: bool) -> bool:
        octets_before, messages_before = used.octets + self._promised.octets, used.messages + self._promised.messages
        if grace:
            return limit.takes(octets_before + 1, messages_before + 1)
        return limit.takes(octets_before + octets, messages_before + messages)

    def _may_be_wrong(self) -> bool:
        """Whether a count may find less than the file says: it has been added to, or is old."""
        if self.age < STALE or self._fd < 0:
            return False
        return self._lines > 1 or self._clock() - os.fstat(self._fd).st_mtime >= STALE

    def _current(self, limit: QuotaLimit) -> Usage:
        known = self._known(limit)
        return self._count(limit) if known is None else known

    def _known(self, limit: QuotaLimit) -> Usage | None:
        """What the file says now; None if it says nothing that can be used."""
        try:
            stat = os.fstat(self._fd) if self._fd >= 0 else None
            if stat is None or stat.st_nlink == 0 or stat.st_size < self._read:
                self._open()
            elif stat.st_size > self._read:
                self._take(os.pread(self._fd, MAX_READ, self._read))
        except (FileNotFoundError, Broken):
            self._close()
            return None
        usage = self._usage
        if usage.octets < 0 or usage.messages < 0:
            return None
        if limit is not self._limit:
            if definition(limit) != self._first:
                self._write(limit, usage)
            self._limit = limit
        return usage

    def _append(self, line: bytes) -> int:
        """The size of the file with the line; -1 if it is not the file any more."""
        if os.write(self._fd, line) != len(line):
            raise OSError(f"{self._path}: a line was cut")
        stat = os.fstat(self._fd)
        return stat.st_size if stat.st_nlink else -1

    def _open(self) -> None:
        self._close()
        self._fd = os.open(self._path, _APPEND)
        self._opened += 1
        content = os.pread(self._fd, MAX_READ, 0)
        first, newline, rest = content.partition(b"\n")
        if not newline or len(content) == MAX_READ or not all(map(_DEFINITION.fullmatch, first.split(b","))):
            raise Broken(self._path)
        self._first, self._limit = first, None
        self._read, self._lines, self._usage = len(first) + 1, 0, Usage()
        self._take(rest)
        if not self._lines:
            raise Broken(self._path)

    def _take(self, content: bytes) -> None:
        """Lines that follow what was read. A last one without LF is still being written."""
        whole = content[: content.rfind(b"\n") + 1]
        octets, messages = self._usage.octets, self._usage.messages
        lines = whole.split(b"\n")[:-1]
        for line in lines:
            match = _LINE.fullmatch(line)
            if match is None:
                raise Broken(self._path)
            octets, messages = octets + int(match[1]), messages + int(match[2])
        self._usage = Usage(octets, messages)
        self._read += len(whole)
        self._lines += len(lines)

    def _count(self, limit: QuotaLimit) -> Usage:
        if not self._account.is_dir():
            return Usage()
        if not self._account.is_dir():
            return Usage()  # nothing has come yet
        for _ in range(ATTEMPTS):
            before = self._clock()
            usage = count(self._account)
            if self._newest_change() < before:
                break
        return self._counted_now(limit, usage)

    def _counted_now(self, limit: QuotaLimit, usage: Usage) -> Usage:
        self._write(limit, usage)
        self._counted = self._clock()
        return usage

    def _newest_change(self) -> float:
        newest = 0.0
        for place in folders(self._account):
            for directory in ("new", "cur"):
                try:
                    newest = max(newest, os.stat(place.path / directory).st_mtime)
                except FileNotFoundError:
                    continue
        return newest

    def _write(self, limit: QuotaLimit, usage: Usage) -> None:
        """In one step, but not synced: it can be made again."""
        temporary = f"{self._path}.{os.getpid()}.{os.urandom(4).hex()}.tmp"
        fd = os.open(temporary, _CREATE, 0o600)
        try:
            os.write(fd, b"%s\n%d %d\n" % (definition(limit), usage.octets, usage.messages))
            os.rename(temporary, self._path)
        except BaseException:
            os.unlink(temporary)
            raise
        finally:
            os.close(fd)
        self._open()

    def _close(self) -> None:
        fd, self._fd, self._limit = self._fd, -1, None
        if fd >= 0:
            os.close(fd)


class SizeFiles:
    """The files of all accounts, of which few are open. From any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._recent: OrderedDict[Path, SizeFile] = OrderedDict()

    def get(self, account: Path) -> SizeFile:
        """The file of an account's directory, whether it is there or not."""
        with self._lock:
            found = self._recent.get(account)
            if found is None:
                found = self._recent[account] = SizeFile(account)
                if len(self._recent) > MAX_OPEN:
                    self._recent.popitem(last=False)
            else:
                self._recent.move_to_end(account)
            return found

    def forget(self) -> None:
        """Trust no count from before; close all."""
        with self._lock:
            self._recent.clear()
