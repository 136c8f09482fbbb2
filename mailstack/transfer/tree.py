"""Files below a directory, in an archive, or one alone: the same to who reads them.

Nothing is ever unpacked: a path in an archive is only looked at for the mailbox that it means. Symbolic links are
not followed. Archives are read from beginning to end, twice."""

from __future__ import annotations

import gzip
import lzma
import os
import stat
import struct
import tarfile
import tempfile
import time
import zipfile
import zlib
from calendar import timegm
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, Protocol, cast

from mailstack.transfer.values import Trouble, Unusable

MAX_RATIO = 200
"""Octets that one octet of an archive may become; mail comes to some 3 to 10."""
ALWAYS_ALLOWED = 256 * 1024 * 1024
"""Octets that any archive may become."""
SPOOL_MEMORY = 1024 * 1024
PIECE = 256 * 1024
BROKEN = (
    OSError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
    RuntimeError,
    ValueError,
)
"""What the libraries raise on a damaged archive."""

Open = Callable[[], AbstractContextManager[BinaryIO]]


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or directory: its path with "/" below the tree's root, "" for a file that is the tree."""

    path: str
    size: int
    modified: float
    open: Open
    """May raise what is in BROKEN, as reading may. Only until the next entry is asked for."""
    directory: bool = False
    seekable: bool = True
    """Whether it can be read in any order without reading much of it again."""


class Tree(Protocol):
    """Files."""

    name: str
    is_archive: bool
    weight: int
    """Octets that reading all of it takes, 0 when its entries tell."""

    def entries(self) -> Iterator[Entry | Trouble]:
        """All of them. Raises: Unusable."""


@contextmanager
def whole(entry: Entry, beginning: bytes, file: BinaryIO) -> Iterator[BinaryIO]:
    """An open entry of which the beginning was read, as a file that can be read anywhere; what cannot be sought in is
    copied."""
    if entry.seekable:
        yield file
        return
    with tempfile.SpooledTemporaryFile(SPOOL_MEMORY) as copy:
        copy.write(beginning)
        while piece := file.read(PIECE):
            copy.write(piece)
        yield cast(BinaryIO, copy)


