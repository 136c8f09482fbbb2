"""The store as sessions see it: implements `ports.MailStore` and `ports.AccountStore`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TypeVar

from twisted.internet.defer import Deferred, gatherResults

from mailstack.arrivals import Witness
from mailstack.errors import Problem, Refused
from mailstack.ports import (
    ALL_FLAGS,
    AccountName,
    Appended,
    Blob,
    Columns,
    Copied,
    Delivery,
    Flag,
    Log,
    MailboxEntry,
    MailboxGone,
    MailboxListener,
    MailboxStatus,
    NewMessage,
    Uid,
)  # fmt: skip
from mailstack.quota import Quota, QuotaLimit
from mailstack.store.account_directory import directory_of
from mailstack.store.annotations import StoredAnnotations
from mailstack.store.background import Background
from mailstack.store.hub import Hub
from mailstack.store.index import TEXTS_FILE, AccountIndex, Indexes
from mailstack.store.mailbox import OpenMailbox
from mailstack.store.maildir import access_keys, change, counted, layout
from mailstack.store.maildir import account as account_files
from mailstack.store.maildir.attributes import SERVER_FILE, AttributeFile
from mailstack.store.maildir.deliver import Directories, deliver
from mailstack.store.maildir.folder import FolderFiles
from mailstack.store.maildir.layout import DELIMITER, INBOX, OTHER_USERS, Folder
from mailstack.store.maildir.locks import Mark
from mailstack.store.maildir.names import UniqueNames
from mailstack.store.quota import Ledger, Quotas
from mailstack.store.sole_owner import SoleOwner
from mailstack.store.spool import FileSpool, StoredBlob, refusal
from mailstack.store.watch import Watch
from mailstack.store.workers import Workers

T = TypeVar("T")

PATHS = 4096
"""Accounts whose directory is remembered."""


class Store:
    """All accounts below `<data>/mail`, the spool in `<data>/spool`."""

    def __init__(
        self, data: Path, workers: Workers, log: Log, watch: Watch | None = None, *, texts: bool = False
    ) -> None:
        self.workers = workers
        self.watch = watch
        """Tells what other programs do; without it mailboxes are looked at when they are asked for."""
        self.log = log
        self.mail_path = data / "mail"
        self.spool_path = data / "spool"
        self.attributes = AttributeFile(data / SERVER_FILE)
        """What is annotated to the server for all users."""
        self.hub = Hub(self._dropped)
        self.witness: Witness | None = None
        """Who hears of everything that comes."""
        self.indexes = Indexes(log)
        self.texts: Indexes | None = None
        """What is kept of messages' texts, where that is wanted."""
        self.keep_texts(texts)
        self.background: Background | None = None
        """Fills indexes while nobody waits, if that is wanted."""
        self.quotas = Quotas(log)
        self.names = UniqueNames()
        self.directories = Directories()
        self.mark = Mark(data)
        """What locks are made of."""
        self.spool = FileSpool(self.spool_path, workers)
        self._accounts: dict[AccountName, StoredAccount] = {}
        self._counting: set[AccountName] = set()
        self.path_of = lru_cache(PATHS)(self._path_of)
        """The account's directory; remembered, since making and hashing a Path costs 10 µs a delivery."""
        for path in (self.mail_path, self.spool_path):
            layout.make_directory(path)

    def keep_texts(self, wanted: bool) -> None:
        """Whether texts are kept from now on. What is kept already stays on disk."""
        if self.texts is not None and not wanted:
            self.texts.close()
            self.texts = None
        elif self.texts is None and wanted:
            self.texts = Indexes(self.log, TEXTS_FILE)

    async def account(self, name: AccountName) -> StoredAccount:
        known = self._accounts.get(name)
        if known is None:
            found = StoredAccount(self, name, self.path_of(name))
            await found.in_lane(partial(account_files.prepare, found.path))
            known = self._accounts.setdefault(name, found)
        return known

    def forget(self, name: AccountName) -> None:
        """The account's directory is gone."""
        self._accounts.pop(name, None)
        for indexes in (self.indexes, self.texts):
            if indexes is not None:
                indexes.drop(self.path_of(name))

    async def deliver(self, blob: Blob, deliveries: Sequence[Delivery]) -> Sequence[Problem | None]:
        assert isinstance(blob, StoredBlob), "a blob of this store's own spool"
        run = self.workers.run
        jobs = [run(partial(self._deliver, blob, delivery)) for delivery in deliveries]
        outcomes: list[Problem | None] = []
        for delivery, job in zip(deliveries, jobs, strict=True):
            problem, mailbox, name = await job
            outcomes.append(problem)
            if problem is None:
                watched = self.hub.watched(delivery.account, mailbox)
                if watched is not None:
                    watched.noticed()
                if self.witness is not None:
                    self.witness.arrived(delivery.account, mailbox, name, delivery.arrival)
            self._count_when_due(delivery.account)
        return outcomes

    async def quota(self, account: AccountName) -> Quota:
        limits = self.quotas.limits
        limits.refresh()
        if not limits.knows(account):
            raise Refused(Problem.NO_SUCH_ACCOUNT, account)
        limit = limits.limit(account)
        if not limit:
            return Quota(0, 0, limit)  # nobody counts, and it would be shown nowhere
        return await self._counted(account, recalculate=False)

    async def set_quota(self, account: AccountName, limit: QuotaLimit) -> Quota:
        self.quotas.limits.set_limit(account, limit)
        return await self._counted(account, recalculate=True)  # nobody counted while there was no limit

    async def _counted(self, account: AccountName, *, recalculate: bool) -> Quota:
        ledger = self.quotas.ledger(account, self.path_of(account))
        try:
            return await self.workers.run(ledger.recalculate if recalculate else ledger.quota)
        except OSError as error:
            raise refusal(error) from error

    async def access_key(self, account: AccountName, name: str) -> bytes | None:
        try:
            found = await self.workers.run(partial(access_keys.keys, self.path_of(account)))
        except OSError as error:
            raise refusal(error) from error
        return found.get(layout.normalise(name))

    async def has_room(self, account: AccountName, octets: int, *, delivery: bool = True) -> bool:
        if not self.quotas.limit(account):
            return True
        ledger = self.quotas.ledger(account, self.path_of(account))
        known = ledger.at_hand(octets, delivery=delivery)
        if known is not None:
            return known
        try:
            return await self.workers.run(partial(ledger.has_room, octets, delivery=delivery))
        except OSError as error:
            raise refusal(error) from error

    def _count_when_due(self, account: AccountName) -> None:
        """Let the quota's books be checked in the background, which reads all directories of the account."""
        if not self.quotas.limit(account) or account in self._counting:
            return
        ledger = self.quotas.ledger(account, self.path_of(account))
        if ledger.is_due:
            self._counting.add(account)
            Deferred.fromCoroutine(self._count(account, ledger))

    async def _count(self, account: AccountName, ledger: Ledger) -> None:
        try:
            await self.workers.run_in_lane(account, ledger.check)
        except Exception:
            self.log.failure("quota not counted", account=account)
        finally:
            self._counting.discard(account)

    async def close(self) -> None:
        """Save what makes the next start quick, and give back what is open. The workers are closed by who
        made them, afterwards."""
        await gatherResults([Deferred.fromCoroutine(self._save(mailbox)) for mailbox in self.hub.all()])
        self.indexes.close()
        self.keep_texts(False)
        self.directories.clear()
        self.mark.close()
        self.quotas.close()
        if self.watch is not None:
            self.watch.close()

    def _dropped(self, mailbox: OpenMailbox) -> None:
        Deferred.fromCoroutine(self._save(mailbox)).addBoth(lambda _: mailbox.forget())

    async def _save(self, mailbox: OpenMailbox) -> None:
        try:
            await mailbox.save()
        except Refused as refused:
            self.log.warning("mailbox not saved in the index", mailbox=mailbox.name, reason=str(refused))

    def _path_of(self, account: AccountName) -> Path:
        return self.mail_path / directory_of(account)

    def _deliver(self, blob: StoredBlob, delivery: Delivery) -> tuple[Problem | None, str, str]:
        """In a worker: one copy. Returns the mailbox that got it, and the name of its file."""
        name = delivery.account
        try:
            if not self.quotas.limit(name):
                return None, *self._put(blob, delivery)
            size = len(delivery.prefix) + blob.size
            ledger = self.quotas.ledger(name, self.path_of(name))
            with ledger.booked(size, 1, delivery=True, enforce=not delivery.over_quota):
                return None, *self._put(blob, delivery)
        except OSError as error:
            refused = refusal(error)
            self.log.warning("delivery failed", account=name, reason=refused.detail)
        except Refused as problem:
            refused = problem
            if refused.problem is not Problem.OVER_QUOTA:  # which is no trouble of ours
                self.log.warning("delivery failed", account=name, reason=str(refused))
        return refused.problem, delivery.mailbox, ""

    def _put(self, blob: StoredBlob, delivery: Delivery) -> tuple[str, str]:
        """Raises: OSError, Refused."""
        account = self.path_of(delivery.account)
        name, path = INBOX, account
        if delivery.mailbox != INBOX:
            place = layout.folder(account, delivery.mailbox)
            if place.exists:
                name, path = place.name, place.path
        parts = (delivery.prefix, *blob.chunks)
        size = len(delivery.prefix) + blob.size
        try:
            return name, deliver(self.directories, path, self.names, parts, blob.fd, size, blob.start)
        except FileNotFoundError:
            layout.make(Folder(INBOX, account))
            self.directories.forget(path)
            return INBOX, deliver(self.directories, account, self.names, parts, blob.fd, size, blob.start)


