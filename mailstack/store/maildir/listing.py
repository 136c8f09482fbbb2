"""An account's messages as its directories show them: no mailbox is opened, no lock taken, and no UID given, so that it
costs some microseconds a directory. A message is known by the part of its file's name that stays for its life."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from mailstack.store.maildir import layout, names

NEW, CUR = "new", "cur"


class Listed(NamedTuple):
    """One message. `flags` are bits of `ports.Flag`; `octets` is what the name says of the file's size, or -1;
    `order` ascends in the order of arrival."""

    id: str
    mailbox: str
    path: str
    flags: int
    octets: int
    order: tuple[int, int, str]

    @property
    def has_crlf(self) -> bool:
        """Whether the lines of the file are known to end in CRLF."""
        return names.has_crlf(self.path)

    @property
    def at(self) -> float:
        """When it came into this mailbox, in seconds since the epoch; 0.0 if the name does not say."""
        return self.order[0] + self.order[1] / 1_000_000


def id_of(name: str) -> str:
    """Of a file's name, what no change of flags changes."""
    return name.partition(":")[0].partition(",")[0]


def listed(account: Path, mailbox: str = "") -> list[Listed]:
    """The messages of an account, or of one of its mailboxes, in no order. Blocking. Raises: OSError."""
    found: list[Listed] = []
    for name, path in _folders(account):
        if mailbox and name != mailbox:
            continue
        for directory in (NEW, CUR):
            place = f"{path}/{directory}"
            found += [_listed(name, place, entry) for entry in _entries(place)]
    return found


def counted(account: Path) -> list[tuple[str, int, int]]:
    """Each mailbox of an account with its messages, and how many of them are unseen. Blocking. Raises: OSError."""
    counts: list[tuple[str, int, int]] = []
    for name, path in _folders(account):
        fresh, seen = _entries(f"{path}/{NEW}"), _entries(f"{path}/{CUR}")
        unseen = [entry for entry in seen if "S" not in entry.rpartition(names.INFO)[2]]
        counts.append((name, len(fresh) + len(seen), len(fresh) + len(unseen)))
    return counts


def read(message: Listed, most: int = -1) -> bytes | None:
    """The octets of its file, or the first ones; None if it has gone or was renamed. Blocking. Raises: OSError."""
    try:
        with open(message.path, "rb", buffering=0) as file:
            return file.read(most)
    except FileNotFoundError:
        return None


def delivered(account: Path, mailbox: str, name: str) -> Listed:
    """A message that has just come, as its mailbox and the name of its file say. Where it is now may be another place
    already. Raises: Refused(BAD_MAILBOX_NAME)."""
    return _listed(mailbox, f"{layout.folder(account, mailbox).path}/{NEW}", name)


def _listed(mailbox: str, place: str, entry: str) -> Listed:
    base, info = names.split_info(entry)
    known = base.partition(",")[0]
    return Listed(
        known, mailbox, f"{place}/{entry}", names.info_bits(info), names.sizes(base).octets, names.arrival(known)
    )  # fmt: skip


def _entries(place: str) -> list[str]:
    try:
        return [entry for entry in os.listdir(place) if entry[:1] != "."]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _folders(account: Path) -> Iterator[tuple[str, str]]:
    """Name and path of each mailbox."""
    yield layout.INBOX, str(account)
    try:
        with os.scandir(account) as entries:
            for entry in entries:
                name = _mailbox_name(entry.name) if entry.name[:1] == "." else None
                if name is not None and (not entry.is_symlink() or layout.Folder(name, Path(entry.path)).exists):
                    yield name, entry.path
    except (FileNotFoundError, NotADirectoryError):
        return


_mailbox_name = lru_cache(1024)(layout.mailbox_name)
