"""What was moved already: `transfers.sqlite3` in the account's directory. All SQL about it; blocking.

A message is known by a digest of its octets and its internal date, counted, so that two equal messages of a source
are two. Those of IMAP servers are known by UIDVALIDITY and UID too, so that they need not be fetched again.

Before messages are put into a mailbox, what is going to be put there is noted (`intend`), durably, with the UID
that comes next; afterwards that it was (`done`). Who finds intentions when he begins looks whether the messages are
there: so nothing is lost and nothing comes twice, wherever the last run ended. Removing the file forgets it all."""

from __future__ import annotations

import fcntl
import hashlib
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mailstack.transfer.values import Origin, Unusable

FILE = "transfers.sqlite3"
LOCK = "transfers.lock"
DIGEST_SIZE = 16
_SCHEMA = """
CREATE TABLE IF NOT EXISTS places (place INTEGER PRIMARY KEY, what TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS moved (place INTEGER NOT NULL, digest BLOB NOT NULL, count INTEGER NOT NULL,
    PRIMARY KEY (place, digest)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS origins (place INTEGER NOT NULL, uid INTEGER NOT NULL, digest BLOB NOT NULL,
    PRIMARY KEY (place, uid)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS intended (place INTEGER NOT NULL, uid_next INTEGER NOT NULL, content BLOB NOT NULL,
    digest BLOB NOT NULL, origin INTEGER, uid INTEGER);
"""


def content_digest(pieces: Iterable[bytes]) -> bytes:
    """Of octets with CRLF line ends."""
    digest = hashlib.blake2b(digest_size=DIGEST_SIZE)
    for piece in pieces:
        digest.update(piece)
    return digest.digest()


def message_digest(content: bytes, date: float | None) -> bytes:
    """Of octets and internal date in whole seconds; None when the source has no date."""
    text = b"-" if date is None else b"%d" % date
    return hashlib.blake2b(content + text, digest_size=DIGEST_SIZE).digest()


@dataclass(frozen=True, slots=True)
class Moving:
    """One message about to be put somewhere. `origin_place` is that of its origin, if it has one."""

    content: bytes
    digest: bytes
    origin_place: int | None = None
    origin: Origin | None = None


class State:
    """One account's. Held by one process at a time. Raises: Unusable."""

    def __init__(self, account: Path) -> None:
        self._lock = os.open(account / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise Unusable(f"another import or export works on {account.name} now") from None
        path = account / FILE
        self._places: dict[str, int] = {}
        try:
            self._db = sqlite3.connect(path, isolation_level=None)
            path.chmod(0o600)
            for pragma in ("journal_mode=WAL", "synchronous=FULL"):
                self._db.execute(f"PRAGMA {pragma}").fetchone()
            self._db.executescript(_SCHEMA)
        except sqlite3.Error as error:
            os.close(self._lock)
            raise Unusable(f"{path}: {error}; remove it to forget what was moved before") from error

    def close(self) -> None:
        if self._db.in_transaction:
            self._db.execute("COMMIT")
        self._db.close()
        os.close(self._lock)

    def place(self, *words: object) -> int:
        """The number of a mailbox, here or elsewhere."""
        what = "\0".join(map(str, words))
        if what in self._places:
            return self._places[what]
        self._db.execute("INSERT OR IGNORE INTO places (what) VALUES (?)", (what,))
        self._places[what] = int(self._db.execute("SELECT place FROM places WHERE what = ?", (what,)).fetchone()[0])
        return self._places[what]

    def any_moved(self, place: int) -> bool:
        """Whether anything was ever put into a mailbox."""
        return self._db.execute("SELECT 1 FROM moved WHERE place = ? LIMIT 1", (place,)).fetchone() is not None

    def moved(self, place: int, digest: bytes) -> int:
        """How many such messages were put into a mailbox."""
        row = self._db.execute("SELECT count FROM moved WHERE place = ? AND digest = ?", (place, digest)).fetchone()
        return int(row[0]) if row else 0

    def uids(self, origin_place: int) -> set[int]:
        """Those of an origin that are known."""
        return {uid for (uid,) in self._db.execute("SELECT uid FROM origins WHERE place = ?", (origin_place,))}

    def digests(self, origin_place: int) -> Counter[bytes]:
        """The digests of what is known of an origin."""
        return Counter(
            row[0] for row in self._db.execute("SELECT digest FROM origins WHERE place = ?", (origin_place,))
        )

    def remember(self, origin_place: int, uid: int, digest: bytes) -> None:
        """A message of an origin that is in the mailbox already. Durable with the next `intend`, or at the end."""
        self._begin()
        self._db.execute(
            "INSERT OR IGNORE INTO origins VALUES (?, ?, ?)",
            (origin_place, uid, digest),
        )

    def intend(self, place: int, uid_next: int, messages: Sequence[Moving]) -> None:
        """These are about to be put into the mailbox. Durable on return, with all that was done before."""
        self._begin()
        self._db.executemany(
            "INSERT INTO intended VALUES (?, ?, ?, ?, ?, ?)",
            [(place, uid_next, each.content, each.digest, each.origin_place, each.origin and each.origin.uid)
             for each in messages],
        )  # fmt: skip
        self._db.execute("COMMIT")

    def done(self, place: int, messages: Iterable[Moving]) -> None:
        """These are there; nothing more is intended for the mailbox. Durable with the next `intend`, or at the end."""
        self._begin()
        for each in messages:
            self._db.execute(
                "INSERT INTO moved VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET count = count + 1",
                (place, each.digest),
            )
            if each.origin_place is not None and each.origin is not None:
                self._db.execute(
                    "INSERT OR IGNORE INTO origins VALUES (?, ?, ?)",
                    (each.origin_place, each.origin.uid, each.digest),
                )
        self._db.execute("DELETE FROM intended WHERE place = ?", (place,))

    def intended(self, place: int) -> tuple[int, list[Moving]]:
        """What the last run was about to put into the mailbox when it ended, and the first UID it can have."""
        rows = self._db.execute(
            "SELECT uid_next, content, digest, origin, uid FROM intended WHERE place = ? ORDER BY rowid",
            (place,),
        ).fetchall()
        messages = [
            Moving(content, digest, origin, None if uid is None else Origin(0, uid))
            for _, content, digest, origin, uid in rows
        ]
        return min((row[0] for row in rows), default=0), messages

    def _begin(self) -> None:
        if not self._db.in_transaction:
            self._db.execute("BEGIN IMMEDIATE")
