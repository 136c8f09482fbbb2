"""Who the command line is while it works on a store: root acts as the account that the store belongs to, so
that whatever it makes there, a lock or a message, is the server's own.

It changes the effective user of the whole process: for programs of one thread."""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ENCODINGS = ("ascii", "utf-8")
"""What the store's files are in."""


@contextmanager
def acting_as_owner_of(path: Path) -> Iterator[None]:
    """Root is the owner of `path` meanwhile; anybody else stays who they are. Raises: OSError."""
    stat = path.stat()
    if os.geteuid() != 0 or stat.st_uid == 0:
        yield
        return
    for encoding in ENCODINGS:
        codecs.lookup(encoding)  # a module of an interpreter that the owner may not be allowed to read
    group, groups = os.getegid(), os.getgroups()
    os.setgroups([stat.st_gid])
    os.setegid(stat.st_gid)
    os.seteuid(stat.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)


@contextmanager
def as_who_started_it() -> Iterator[None]:
    """Inside of `acting_as_owner_of`: root again, for what only root may."""
    user = os.geteuid()
    if os.getuid() != 0 or user == 0:
        yield
        return
    os.seteuid(0)
    try:
        yield
    finally:
        os.seteuid(user)