def open_tree(path: Path) -> Tree:
    """What a path is: a directory, an archive, or a single file. Raises: Unusable."""
    try:
        if path.is_dir():
            return Directory(path)
        with path.open("rb") as file:
            beginning = file.read(4)
    except OSError as error:
        raise Unusable(f"{path}: {error.strerror}") from error
    if beginning[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return Zip(path)
    if tarfile.is_tarfile(path):
        return Tar(path)
    return SingleFile(path, compressed=beginning[:2] == b"\x1f\x8b")


class Directory:
    """A directory on disk."""

    is_archive = False
    weight = 0

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._root = path

    def entries(self) -> Iterator[Entry | Trouble]:
        pending = [""]
        while pending:
            directory = pending.pop()
            if directory:
                yield Entry(directory, 0, 0.0, _nothing, directory=True)
            try:
                found = sorted(os.scandir(self._root / directory), key=lambda each: each.name)
            except OSError as error:
                yield Trouble(str(self._root / directory), str(error.strerror))
                continue
            below: list[str] = []
            for each in found:
                path = f"{directory}/{each.name}" if directory else each.name
                if each.is_dir(follow_symlinks=False):
                    below.append(path)
                    continue
                try:
                    status = each.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue  # renamed or removed meanwhile
                if stat.S_ISREG(status.st_mode):
                    yield Entry(path, status.st_size, status.st_mtime, _opener(each.path))
                else:
                    yield Trouble(each.path, _no_file(status.st_mode))
            pending.extend(reversed(below))


def _no_file(mode: int) -> str:
    return "a symbolic link, which is not followed" if stat.S_ISLNK(mode) else "not a regular file"


def _nothing() -> AbstractContextManager[BinaryIO]:
    raise OSError("a directory")


def _opener(path: str) -> Open:
    def opened() -> AbstractContextManager[BinaryIO]:
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            fd = os.open(path, flags)
        except FileNotFoundError:
            fd = os.open(_renamed(path) or path, flags)
        return open(fd, "rb", buffering=0)

    return opened


def _renamed(path: str) -> str | None:
    """Where the message of a Maildir is, whose flags another program changed since we saw its name."""
    directory, name = os.path.split(path)
    base, cur = name.partition(":")[0], os.path.join(os.path.dirname(directory), "cur")
    if os.path.basename(directory) not in ("cur", "new") or not os.path.isdir(cur):
        return None
    with os.scandir(cur) as entries:
        return next((each.path for each in entries if each.name.partition(":")[0] == base), None)


class SingleFile:
    """One file, perhaps compressed with gzip."""

    is_archive = False
    weight = 0

    def __init__(self, path: Path, *, compressed: bool) -> None:
        self.name = str(path)
        self._path = path
        self._compressed = compressed

    def entries(self) -> Iterator[Entry | Trouble]:
        status = self._path.stat()
        opened = self._decompressed if self._compressed else lambda: self._path.open("rb")
        yield Entry("", status.st_size, status.st_mtime, opened)

    @contextmanager
    def _decompressed(self) -> Iterator[BinaryIO]:
        limit = max(ALWAYS_ALLOWED, MAX_RATIO * self._path.stat().st_size)
        with gzip.open(self._path) as file, tempfile.TemporaryFile() as copy:
            while piece := file.read(PIECE):
                copy.write(piece)
                if copy.tell() > limit:
                    raise Unusable(f"{self.name}: decompresses to more than {limit} octets")
            copy.seek(0)
            yield cast(BinaryIO, copy)


class _Bounded:
    """Adds up what an archive says it becomes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._limit = max(ALWAYS_ALLOWED, MAX_RATIO * path.stat().st_size)
        self._sum = 0

    def add(self, octets: int) -> None:
        """Raises: Unusable."""
        self._sum += octets
        if self._sum > self._limit:
            raise Unusable(f"{self._path}: decompresses to more than {self._limit} octets")


class Tar:
    """A tar archive, compressed or not. A hard link is the file that it links to, which comes before it."""

    is_archive = True

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path
        self._links: dict[str, list[str]] | None = None
        self.weight = 0

    def entries(self) -> Iterator[Entry | Trouble]:
        if self._links is None:
            self._links = {}
            for member in self._members():
                if isinstance(member, tarfile.TarInfo) and member.islnk():
                    self._links.setdefault(_clean(member.linkname), []).append(_clean(member.name))
        for found in self._members():
            if isinstance(found, Trouble):
                yield found
            elif found.isdir():
                yield Entry(_clean(found.name), 0, 0.0, _nothing, directory=True)
            elif found.isreg():
                yield from self._file(found)
            elif not found.islnk():
                kind = "a symbolic link, which is not followed" if found.issym() else "not a regular file"
                yield Trouble(f"{self.name}: {found.name}", kind)

    def _file(self, member: tarfile.TarInfo) -> Iterator[Entry]:
        assert self._links is not None
        path = _clean(member.name)
        file = self._tar.extractfile(member)
        assert file is not None
        linked = self._links.get(path, [])
        if not linked:
            yield Entry(
                path,
                member.size,
                member.mtime,
                lambda: _kept_open(file),
                seekable=False,
            )
            return
        with tempfile.SpooledTemporaryFile(SPOOL_MEMORY) as copy:
            while piece := file.read(PIECE):
                copy.write(piece)
            for each in [path, *linked]:
                copy.seek(0)
                yield Entry(each, member.size, member.mtime, lambda: _kept_open(copy))

    def _members(self) -> Iterator[tarfile.TarInfo | Trouble]:
        bounded, count = _Bounded(self._path), 0
        try:
            with tarfile.open(self._path, "r|*") as self._tar:
                for member in self._tar:
                    count += 1
                    bounded.add(member.size)
                    yield member
                    self._tar.members.clear()  # type: ignore[attr-defined]  # else it remembers all of them
        except BROKEN as error:
            yield Trouble(self.name, f"damaged after {count} members: {error}")


class Zip:
    """A zip archive."""

    is_archive = True
    weight = 0

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path

    def entries(self) -> Iterator[Entry | Trouble]:
        try:
            with zipfile.ZipFile(self._path) as archive:
                bounded = _Bounded(self._path)
                for member in archive.infolist():
                    bounded.add(member.file_size)
                for member in archive.infolist():
                    yield self._entry(archive, member)
        except BROKEN as error:
            yield Trouble(self.name, f"damaged: {error}")

    def _entry(self, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Entry | Trouble:
        path = _clean(member.filename)
        mode = member.external_attr >> 16
        if member.is_dir():
            return Entry(path, 0, 0.0, _nothing, directory=True)
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            return Trouble(f"{self.name}: {member.filename}", _no_file(mode))
        opened = lambda: cast(BinaryIO, archive.open(member))  # noqa: E731
        return Entry(path, member.file_size, _zip_time(member), opened, seekable=False)


@contextmanager
def _kept_open(file: IO[bytes]) -> Iterator[BinaryIO]:
    yield cast(BinaryIO, file)


def _clean(path: str) -> str:
    return "/".join(part for part in path.split("/") if part not in ("", "."))


def _zip_time(member: zipfile.ZipInfo) -> float:
    """The modification time: of the extra field 0x5455, which is in UTC, else of the local clock then."""
    extra, position = member.extra, 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, position)
        if kind == 0x5455 and length >= 5 and extra[position + 4] & 1:
            return float(struct.unpack_from("<i", extra, position + 5)[0])
        position += 4 + length
    try:
        return time.mktime((*member.date_time, 0, 0, -1))
    except (ValueError, OverflowError):
        return float(timegm((1980, 1, 1, 0, 0, 0)))
