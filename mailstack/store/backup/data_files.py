"""What may lie in the data directory, and what of it a backup has. A new file needs a row here: a test sees to it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from pathlib import Path


class Kept(Enum):
    """What a backup does with it."""

    ACCOUNTS = "each account's mail, as it is asked for"
    QUEUE = "messages that wait, and the database that says for whom"
    DATABASE = "a copy by SQLite"
    COPY = "a copy"
    NOT = "nothing: it can be made again, or means nothing later"


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file or directory, by a pattern as of a shell."""

    pattern: str
    kept: Kept
    what: str


DATA_FILES: tuple[DataFile, ...] = (
    DataFile("mail", Kept.ACCOUNTS, "mailboxes"),
    DataFile("queue", Kept.QUEUE, "mail for others that waits"),
    DataFile("accounts.sqlite3", Kept.DATABASE, "logins, app passwords, aliases, quotas"),
    DataFile("sent.sqlite3", Kept.DATABASE, "what accounts have sent, and to whom they wrote before"),
    DataFile("journal.sqlite3", Kept.DATABASE, "what happened to each message"),
    DataFile("suppressed.sqlite3", Kept.DATABASE, "addresses that mail is not sent to any more"),
    DataFile("tls.sqlite3", Kept.DATABASE, "policies and counts of others' TLS"),
    DataFile("server-attributes", Kept.COPY, "annotations of the server"),
    DataFile("shared-mailboxes", Kept.COPY, "who shares mailboxes with whom"),
    DataFile("spool", Kept.NOT, "messages on their way in"),
    DataFile("*.sqlite3-wal", Kept.NOT, "part of a database"),
    DataFile("*.sqlite3-shm", Kept.NOT, "part of a database"),
    DataFile("*.lock", Kept.NOT, "held while a file is changed"),
    DataFile("*.tmp", Kept.NOT, "a file that is being written"),
    DataFile("tls", Kept.NOT, "the development mode's certificate, made again when it is not there"),
    DataFile("dev.json", Kept.NOT, "where the development mode listens"),
    DataFile("run", Kept.NOT, "which processes run, and where they listen"),
    DataFile("acme", Kept.NOT, "certificates by ACME, gotten again when they are not there"),
    DataFile("lost+found", Kept.NOT, "the file system's"),
)


BESIDE_ACCOUNTS = ("sent.sqlite3", "suppressed.sqlite3")
"""Databases that lie where the accounts' is, which the configuration may say."""


def found_in(data: Path) -> dict[str, DataFile | None]:
    """The names in a data directory, and what each is; None for what is none of ours. Raises: OSError."""
    return {
        name: next((row for row in DATA_FILES if fnmatchcase(name, row.pattern)), None)
        for name in sorted(os.listdir(data))
    }
