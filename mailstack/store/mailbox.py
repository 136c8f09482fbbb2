"""An open mailbox: one object a process, shared by the sessions that have it open.

Columns (UIDs, flags, sizes, dates) belong to the reactor's thread and are read without waiting. Files
belong to the account's lane. Between them go `Differences`: values, applied in the lane's order."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, TypeVar, cast

from twisted.internet.defer import Deferred

from mailstack.acl import ALL_RIGHTS
from mailstack.errors import Problem, Refused
from mailstack.ports import (
    ALL_FLAGS,
    TEXT_ITEM,
    AccountStore,
    Added,
    Appended,
    Change,
    Columns,
    Copied,
    Expunged,
    FlagAction,
    Flags,
    FlagsChanged,
    MailboxGone,
    MailboxListener,
    NewMessage,
    Octets,
    Uid,
    Wanted,
)  # fmt: skip
from mailstack.store.appends import Appends
from mailstack.store.columns import NO_DATE, UNKNOWN, MessageColumns
from mailstack.store.contents import Contents
from mailstack.store.derived import Derived, Foreseen, looked_through, pieces
from mailstack.store.maildir import change, counted, names
from mailstack.store.maildir.change import Incoming, Unchanged
from mailstack.store.maildir.differences import Differences, Hints
from mailstack.store.maildir.folder import FolderFiles
from mailstack.store.maildir.sync import sync
from mailstack.store.snapshots import NOTHING, restore, take
from mailstack.store.spool import refusal
from mailstack.store.watch import Watched, heedless

if TYPE_CHECKING:
    from mailstack.store.api import StoredAccount

T = TypeVar("T")

AT_ONCE = 2000
"""Messages that are measured, renamed or removed in one visit to a worker: others have their turn."""
WORTH_KEEPING = 100
"""Messages of a mailbox from which on what is made of them is kept: fewer are quickly read again."""


class OpenMailbox:
    """Implements `ports.Mailbox`."""

    def __init__(self, account: StoredAccount, files: FolderFiles) -> None:
        self.name = files.folder.name
        self.uid_validity = 0
        self.uid_next = 1
        self.highest_modseq = 1
        self.mailbox_id = ""
        self.files = files
        self.gone = False
        self.rights = ALL_RIGHTS
        self.is_shared = False
        self._account = account
        self._columns = MessageColumns()
        self._keywords: tuple[str, ...] = ()
        self._recent: set[int] = set()
        self._listeners: list[MailboxListener] = []
        self._appends = Appends(account, self)
        self._contents = Contents(files, account.store.spool_path)
        self._refreshing = False
        self._more = False
        """Whether something was noticed since the last look began."""
        self._looking = 0
        """Looks that are under way in the lane."""
        self._watched: Watched | None = None
        self._begun = False
        self._unsaved = False
        self._expunged: list[int] = []
        """UIDs of which the index need not keep anything any more."""
        self._stale = False
        """Whether what the index keeps may be of other messages."""
        self._kept: dict[bool, Derived] = {}
        """What is kept of messages, and by True of their texts."""
        self._foreseen = Foreseen()

    # --- what memory knows

    @property
    def uids(self) -> Sequence[int]:
        return self._columns.uids

    @property
    def is_looked_at(self) -> bool:
        """Whether it was there when it was last looked at."""
        return self._begun and not self.gone

    @property
    def keeps_texts(self) -> bool:
        return self._account.texts is not None

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

    def columns(self, uids: Sequence[int]) -> Columns:
        return self._columns.select(uids)

    def flags(self, uid: int) -> int | None:
        row = self._columns.row(uid)
        return None if row < 0 else self._columns.flags[row]

    def size(self, uid: int) -> int | None:
        row = self._columns.row(uid)
        return None if row < 0 or self._columns.sizes[row] == UNKNOWN else self._columns.sizes[row]

    def internal_date(self, uid: int) -> float | None:
        row = self._columns.row(uid)
        return None if row < 0 or self._columns.dates[row] == NO_DATE else self._columns.dates[row]

    def save_date(self, uid: int) -> int | None:
        name = self.files.rows.name_of(uid)
        return None if name is None else names.second(name)

    def since(self, modseq: int) -> int:
        return modseq if modseq == self.highest_modseq else self._columns.since(modseq)

    def vanished(self, modseq: int) -> Sequence[int] | None:
        return self._columns.history.after(modseq)

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
                self._contents.close()
                self._account.closed(self)

    # --- what others did

    def noticed(self) -> None:
        """The watch saw something. Nobody need know before the next command, unless somebody has it open."""
        self._more = True
        if self._listeners and not self._refreshing:
            Deferred.fromCoroutine(self._poke()).addErrback(self._poke_failed)

    async def _poke(self) -> None:
        """Look once for all that happens meanwhile."""
        self._refreshing = True
        try:
            while self._more and not self.gone:
                self._more = False
                await self.refresh()
        finally:
            self._refreshing = False

    def _poke_failed(self, failure: object) -> None:
        # The next command looks again.
        self.files.log.warning("mailbox not refreshed", mailbox=self.name, reason=str(failure))

    async def refresh(self) -> None:
        if self.gone:
            return
        if not self._begun:
            await self._begin()
            return
        watched = self._watched
        if watched is not None and watched.paused:
            return
        self._drain()
        if watched is None or not watched.descriptors:
            hints, wanted = None, self.files.changed()
        else:
            wanted = bool(watched.hints) or self.files.lost or self.files.uidlist_changed()
            hints = watched.take() if wanted else None
        if wanted and not self.gone:
            await self._look(hints)
        elif self._looking and not self.gone:
            await self._in_lane(lambda: None)  # what is found there has then been told

    def _drain(self) -> None:
        """Let the watch tell; who calls this looks by himself."""
        if self._account.store.watch is not None and self._watched is not None:
            refreshing, self._refreshing = self._refreshing, True
            self._account.store.watch.drain()
            self._refreshing = refreshing

    async def _look(self, hints: Hints | None) -> None:
        self._looking += 1
        try:
            found = await self._in_lane(partial(sync, self.files, hints))
        finally:
            self._looking -= 1
        self.take(found)

    async def _begin(self) -> None:
        """The first look: from the index as far as that is true, then at the files."""
        if self._account.store.watch is not None and self._watched is None:
            self._watched = self.files.watch = self._account.store.watch.add(self.files.path, self)
        index = self._account.index

        def first() -> tuple[MessageColumns | None, Differences]:
            columns = None if self._begun else restore(self.files, index)
            return columns, sync(self.files)

        columns, found = await self._in_lane(first)
        if not self._begun:
            self._begun = True
            if columns is not None:
                self._columns = columns
            else:
                self._columns.history.since = self.files.modseqs.last
            self.highest_modseq = self._columns.flips.since = max(self.files.modseqs.last, 1)
        self.take(found)

    async def save(self) -> None:
        """Keep what is known in the account's index, so that the next opening need not find it out."""
        if self.gone or not self._unsaved:
            return
        self._unsaved = False
        watch, watched = self._account.store.watch, self._watched
        told = watch is not None and watched is not None and bool(watched.descriptors)
        if watch is not None and told:
            watch.drain()
        columns = self._columns.copy()
        snapshot = await self._in_lane(partial(take, self.files, columns, watched=told and not self._hinted))
        if watch is not None and told:
            watch.drain()
        if snapshot is None:
            self._unsaved = True
            return
        if told and self._hinted:
            snapshot.stamps = NOTHING
        index, guid, validity = self._account.index, self.mailbox_id, self.uid_validity
        await self._run(partial(index.save, guid, validity, snapshot))
        if self._expunged:
            gone, self._expunged = self._expunged, []
            for one in self._account.indexes:
                await self._run(partial(one.forget, guid, validity, gone))

    @property
    def _hinted(self) -> bool:
        return self._watched is not None and bool(self._watched.hints)

    def forget(self) -> None:
        """It is not kept any more."""
        watched, self._watched = self._watched, None
        if watched is not None and self._account.store.watch is not None:
            self._account.store.watch.remove(watched)
        self.files.watch = None

    async def measure(self, uids: Sequence[int], *, dates: bool = True) -> None:
        wanted = self._columns.unmeasured(uids, dates=dates)
        for start in range(0, len(wanted), AT_ONCE):
            piece = wanted[start : start + AT_ONCE]
            for found in await self._run(partial(self._contents.measured_all, piece, dates)):
                self._columns.measured(*found)
            self._unsaved = True

    # --- what sessions do

    async def store_flags(
        self,
        uids: Collection[int],
        action: FlagAction,
        flags: Flags,
        by: MailboxListener | None,
        *,
        unchanged_since: int | None = None,
    ) -> Sequence[int]:
        failed: list[int] = []
        if unchanged_since is not None:
            await self.refresh()  # what others did until now is not unchanged
        with self.heedless(len(uids)), self.files.lately.asking():
            for piece in pieces(list(uids), AT_ONCE):
                test = None if unchanged_since is None else self._unchanged(piece, unchanged_since)
                done = await self._in_lane(partial(change.store_flags, self.files, piece, action, flags, test))
                failed += done.failed
                self.take(done, by)
        return sorted(failed)

    def _unchanged(self, uids: Sequence[int], modseq: int) -> Unchanged:
        """What UNCHANGEDSINCE asks of these messages, as far as it is known before the lane is reached."""
        found = self._columns.select(sorted(uids))
        since = self.since(modseq)  # what a client that was told `modseq` elsewhere may not know
        changed = [
            uid for uid, value in zip(found.uids, found.modseqs, strict=True) if value > since and value != modseq
        ]
        flips = self._columns.flips.above(since) if changed else {}
        return Unchanged(modseq, {uid: flips.get(uid, ALL_FLAGS) for uid in changed}, self.highest_modseq)

    def heedless(self, count: int) -> AbstractContextManager[object]:
        """As `watch.heedless`."""
        return heedless(self._account.store.watch, self._watched, count, len(self._columns))

    async def copy(
        self, uids: Collection[int], destination: str, *, into: AccountStore | None = None, keep: int = ALL_FLAGS
    ) -> Copied:
        return await self._target(into).take_copy(self, sorted(uids), destination, keep=keep)

    async def move(
        self, uids: Collection[int], destination: str, by: MailboxListener | None, *, into: AccountStore | None = None,
        keep: int = ALL_FLAGS,
    ) -> Copied:  # fmt: skip
        target = self._target(into)
        within = target is self._account
        copied = await target.take_copy(self, sorted(uids), destination, moving=within, keep=keep)
        await self.expunge(copied.source, by)
        return copied

    async def append(self, messages: Sequence[Incoming]) -> list[int]:
        """Store the messages of one command, all or none; their UIDs. Raises: Refused."""
        watch = self._account.store.watch
        with nullcontext() if watch is None or self._watched is None else watch.unhurried():
            return await self._appends.append(messages)

    async def replace(self, uid: int, destination: str, message: NewMessage, by: MailboxListener | None) -> Appended:
        return await self._account.replace(self, uid, destination, message, by)

    async def expunge(self, uids: Collection[int], by: MailboxListener | None) -> Sequence[int]:
        removed: list[int] = []
        with self.heedless(len(uids)):
            for piece in pieces(sorted(uids), AT_ONCE):
                done = await self._in_lane(partial(counted.expunge, self.files, piece))
                removed += done.vanished
                self.take(done, by)
        return removed

    async def examine(self, uids: Sequence[int], fn: Callable[[Octets], T]) -> list[T | None]:
        def work() -> list[T | None]:
            return [None if (octets := self._contents.octets(uid)) is None else fn(octets) for uid in uids]

        return await self._run(work)

    async def derive(self, uids: Sequence[int], item: str, fn: Callable[[Octets], bytes]) -> list[bytes | None]:
        return (await self.derive_each(uids, ((item, fn),)))[0]

    async def derive_each(
        self, uids: Sequence[int], items: Sequence[tuple[str, Callable[[Octets], bytes]]]
    ) -> list[list[bytes | None]]:
        if len(self._columns) < WORTH_KEEPING:
            made = await self.examine(uids, lambda octets: [fn(octets) for _, fn in items])
            return [[None if each is None else each[i] for each in made] for i in range(len(items))]
        derived, each = await self._derived(items[0][0]), dict(items)
        values = dict(zip(each, await derived.values(self._run, uids, each), strict=True))
        return [values[name] for name, _ in items]

    async def grep(
        self, uids: Sequence[int], item: str, fn: Callable[[Octets], bytes], wanted: Wanted
    ) -> Sequence[int]:
        uids = self._columns.select(uids).uids
        if len(self._columns) >= WORTH_KEEPING:
            return await (await self._derived(item)).grep(self._run, uids, item, fn, wanted)
        return await looked_through(self.examine, uids, fn, wanted)

    async def _derived(self, item: str) -> Derived:
        """What is kept of this mailbox's messages under such names."""
        large = self._account.texts if item.startswith(TEXT_ITEM) else None
        index, guid, validity = large or self._account.index, self.mailbox_id, self.uid_validity
        if self._stale:
            self._stale = False
            for one in self._account.indexes:
                await self._run(partial(one.forget_all, guid, validity))
        known = self._kept.get(bool(large))
        if known is None or known.index is not index:
            known = self._kept[bool(large)] = Derived(index, guid, validity, self._contents.octets, texts=bool(large))
        return known

    async def kept(self, uids: Sequence[int], item: str) -> list[bytes | None]:
        if len(self._columns) < WORTH_KEEPING or self._stale:
            return [None] * len(uids)
        found = await self._run(partial(self._account.index.derived, self.mailbox_id, self.uid_validity, item, uids))
        return [found.get(uid) for uid in uids]

    def foresee(self, items: Mapping[str, Callable[[Octets], bytes]]) -> None:
        self._foreseen.add(items)
        self._look_ahead()

    def _look_ahead(self) -> None:
        """Let what is foreseen be made of messages that are new, if that is wanted."""
        if self._account.store.background is not None and self._foreseen.lacks(self._columns.uids):
            self._account.store.background.want(self)

    async def fill(self, seconds: float) -> tuple[int, bool]:
        """Make some of what is foreseen, for about so long; of how many messages, and whether there is more."""
        uids, foreseen = self._foreseen.first(self._columns.uids), self._foreseen
        remembered = self._account.store.hub.find(self._account.name, self.name) is self
        if self.gone or not remembered or not uids or len(self._columns) < WORTH_KEEPING:
            return 0, False
        derived = await self._derived("")
        done = await self._run(partial(derived.fill, uids, foreseen.items, seconds))
        foreseen.filled = done.last
        return done.messages, done.kept and self._foreseen.lacks(self._columns.uids)

    async def compute(self, fn: Callable[[], T]) -> T:
        return await self._run(fn)

    async def read(self, uid: int, start: int, end: int) -> bytes | None:
        def work() -> bytes | None:
            octets = self._contents.octets(uid)
            return None if octets is None else octets[start:end]

        return await self._run(work)

    # --- inside

    def _target(self, into: AccountStore | None) -> StoredAccount:
        """The account that copies go to: one of this store, whose accounts all look alike."""
        return self._account if into is None else cast("StoredAccount", into)

    def take(self, found: Differences, by: MailboxListener | None = None) -> None:
        """Bring the columns up to date and tell the sessions.
        Raises: Refused for what kept it from being everything."""
        self._apply(found, by)
        if isinstance(found.error, OSError):
            raise refusal(found.error) from found.error
        if found.error is not None:
            raise found.error

    def _apply(self, found: Differences, by: MailboxListener | None) -> None:
        self._unsaved = self._unsaved or bool(found)
        uidlist = self.files.uidlist
        self.uid_validity, self.uid_next, self.mailbox_id = uidlist.validity, uidlist.next_uid, uidlist.guid
        self._keywords = tuple(self.files.keywords)
        self.highest_modseq = max(found.modseq, self.highest_modseq, 1)
        self.files.lately.applied(self.highest_modseq)
        if found.reset or found.gone:
            self._columns = MessageColumns()
            self._columns.history.since = self._columns.flips.since = found.modseq
            self._recent.clear()
            self._contents.renew()
            self._stale, self._kept, self._foreseen = True, {}, Foreseen(self._foreseen.items)
            self.gone = found.gone
            self._tell(MailboxGone())
        if found.vanished and (vanished := self._columns.remove(found.vanished, found.modseq)):
            self._recent.difference_update(vanished)
            self._expunged += vanished
            self._contents.forget(vanished)
            self._tell(Expunged(tuple(map(Uid, vanished)), by))
        added = self._columns.add(found.added, found.added_flags, found.modseq)
        if added:
            self._recent |= found.recent
            self._tell(Added(tuple(map(Uid, added))))
            self._look_ahead()
        if found.changed:
            self._apply_flags(found, by)

    def _apply_flags(self, found: Differences, by: MailboxListener | None) -> None:
        changed = self._columns.change(found.changed, found.modseq)
        others = set(found.others)
        for which, who in (([uid for uid in changed if uid not in others], by), (sorted(others & set(changed)), None)):
            if which:
                self._tell(FlagsChanged(tuple(map(Uid, which)), who))

    def _tell(self, what: Change) -> None:
        for listener in list(self._listeners):
            listener.changed(what)

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
