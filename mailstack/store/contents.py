"""The octets of an open mailbox's messages. From any worker; files that others rename are looked for."""

from __future__ import annotations

import errno
import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path

from mailstack.ports import Octets
from mailstack.store.columns import NO_DATE, UNKNOWN
from mailstack.store.maildir import names
from mailstack.store.maildir.change import TRIES
from mailstack.store.maildir.folder import FolderFiles
from mailstack.store.octets import open_octets

SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EDQUOT})
"""Errors that will go away, and say nothing of the file."""
OPEN_FILES = 4
"""Large messages that a mailbox keeps open, since they are read in many pieces."""


class Contents:
    """Large messages that were read lately stay open."""

    def __init__(self, files: FolderFiles, spool: Path) -> None:
        self._files = files
        self._spool = spool
        self._large: OrderedDict[int, Octets] = OrderedDict()
        self._large_lock = threading.Lock()

    def close(self) -> None:
        """Nobody reads now."""
        self._large.clear()

    def renew(self) -> None:
        """The UIDs are of other messages now."""
        self._large = OrderedDict()

    def forget(self, uids: Iterable[int]) -> None:
        """These are gone."""
        for uid in uids:
            self._large.pop(uid, None)

    def octets(self, uid: int) -> Octets | None:
        """A whole message; None if it is gone, or cannot be read. Raises: OSError."""
        large = self._large  # another one after UIDs have changed
        if large:
            with self._large_lock:
                known = large.get(uid)
            if known is not None:
                return known
        path = self._files.locate(uid)
        for _ in range(TRIES):  # it may be renamed between our look and our opening it
            if path is None:
                return None
            try:
                octets = self._open(path)
            except FileNotFoundError:
                path = self._files.find(uid)
                continue
            except OSError as error:
                self._unreadable(path, error)
                return None
            if not isinstance(octets, bytes):
                self._keep_open(large, uid, octets)
            return octets
        return None

    def _unreadable(self, path: str, error: OSError) -> None:
        """One message that cannot be read must not keep the others from being read.
        Raises: OSError, when it is not the file's fault."""
        if error.errno in SHORTAGES:
            raise error
        self._files.log.warning("message cannot be read", path=path, reason=error.strerror)

    def _keep_open(self, large: OrderedDict[int, Octets], uid: int, octets: Octets) -> None:
        with self._large_lock:
            large[uid] = octets
            while len(large) > OPEN_FILES:
                large.popitem(last=False)

    def _open(self, path: str) -> Octets:
        known_crlf = names.has_crlf(path.rpartition("/")[2])
        return open_octets(path, known_crlf=known_crlf, spool=self._spool)

    def measured_all(self, uids: Sequence[int], dates: bool) -> list[tuple[int, int, int]]:
        """As `measured`, of each. Raises: OSError."""
        return [self.measured(uid, date_too=dates) for uid in uids]

    def measured(self, uid: int, *, date_too: bool) -> tuple[int, int, int]:
        """Its UID, its size or UNKNOWN, and its internal date or NO_DATE. Raises: OSError."""
        path = self._files.locate(uid)
        if path is None:
            return uid, UNKNOWN, NO_DATE
        size = names.sizes(os.path.basename(path)).with_crlf
        if size >= 0 and not date_too:
            return uid, size, NO_DATE
        for _ in range(TRIES):  # it may be renamed meanwhile
            try:
                date = int(os.stat(path).st_mtime // 1)
                return uid, size if size >= 0 else len(self._open(path)), date
            except FileNotFoundError:
                path = self._files.find(uid)
                if path is None:
                    break
            except OSError as error:
                self._unreadable(path, error)
                break
        return uid, UNKNOWN, NO_DATE
