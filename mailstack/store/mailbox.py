"""An open mailbox: one object a process, shared by the sessions that have it open.

Columns (UIDs, flags, sizes, dates) belong to the reactor's thread and are read without waiting. Files
belong to the account's lane. Between them go `Differences`: values, applied in the lane's order."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mailstack.errors import Problem, Refused
from mailstack.ports import (
    Added,
    Change,
    Copied,
    Expunged,
    FlagAction,
    Flags,
    FlagsChanged,
    MailboxGone,
    MailboxListener,
    Octets,
    Uid,
)  # fmt: skip
from mailstack.store.maildir import change, names
from mailstack.store.maildir.sync import Differences, FolderFiles
from mailstack.store.octets import open_octets
from mailstack.store.spool import refusal

if TYPE_CHECKING:
    from mailstack.store.api import StoredAccount

T = TypeVar("T")

MEASURED_AT_ONCE = 2000
"""Messages whose size and date are looked up in one visit to a worker."""
OPEN_FILES = 4
"""Large messages that a mailbox keeps open, since they are read in many pieces."""


class OpenMailbox:
    """Implements `ports.Mailbox`."""

    def __init__(self, account: StoredAccount, files: FolderFiles) -> None:
        self.name = files.folder.name
        self.uid_validity = 0
        self.uid_next = 1
        self.mailbox_id = ""
        self.files = files
        self._account = account
        self._uids: list[int] = []
        self._flags: dict[int, int] = {}
        self._sizes: dict[int, int] = {}
        self._dates: dict[int, float] = {}
        self._keywords: tuple[str, ...] = ()
        self._recent: set[int] = set()
        self._listeners: list[MailboxListener] = []
        self._large: OrderedDict[int, Octets] = OrderedDict()
        self._large_lock = threading.Lock()
        self._refreshing = False
        self.gone = False

    # --- what memory knows

    @property
    def uids(self) -> Sequence[int]:
        return self._uids

    @property
    def keywords(self) -> Sequence[str]:
        return self._keywords

    @property
    def listeners(self) -> Sequence[MailboxListener]:
        """The sessions that have it open."""
        return self._listeners

    @property
    def recent(self) -> int:
        """How many messages no session was told of yet."""
        return len(self._recent)

    def flags(self, uid: int) -> int | None:
        return self._flags.get(uid)

    def size(self, uid: int) -> int | None:
        return self._sizes.get(uid)

    def internal_date(self, uid: int) -> float | None:
        return self._dates.get(uid)

    def claim_recent(self) -> frozenset[int]:
        claimed, self._recent = frozenset(self._recent), set()
        return claimed

    def listen(self, listener: MailboxListener) -> None:
        """Another session has it open."""
        self._listeners.append(listener)

    def close(self, listener: MailboxListener) -> None:
        if listener in self._listeners:
            self._listeners.remove(listener)
            if not self._listeners:
                self._large.clear()
                self._account.closed(self)

    # --- what others did

    async def refresh(self) -> None:
        if not self.gone and self.files.changed():
            self.apply(await self._in_lane(self.files.sync), None)

    async def poke(self) -> None:
        """New mail lies in new/: take it in, once for all deliveries that came meanwhile."""
        if not self._refreshing:
            self._refreshing = True
            try:
                self.apply(await self._in_lane(self._poked), None)
            finally:
                self._refreshing = False

    def _poked(self) -> Differences:
        self._refreshing = False  # what is delivered from here on needs another look
        return self.files.sync()

    async def measure(self, uids: Collection[int]) -> None:
        wanted = [uid for uid in uids if uid in self._flags and (uid not in self._dates or uid not in self._sizes)]
        for start in range(0, len(wanted), MEASURED_AT_ONCE):
            piece = wanted[start : start + MEASURED_AT_ONCE]
            for uid, size, date in await self._run(partial(self._measure_all, piece)):
                if uid in self._flags and size >= 0:
                    self._sizes[uid] = size
                    self._dates[uid] = date

    def _measure_all(self, uids: Sequence[int]) -> list[tuple[int, int, float]]:
        return [self._measured(uid) for uid in uids]

    def _measured(self, uid: int) -> tuple[int, int, float]:
        path = self.files.path_of(uid)
        if path is None:
            return uid, -1, 0.0
        known = self._sizes.get(uid, -1)
        try:
            date = path.stat().st_mtime
            return uid, len(self._open(path)) if known < 0 else known, date
        except FileNotFoundError:
            return uid, -1, 0.0

    # --- what sessions do

    async def store_flags(
        self, uids: Collection[int], action: FlagAction, flags: Flags, by: MailboxListener | None
    ) -> None:
        changed = await self._in_lane(partial(change.store_flags, self.files, uids, action, flags))
        self.apply(Differences(changed=changed), by)

    async def copy(self, uids: Collection[int], destination: str) -> Copied:
        return await self._account.copy(self, sorted(uids), destination)

    async def move(self, uids: Collection[int], destination: str, by: MailboxListener | None) -> Copied:
        copied = await self._account.copy(self, sorted(uids), destination)
        await self.expunge(copied.source, by)
        return copied

    async def expunge(self, uids: Collection[int], by: MailboxListener | None) -> Sequence[int]:
        removed = await self._in_lane(partial(change.expunge, self.files, sorted(uids)))
        self.apply(Differences(vanished=removed), by)
        return removed

    async def examine(self, uids: Sequence[int], fn: Callable[[Octets], T]) -> list[T | None]:
        def work() -> list[T | None]:
            return [None if (octets := self._octets(uid)) is None else fn(octets) for uid in uids]

        return await self._run(work)

    async def read(self, uid: int, start: int, end: int) -> bytes | None:
        def work() -> bytes | None:
            octets = self._octets(uid)
            return None if octets is None else octets[start:end]

        return await self._run(work)

    # --- inside

    def apply(self, found: Differences, by: MailboxListener | None) -> None:
        """Bring the columns up to date and tell the sessions. In the reactor's thread."""
        uidlist = self.files.uidlist
        self.uid_validity, self.uid_next, self.mailbox_id = uidlist.validity, uidlist.next_uid, uidlist.guid
        self._keywords = tuple(self.files.keywords)
        if found.reset or found.gone:
            self._forget_all()
            self.gone = found.gone
        vanished = [uid for uid in found.vanished if self._flags.pop(uid, None) is not None]
        if vanished:
            self._remove(vanished)
            self._tell(Expunged(_uids(vanished), by))
        added = [item for item in found.added if item.uid not in self._flags]
        if added:
            for item in added:
                self._flags[item.uid] = item.flags
                if item.size >= 0:
                    self._sizes[item.uid] = item.size
                if item.recent:
                    self._recent.add(item.uid)
            self._uids = _merged(self._uids, [item.uid for item in added])
            self._tell(Added(_uids([item.uid for item in added])))
        changed = [uid for uid, flags in found.changed if self._flags.get(uid, flags) != flags]
        self._flags.update((uid, flags) for uid, flags in found.changed if uid in self._flags)
        if changed:
            self._tell(FlagsChanged(_uids(changed), by))

    def _forget_all(self) -> None:
        self._uids, self._flags, self._sizes, self._dates = [], {}, {}, {}
        self._recent.clear()
        self._tell(MailboxGone())

    def _remove(self, vanished: list[int]) -> None:
        dead = set(vanished)
        self._uids = [uid for uid in self._uids if uid not in dead]
        self._recent -= dead
        for uid in vanished:
            self._sizes.pop(uid, None)
            self._dates.pop(uid, None)
            self._large.pop(uid, None)

    def _tell(self, what: Change) -> None:
        for listener in list(self._listeners):
            listener.changed(what)

    def _octets(self, uid: int) -> Octets | None:
        with self._large_lock:
            known = self._large.get(uid)
        if known is not None:
            return known
        for _ in range(3):  # it may be renamed between our look and our opening it
            path = self.files.path_of(uid)
            if path is None:
                return None
            try:
                octets = self._open(path)
            except FileNotFoundError:
                continue
            if not isinstance(octets, bytes):
                with self._large_lock:
                    self._large[uid] = octets
                    while len(self._large) > OPEN_FILES:
                        self._large.popitem(last=False)
            return octets
        return None

    def _open(self, path: Path) -> Octets:
        sizes = names.sizes(path.name)
        return open_octets(
            path, known_crlf=sizes.octets >= 0 and sizes.octets == sizes.with_crlf, spool=self._account.store.spool_path
        )

    async def _in_lane(self, fn: Callable[[], T]) -> T:
        if self.gone:
            raise Refused(Problem.NO_SUCH_MAILBOX, self.name)
        try:
            return await self._account.store.workers.run_in_lane(self._account.name, fn)
        except OSError as error:
            raise refusal(error) from error

    async def _run(self, fn: Callable[[], T]) -> T:
        try:
            return await self._account.store.workers.run(fn)
        except OSError as error:
            raise refusal(error) from error


def _uids(uids: Sequence[int]) -> tuple[Uid, ...]:
    return tuple(Uid(uid) for uid in uids)


def _merged(known: list[int], added: list[int]) -> list[int]:
    if not known or added[0] > known[-1]:
        return known + added
    merged = list(known)
    for uid in added:  # a file that came back: rare
        merged.insert(bisect_left(merged, uid), uid)
    return merged
