"""A record of what a program does to the files below a directory, call by call, and what it told meanwhile.

`Recorder` puts itself in the place of the functions of `os` that change files. What it writes down are
inodes and the names that lead to them, not paths: a file stays the same file when its directory is renamed.
Lock files (`*.lock`) are left out. What is written through a file object is seen when the file is synced or
gets another name."""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = 0
"""The number of the directory that is recorded."""
Place = tuple[int, str]
"""A directory's number and a name in it."""


@dataclass(frozen=True)
class Name:
    """One step in a directory: names that lead to something else now (None: to nothing), all at once.
    `needs` is the step without which this one cannot have happened, -1 for none: of a rename from one
    directory to another, the old name goes only after the new one is there."""

    call: str
    changes: tuple[tuple[Place, int | None], ...]
    needs: int = -1


@dataclass(frozen=True)
class Octets:
    """A file has this content and this modification time (ns, 0 for any) now."""

    call: str
    number: int
    content: bytes
    modified: int = 0


@dataclass(frozen=True)
class Synced:
    """fsync(2) of a file or a directory."""

    call: str
    number: int


@dataclass(frozen=True)
class Told:
    """Something was said, or is about to be asked for."""

    call: str
    what: Any


class Killed(BaseException):
    """The process ends here."""


Step = Name | Octets | Synced | Told


