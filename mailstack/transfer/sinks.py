"""Files on their way out: into a directory, or into a tar archive on a stream."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, BinaryIO, Protocol, cast

from mailstack.store.maildir.layout import replace_file

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_BLOCK = 64 * 1024


class Sink(Protocol):
    """Takes files. Paths are relative, with "/". Raises: OSError."""

    def directory(self, path: str) -> None:
        """Make it, and those above, unless it is there."""

    def names(self, path: str) -> list[str]:
        """What is in a directory already."""

    def file(self, path: str, pieces: Iterable[bytes], size: int, modified: int, *, part: str) -> None:
        """A file that is not there: whole, or not at all. `part` is a path for it while it is written.
        Raises: FileExistsError."""

    def read(self, path: str) -> bytes | None:
        """A file's content; None if it is not there."""

    def replace(self, path: str, content: bytes) -> None:
        """A small file of what is beside messages."""

    def append(self, path: str, content: bytes) -> None:
        """More of such a file, which is made if it is not there."""

    def close(self, *, whole: bool) -> None: ...


class Disk:
    """A directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def directory(self, path: str) -> None:
        (self.root / path).mkdir(mode=0o700, parents=True, exist_ok=True)

    def names(self, path: str) -> list[str]:
        return os.listdir(self.root / path)

    def file(self, path: str, pieces: Iterable[bytes], size: int, modified: int, *, part: str) -> None:
        place = self.root / part
        place.unlink(missing_ok=True)  # of a run that was killed
        fd = os.open(place, _CREATE, 0o600)
        try:
            with open(fd, "wb") as file:
                file.writelines(pieces)
                file.flush()
                os.utime(fd, (modified, modified))
            os.link(place, self.root / path)  # unlike a rename, it fails where something is
        finally:
            place.unlink(missing_ok=True)

    def read(self, path: str) -> bytes | None:
        try:
            return (self.root / path).read_bytes()
        except FileNotFoundError:
            return None

    def replace(self, path: str, content: bytes) -> None:
        replace_file(self.root / path, content)

    def append(self, path: str, content: bytes) -> None:
        with open(self.root / path, "ab", opener=_private) as file:
            file.write(content)

    def close(self, *, whole: bool) -> None:
        if whole:
            os.sync()  # everything that was written, at once


class TarStream:
    """A tar archive."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._tar = tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT)  # noqa: SIM115
        self._directories: set[str] = set()
        self._kept: dict[str, bytes] = {}

    def directory(self, path: str) -> None:
        if path and path not in self._directories:
            self._directories.add(path)
            member = tarfile.TarInfo(path)
            member.type, member.mode = tarfile.DIRTYPE, 0o700
            self._tar.addfile(member)

    def names(self, path: str) -> list[str]:
        return []

    def file(self, path: str, pieces: Iterable[bytes], size: int, modified: int, *, part: str) -> None:
        member = tarfile.TarInfo(path)
        member.size, member.mtime, member.mode = size, modified, 0o600
        self._tar.addfile(member, cast(IO[bytes], _Pieces(pieces)))
        self._tar.members.clear()  # type: ignore[attr-defined]  # else it remembers all of them

    def read(self, path: str) -> bytes | None:
        return self._kept.get(path)

    def replace(self, path: str, content: bytes) -> None:
        self._kept[path] = content

    def append(self, path: str, content: bytes) -> None:
        self._kept[path] = self._kept.get(path, b"") + content

    def close(self, *, whole: bool) -> None:
        """A tar that is not whole has no end, so that who reads it is told."""
        if not whole:
            return
        for path, content in self._kept.items():
            self.file(path, (content,), len(content), 0, part="")
        self._tar.close()
        self._stream.flush()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


class _Pieces(io.RawIOBase):
    """Pieces as a file to read from."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._held = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        wanted = _BLOCK if size < 0 else size
        taken = [self._held]
        have = len(self._held)
        while have < wanted and (piece := next(self._pieces, None)) is not None:
            taken.append(piece)
            have += len(piece)
        data = b"".join(taken)
        self._held = data[wanted:]
        return data[:wanted]