class StoredAccount:
    """Implements `ports.AccountStore`."""

    def __init__(self, store: Store, name: AccountName, path: Path) -> None:
        self.store = store
        self.name = name
        self.path = path
        self.ledger = store.quotas.ledger(name, path)
        self.annotations = StoredAnnotations(self)
        self.access = SoleOwner(name)

    async def quota(self) -> Quota:
        self.store.quotas.limits.refresh()
        return await self.run(self.ledger.quota)

    async def access_key(self, name: str, *, renew: bool = False) -> bytes:
        mailbox = await self._mailbox(layout.normalise(name))
        return await self.in_lane(partial(access_keys.make, self.path, mailbox.name, renew=renew))

    async def forget_access_keys(self) -> None:
        await self.in_lane(partial(access_keys.forget, self.path))

    @property
    def index(self) -> AccountIndex:
        """What makes its mailboxes quick to open."""
        return self.store.indexes.get(self.path)

    @property
    def texts(self) -> AccountIndex | None:
        """What is kept of its messages' texts."""
        return None if self.store.texts is None else self.store.texts.get(self.path)

    @property
    def indexes(self) -> Sequence[AccountIndex]:
        """Both of them, as far as they are there."""
        return [self.index] if self.texts is None else [self.index, self.texts]

    async def mailboxes(self) -> Sequence[MailboxEntry]:
        return await self.run(self._list)

    def _list(self) -> list[MailboxEntry]:
        uses = account_files.special_uses(self.path)
        names = {place.name: True for place in layout.folders(self.path)}
        for name in list(names):
            parts = name.split(DELIMITER)
            for depth in range(1, len(parts)):
                names.setdefault(DELIMITER.join(parts[:depth]), False)
        ordered = [INBOX, *sorted(name for name in names if name != INBOX)]
        return [MailboxEntry(name, uses.get(name, ""), names[name]) for name in ordered]

    async def subscriptions(self) -> Collection[str]:
        return await self.run(partial(account_files.subscriptions, self.path))

    async def subscribe(self, name: str) -> None:
        normal = name if name.startswith(OTHER_USERS + DELIMITER) else layout.normalise(name)
        await self.in_lane(partial(self._subscribe, normal, True))

    async def unsubscribe(self, name: str) -> None:
        await self.in_lane(partial(self._subscribe, name, False))

    def _subscribe(self, name: str, wanted: bool) -> None:
        names = account_files.subscriptions(self.path)
        if wanted and name not in names:
            account_files.write_subscriptions(self.path, [*names, name])
        elif not wanted and name in names:
            account_files.write_subscriptions(self.path, [other for other in names if other != name])

    async def create(self, name: str, special_use: str = "") -> str:
        place = await self.in_lane(partial(account_files.create, self.path, name, special_use))
        return (await self._mailbox(place.name)).mailbox_id

    async def delete(self, name: str) -> None:
        self._renamed_away(await self.in_lane(partial(self._delete, name)))

    def _delete(self, name: str) -> str:
        place = layout.folder(self.path, name)
        mailbox_id = self.annotations.peek(name) if place.exists else ""
        normal = self.ledger.removing(place.path, partial(account_files.delete, self.path, name))
        if mailbox_id:
            self.annotations.dropped(mailbox_id)
        return normal

    async def rename(self, old: str, new: str) -> None:
        if layout.normalise(old) == INBOX:
            await self._move_out_of_inbox(new)
            return
        for before, _ in await self.in_lane(partial(account_files.rename, self.path, old, new)):
            self._renamed_away(before)

    async def _move_out_of_inbox(self, new: str) -> None:
        # RFC 9051 §6.3.6: the messages move, INBOX stays, its inferiors too.
        await self.create(new)
        await self.annotations.copy_from_inbox(new)
        inbox = await self._mailbox(INBOX)
        await inbox.move(inbox.uids, new, None)

    async def status(self, name: str, *, size: bool = True) -> MailboxStatus:
        mailbox = await self._mailbox(layout.normalise(name))
        if size:
            await mailbox.measure(mailbox.uids, dates=False)
        columns = mailbox.columns(mailbox.uids)
        seen, deleted = int(Flag.SEEN), int(Flag.DELETED)
        return MailboxStatus(
            messages=len(columns.uids),
            recent=mailbox.recent,
            unseen=sum(not value & seen for value in columns.flags),
            deleted=sum(value & deleted != 0 for value in columns.flags),
            size=sum(octets for octets in columns.sizes if octets > 0) if size else 0,
            uid_next=mailbox.uid_next,
            uid_validity=mailbox.uid_validity,
            mailbox_id=mailbox.mailbox_id,
            deleted_size=_size_of(columns, deleted) if size else 0,
            highest_modseq=mailbox.highest_modseq,
        )

    async def mailbox_id(self, name: str) -> str:
        """RFC 8474. Raises: Refused(NO_SUCH_MAILBOX)."""
        return (await self._mailbox(layout.normalise(name))).mailbox_id

    async def open(self, name: str, listener: MailboxListener) -> OpenMailbox:
        mailbox = await self._mailbox(layout.normalise(name))
        mailbox.listen(listener)
        self.store.hub.opened(self.name, mailbox)
        return mailbox

    async def append(self, name: str, messages: Sequence[NewMessage]) -> Appended:
        normal = layout.normalise(name)
        self.store.quotas.limits.refresh()
        incoming = [_incoming(message) for message in messages]
        target = self.store.hub.find(self.name, normal)
        if target is None or not target.is_looked_at:
            target = await self._mailbox(normal)
        try:
            uids = await target.append(incoming)
        except Refused as refused:
            if refused.problem is not Problem.STORE_UNAVAILABLE:
                raise
            now = await self._mailbox(normal)  # another program may have removed it, which this says
            if now is target:
                raise
            target = now
            uids = await target.append(incoming)
        self._witnessed(target, uids)
        return Appended(target.uid_validity, tuple(map(Uid, uids)))

    async def replace(
        self, source: OpenMailbox, uid: int, destination: str, message: NewMessage, by: MailboxListener | None
    ) -> Appended:
        """REPLACE's part of `ports.Mailbox`."""
        target = await self._mailbox(layout.normalise(destination))
        self.store.quotas.limits.refresh()
        incoming = _incoming(message)
        replace = partial(counted.replace, source.files, uid, target.files, incoming, self.store.names)
        placed, gone = await self.in_lane(replace)
        target.take(placed.found)
        source.take(gone, by)
        self._witnessed(target, placed.uids)
        return Appended(target.uid_validity, tuple(map(Uid, placed.uids)))

    async def take_copy(
        self, source: OpenMailbox, uids: Sequence[int], destination: str, *, moving: bool = False, keep: int = ALL_FLAGS
    ) -> Copied:
        """Copies of messages, of this account or another one's, into a mailbox of this one."""
        target = await self._mailbox(layout.normalise(destination))
        self.store.quotas.limits.refresh()
        copy = partial(counted.copy, source.files, uids, target.files, self.store.names, moving=moving, keep=keep)
        with target.heedless(len(uids)):
            placed = await self.in_lane(copy)
            target.take(placed.found)
        self._witnessed(target, placed.uids)
        return Copied(target.uid_validity, tuple(map(Uid, placed.sources)), tuple(map(Uid, placed.uids)))

    def _witnessed(self, mailbox: OpenMailbox, uids: Sequence[int]) -> None:
        if self.store.witness is not None:
            for uid in uids:
                name = mailbox.files.rows.name_of(uid)
                if name is not None:
                    self.store.witness.arrived(self.name, mailbox.name, name, None)

    def closed(self, mailbox: OpenMailbox) -> None:
        """The last session closed it."""
        self.store.hub.closed(self.name, mailbox)

    async def _mailbox(self, name: str) -> OpenMailbox:
        """The mailbox as it is now. An account whose directory somebody removed is a new one.
        Raises: Refused(NO_SUCH_MAILBOX)."""
        try:
            return await self._refreshed(name)
        except Refused as refused:
            if name != INBOX or refused.problem is not Problem.NO_SUCH_MAILBOX:
                raise
        await self.in_lane(partial(account_files.prepare, self.path))
        return await self._refreshed(name)

    async def _refreshed(self, name: str) -> OpenMailbox:
        mailbox = self.store.hub.find(self.name, name)
        if mailbox is None or mailbox.gone:
            place = await self.run(partial(layout.existing, self.path, name))
            mailbox = self.store.hub.find(self.name, name)
            if mailbox is None or mailbox.gone:
                mailbox = OpenMailbox(self, FolderFiles(self.path, place, self.store.log, self.ledger, self.store.mark))
                self.store.hub.remember(self.name, mailbox)
        await mailbox.refresh()
        if mailbox.gone:
            self.store.hub.drop(self.name, name)
            raise Refused(Problem.NO_SUCH_MAILBOX, name)
        return mailbox

    def _renamed_away(self, name: str) -> None:
        place = layout.folder(self.path, name)
        self.store.directories.forget(place.path)
        mailbox = self.store.hub.find(self.name, name)
        self.store.hub.drop(self.name, name)
        if mailbox is not None:
            mailbox.gone = True
            for listener in list(mailbox.listeners):
                listener.changed(MailboxGone())

    async def run(self, fn: Callable[[], T]) -> T:
        """In any worker. Raises: Refused."""
        try:
            return await self.store.workers.run(fn)
        except OSError as error:
            raise refusal(error) from error

    async def in_lane(self, fn: Callable[[], T]) -> T:
        """After everything else that changes this account. Raises: Refused."""
        try:
            return await self.store.workers.run_in_lane(self.name, fn)
        except OSError as error:
            raise refusal(error) from error


def _size_of(columns: Columns, flag: int) -> int:
    pairs = zip(columns.flags, columns.sizes, strict=True)
    return sum(octets for value, octets in pairs if value & flag and octets > 0)


def _incoming(message: NewMessage) -> change.Incoming:
    assert isinstance(message.blob, StoredBlob), "a blob of this store's own spool"
    return change.Incoming(message.blob, message.flags, message.internal_date)
