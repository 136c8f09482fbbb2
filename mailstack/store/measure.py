"""How large a message's file is, by reading all of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from mailstack.store.maildir.names import Sizes

WINDOW = 1024 * 1024
"""Octets that are read at once."""


class Digest(Protocol):
    """One of hashlib's."""

    def update(self, data: bytes, /) -> None: ...


def read_sizes(path: str | Path, digest: Digest | None = None) -> Sizes:
    """Octets of the file, and octets with each bare LF as CRLF, which is what IMAP calls the size. All of the
    file goes through `digest`. Symbolic links are not followed. Raises: OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    octets = bare = 0
    after_cr = False
    try:
        while data := os.read(fd, WINDOW):
            octets += len(data)
            bare += data.count(b"\n") - data.count(b"\r\n") - (after_cr and data.startswith(b"\n"))
            after_cr = data.endswith(b"\r")
            if digest is not None:
                digest.update(data)
    finally:
        os.close(fd)
    return Sizes(octets, octets + bare)