@dataclass
class Recorder:
    """Records what happens below `root` while it is patched in."""

    root: Path
    steps: list[Step] = field(default_factory=list)
    directories: set[int] = field(default_factory=set)
    killed_at_sync: int = 0
    """This fsync(2) from now on is not reached any more; 0 for none."""
    _numbers: dict[int, int] = field(default_factory=dict)
    _contents: dict[int, tuple[bytes, int]] = field(default_factory=dict)
    _next: Any = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        self._numbers[os.stat(self.root).st_ino] = ROOT
        self.directories.add(ROOT)

    def tell(self, what: Any) -> None:
        self.steps.append(Told(repr(what), what))

    # --- what is what

    def _place(self, path: Any, dir_fd: int | None) -> Place | None:
        """None for what is not below the root."""
        text = os.fsdecode(os.fspath(path))
        head, tail = os.path.split(text)
        with suppress(FileNotFoundError, NotADirectoryError):
            parent = os.stat(head or ".", dir_fd=dir_fd) if head or dir_fd is None else os.fstat(dir_fd)
            number = self._numbers.get(parent.st_ino)
            if number is not None and not tail.endswith(".lock"):
                return number, tail
        return None

    def _number(self, path: Any, dir_fd: int | None) -> int | None:
        with suppress(FileNotFoundError, NotADirectoryError):
            return self._numbers.get(os.stat(path, dir_fd=dir_fd, follow_symlinks=False).st_ino)
        return None

    def _forget(self, path: Any, dir_fd: int | None) -> None:
        """Another file may soon have the inode of the one that is about to be removed."""
        with suppress(FileNotFoundError):
            status = os.stat(path, dir_fd=dir_fd, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode) or status.st_nlink == 1:
                self._numbers.pop(status.st_ino, None)

    def _new(self, path: Any, dir_fd: int | None, *, directory: bool) -> int:
        number: int = next(self._next)
        self._numbers[os.stat(path, dir_fd=dir_fd, follow_symlinks=False).st_ino] = number
        if directory:
            self.directories.add(number)
        else:
            self._contents[number] = (b"", 0)
        return number

    def _look(self, call: str, number: int | None, path: Any, dir_fd: int | None = None) -> None:
        """Note what a file has in it, if it is something else than before."""
        if number is None or number in self.directories:
            return
        fd = _REAL["open"](path, os.O_RDONLY, dir_fd=dir_fd)
        try:
            content = os.pread(fd, os.fstat(fd).st_size, 0)
        finally:
            os.close(fd)
        before, modified = self._contents[number]
        if content != before:
            self._contents[number] = (content, modified)
            self.steps.append(Octets(call, number, content, modified))

    # --- in the place of the system's calls

    def patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in _REAL:
            monkeypatch.setattr(os, name, getattr(self, "_" + name))

    def _open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        made = bool(flags & os.O_CREAT) and self._number(path, dir_fd) is None
        fd: int = _REAL["open"](path, flags, mode, dir_fd=dir_fd)
        place = self._place(path, dir_fd) if made else None
        if place is not None:
            number = self._new(path, dir_fd, directory=False)
            self.steps.append(Name(f"open {place[1]}", ((place, number),)))
        return fd

    def _mkdir(self, path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        _REAL["mkdir"](path, mode, dir_fd=dir_fd)
        place = self._place(path, dir_fd)
        if place is not None:
            number = self._new(path, dir_fd, directory=True)
            self.steps.append(Name(f"mkdir {place[1]}", ((place, number),)))

    def _changed(self, call: str, fd: int) -> None:
        self._look(call, self._numbers.get(os.fstat(fd).st_ino), f"/proc/self/fd/{fd}")

    def _write(self, fd: int, data: Any) -> int:
        written: int = _REAL["write"](fd, data)
        self._changed("write", fd)
        return written

    def _sendfile(self, out: int, source: int, offset: int, count: int) -> int:
        sent: int = _REAL["sendfile"](out, source, offset, count)
        self._changed("sendfile", out)
        return sent

    def _ftruncate(self, fd: int, length: int) -> None:
        _REAL["ftruncate"](fd, length)
        self._changed("ftruncate", fd)

    def _utime(self, path: Any, times: Any = None, *, ns: Any = None, **options: Any) -> None:
        if ns is not None:
            _REAL["utime"](path, ns=ns, **options)
        else:
            _REAL["utime"](path, times, **options)
        number = self._numbers.get(os.stat(path).st_ino)
        if number is not None and number not in self.directories:
            content, _ = self._contents[number]
            self._contents[number] = (content, os.stat(path).st_mtime_ns)
            self.steps.append(Octets("utime", number, *self._contents[number]))

    def _fsync(self, fd: int) -> None:
        number = self._numbers.get(os.fstat(fd).st_ino)
        self._look("write", number, f"/proc/self/fd/{fd}")
        self.killed_at_sync -= 1
        if self.killed_at_sync == 0:
            raise Killed
        _REAL["fsync"](fd)
        if number is not None:
            self.steps.append(Synced("fsync", number))

    def _link(self, path: Any, place: Any, **options: Any) -> None:
        _REAL["link"](path, place, **options)
        target = self._place(place, options.get("dst_dir_fd"))
        if target is not None:
            number = self._number(path, options.get("src_dir_fd"))
            self.steps.append(Name(f"link {target[1]}", ((target, number),)))

    def _rename(self, path: Any, to: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None) -> None:
        number, source = self._number(path, src_dir_fd), self._place(path, src_dir_fd)
        self._look("write", number, path, src_dir_fd)
        self._forget(to, dst_dir_fd)
        _REAL["rename"](path, to, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        target = self._place(to, dst_dir_fd)
        if source is None or target is None:
            assert source is target is None, f"{path} is not recorded and {to} is, or the other way round"
            return
        call = f"rename {source[1]} {target[1]}"
        if source[0] == target[0]:
            self.steps.append(Name(call, ((source, None), (target, number))))
        else:
            self.steps.append(Name(call + " (comes)", ((target, number),)))
            self.steps.append(Name(call + " (goes)", ((source, None),), needs=len(self.steps) - 1))

    _replace = _rename

    def _unlink(self, path: Any, *, dir_fd: int | None = None) -> None:
        place = self._place(path, dir_fd)
        self._forget(path, dir_fd)
        _REAL["unlink"](path, dir_fd=dir_fd)
        if place is not None:
            self.steps.append(Name(f"unlink {place[1]}", ((place, None),)))

    _remove = _unlink

    def _rmdir(self, path: Any, *, dir_fd: int | None = None) -> None:
        place = self._place(path, dir_fd)
        self._forget(path, dir_fd)
        _REAL["rmdir"](path, dir_fd=dir_fd)
        if place is not None:
            self.steps.append(Name(f"rmdir {place[1]}", ((place, None),)))


_REAL: dict[str, Callable[..., Any]] = {
    name: getattr(os, name)
    for name in (
        "open", "mkdir", "write", "sendfile", "ftruncate", "utime", "fsync", "link", "rename", "replace", "unlink",
        "remove", "rmdir",
    )
}  # fmt: skip
