"""A message's octets: whole, at every size at which they are read another way, with CRLF line ends."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from mailstack.mail.header import whole_header
from mailstack.ports import MEMORY_LIMIT
from mailstack.store.octets import USUAL, open_octets

BORDERS = sorted(size + near for size in (USUAL, MEMORY_LIMIT) for near in (-1, 0, 1))


@pytest.mark.parametrize("size", [0, 1, *BORDERS, 1_500_000])
@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_every_octet_comes_out(tmp_path: Path, size: int, end: bytes) -> None:
    text = (b"line %d" + end) * (size // 8 + 1)
    octets = (text % tuple(range(size // 8 + 1)))[:size]
    if octets.endswith(b"\r"):
        octets = octets[:-1] + b"x"
    (tmp_path / "message").write_bytes(octets)
    found = open_octets(tmp_path / "message", known_crlf=end == b"\r\n", spool=tmp_path)
    wanted = octets if end == b"\r\n" else octets.replace(b"\n", b"\r\n")
    assert len(found) == len(wanted)
    assert found[0 : len(wanted)] == wanted
    assert isinstance(found, bytes) == (size <= MEMORY_LIMIT)
    assert found.count(b"\r\n") == wanted.count(b"\r\n")
    assert found.find(b"line 9") == wanted.find(b"line 9")


def test_a_large_file_is_converted_when_more_than_its_beginning_is_asked_for(tmp_path: Path) -> None:
    octets = b"Subject: x\nTo: y\n\n" + b"line\n" * MEMORY_LIMIT
    wanted = octets.replace(b"\n", b"\r\n")
    (tmp_path / "message").write_bytes(octets)
    spool = tmp_path / "spool"
    found = open_octets(tmp_path / "message", known_crlf=False, spool=spool)
    assert whole_header(found) == b"Subject: x\r\nTo: y\r\n\r\n"
    assert (found[9:12], found.find(b"line"), found.find(b"z", 0, 50)) == (b"x\r\n", 21, -1)
    for _ in range(2):
        with pytest.raises(FileNotFoundError):  # there is no spool
            found.find(b"z")
    spool.mkdir()
    assert found.find(b"z") == -1
    assert (len(found), found[-4:], found.count(b"\n")) == (len(wanted), b"ne\r\n", MEMORY_LIMIT + 3)
    border = len(found._begin)  # type: ignore[attr-defined]
    assert found[border - 3 : border + 3] == wanted[border - 3 : border + 3]
    before = len(os.listdir("/proc/self/fd"))
    del found
    assert len(os.listdir("/proc/self/fd")) == before - 1


def test_reading_leaves_the_inode_alone(tmp_path: Path) -> None:
    path = tmp_path / "message"
    path.write_bytes(b"x")
    os.utime(path, (0, 1))  # so old that the file system would note that it is read
    open_octets(path, known_crlf=True, spool=tmp_path)
    assert path.stat().st_atime == 0


def test_a_file_of_another_user_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "message").write_bytes(b"x")
    real = os.open

    def foreign(path: Any, flags: int, *more: Any, **named: Any) -> int:
        if flags & os.O_NOATIME:
            raise PermissionError
        return real(path, flags, *more, **named)

    monkeypatch.setattr(os, "open", foreign)
    assert open_octets(tmp_path / "message", known_crlf=True, spool=tmp_path) == b"x"
