"""Mailboxes and accounts in memory, faithful to the ports: UIDs, listeners, copies, quotas."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import TypeVar

from mailstack.acl import ALL_RIGHTS
from mailstack.errors import Problem, Refused
from mailstack.ports import (
    ALL_FLAGS,
    FIRST_KEYWORD,
    MAX_KEYWORDS,
    MEMORY_LIMIT,
    AccountName,
    AccountStore,
    Added,
    Appended,
    Change,
    Columns,
    Copied,
    Expunged,
    Flag,
    FlagAction,
    Flags,
    FlagsChanged,
    MailboxEntry,
    MailboxGone,
    MailboxListener,
    MailboxStatus,
    NewMessage,
    Octets,
    Uid,
    Wanted,
)
from mailstack.quota import Quota, QuotaLimit
from mailstack.store.sole_owner import SoleOwner
from mailstack.testing.annotations import MemoryAnnotations
from mailstack.testing.mailbox_names import canonical, checked
from mailstack.testing.spool import octets_of

T = TypeVar("T")

NOBODY = AccountName("")
SPECIAL_USE = {"Drafts": "\\Drafts", "Junk": "\\Junk", "Sent": "\\Sent", "Trash": "\\Trash"}
"""What a new account has besides INBOX."""
DEFAULT_DATE = 1_700_000_000.0
"""The internal date of messages that are given none, so that tests can name it."""


@dataclass(slots=True)
class MemoryMessage:
    """One message of a mailbox."""

    octets: bytes
    flags: int
    internal_date: float
    modseq: int
    recent: bool = True


class MemoryMailbox:
    """Implements `ports.Mailbox`, and is the mailbox itself: all sessions get this object."""

    def __init__(self, account: MemoryAccountStore, name: str, mailbox_id: str, uid_validity: int) -> None:
        self.name = name
        self.mailbox_id = mailbox_id
        self.uid_validity = uid_validity
        self.uid_next = 1
        self.highest_modseq = 1
        self.special_use = ""
        self._vanished: dict[int, int] = {}
        self._flips: list[tuple[int, int, int]] = []
        self.messages: dict[int, MemoryMessage] = {}
        self.listeners: list[MailboxListener] = []
        self.read_only = False
        self.rights = ALL_RIGHTS
        self.is_shared = False
        self.foreseen: dict[str, Callable[[Octets], bytes]] = {}
        """What sessions said that they will ask for."""
        self.keeps_texts = False
        self._account = account
        self._uids: tuple[int, ...] | None = ()  # None when it has to be made anew
        self._keywords: list[str] = []

    # --- known without waiting

    @property
    def uids(self) -> Sequence[int]:
        if self._uids is None:
            self._uids = tuple(self.messages)
        return self._uids

    @property
    def keywords(self) -> Sequence[str]:
        return self._keywords

    def columns(self, uids: Sequence[int]) -> Columns:
        present = [uid for uid in uids if uid in self.messages]
        found = [self.messages[uid] for uid in present]
        return Columns(
            present,
            [message.flags for message in found],
            [message.modseq for message in found],
            [len(message.octets) for message in found],
            [int(message.internal_date) for message in found],
        )

    def flags(self, uid: int) -> int | None:
        message = self.messages.get(uid)
        return None if message is None else message.flags

    def size(self, uid: int) -> int | None:
        message = self.messages.get(uid)
        return None if message is None else len(message.octets)

    def internal_date(self, uid: int) -> float | None:
        message = self.messages.get(uid)
        return None if message is None else int(message.internal_date)

    def save_date(self, uid: int) -> int | None:
        return int(DEFAULT_DATE) if uid in self.messages else None

    def since(self, modseq: int) -> int:
        return modseq

    def vanished(self, modseq: int) -> Sequence[int] | None:
        return sorted(uid for uid, when in self._vanished.items() if when > modseq)

    def claim_recent(self) -> frozenset[int]:
        recent = frozenset(uid for uid, message in self.messages.items() if message.recent)
        for uid in recent:
            self.messages[uid].recent = False
        return recent

    # --- what takes a worker in the real store

    async def measure(self, uids: Sequence[int], *, dates: bool = True) -> None:
        return None

    async def refresh(self) -> None:
        return None

    async def store_flags(
        self,
        uids: Collection[int],
        action: FlagAction,
        flags: Flags,
        by: MailboxListener | None,
        *,
        unchanged_since: int | None = None,
    ) -> Sequence[int]:
        if self.read_only:
            raise Refused(Problem.READ_ONLY, self.name)
        bits = self.bits(flags)
        changed: list[Uid] = []
        failed: list[int] = []
        test_and_set = unchanged_since == 0 and action is FlagAction.ADD and not flags.system
        for uid in sorted(uids):
            message = self.messages.get(uid)
            if message is None:
                continue
            old = message.flags
            if unchanged_since is not None and (
                old & bits if test_and_set else self._flipped(uid, unchanged_since, action, bits)
            ):  # fmt: skip
                failed.append(uid)
                continue
            match action:
                case FlagAction.REPLACE:
                    message.flags = bits
                case FlagAction.ADD:
                    message.flags = old | bits
                case FlagAction.REMOVE:
                    message.flags = old & ~bits
            if message.flags != old:
                changed.append(Uid(uid))
                self._flips.append((self.highest_modseq + 1, uid, message.flags ^ old))
        if changed:
            self.highest_modseq += 1
            for uid in changed:
                self.messages[uid].modseq = self.highest_modseq
            self.tell(FlagsChanged(tuple(changed), by))
        return failed

    def _flipped(self, uid: int, since: int, action: FlagAction, bits: int) -> bool:
        """Whether the flags that a conditional STORE is about may have changed since."""
        if self.messages[uid].modseq <= since:
            return False
        flips = [flipped for modseq, flipped_uid, flipped in self._flips if flipped_uid == uid and modseq > since]
        return action is FlagAction.REPLACE or not flips or any(flipped & bits for flipped in flips)

    async def copy(
        self, uids: Collection[int], destination: str, *, into: AccountStore | None = None, keep: int = ALL_FLAGS
    ) -> Copied:
        account = self._account if into is None else into
        assert isinstance(account, MemoryAccountStore), "an account of the same store"
        found = [self.messages[uid] for uid in uids if uid in self.messages]
        account.admit(sum(len(message.octets) for message in found), len(found))
        return self._copy(uids, destination, account, keep)

    def _copy(self, uids: Collection[int], destination: str, account: MemoryAccountStore, keep: int) -> Copied:
        target = account.find(destination)
        source = [uid for uid in sorted(uids) if uid in self.messages]
        found = [self.messages[uid] for uid in source]
        bits = [target.bits(self.names(message.flags, keep)) for message in found]  # may refuse: nothing is copied then
        made = [target.insert(m.octets, b, m.internal_date) for m, b in zip(found, bits, strict=True)]
        if made:
            target.tell(Added(tuple(made)))
        return Copied(target.uid_validity, tuple(Uid(uid) for uid in source), tuple(made))

    async def move(
        self, uids: Collection[int], destination: str, by: MailboxListener | None, *, into: AccountStore | None = None,
        keep: int = ALL_FLAGS,
    ) -> Copied:  # fmt: skip
        if into is None:
            copied = self._copy(uids, destination, self._account, keep)
        else:
            copied = await self.copy(uids, destination, into=into, keep=keep)
        await self.expunge(copied.source, by)
        return copied

    async def replace(
        self, uid: int, destination: str, message: NewMessage, by: MailboxListener | None
    ) -> Appended:  # fmt: skip
        if uid not in self.messages:
            raise Refused(Problem.NO_SUCH_MESSAGE, str(uid))
        appended = await self._account.append(destination, [message], instead_of=self.messages[uid])
        await self.expunge([uid], by)
        return appended

    async def expunge(self, uids: Collection[int], by: MailboxListener | None) -> Sequence[int]:
        if self.read_only:
            raise Refused(Problem.READ_ONLY, self.name)
        removed = tuple(Uid(uid) for uid in sorted(uids) if self.messages.pop(uid, None) is not None)
        if removed:
            self._uids = None
            self.highest_modseq += 1
            self._vanished.update(dict.fromkeys(removed, self.highest_modseq))
            self.tell(Expunged(removed, by))
        return removed

    async def examine(self, uids: Sequence[int], fn: Callable[[Octets], T]) -> list[T | None]:
        messages = [self.messages.get(uid) for uid in uids]
        return [None if message is None else fn(message.octets) for message in messages]

    async def derive(self, uids: Sequence[int], item: str, fn: Callable[[Octets], bytes]) -> list[bytes | None]:
        return await self.examine(uids, fn)

    async def derive_each(
        self, uids: Sequence[int], items: Sequence[tuple[str, Callable[[Octets], bytes]]]
    ) -> list[list[bytes | None]]:
        return [await self.derive(uids, item, fn) for item, fn in items]

    async def grep(
        self, uids: Sequence[int], item: str, fn: Callable[[Octets], bytes], wanted: Wanted
    ) -> Sequence[int]:
        values = await self.derive(uids, item, fn)
        return [uid for uid, value in zip(uids, values, strict=True) if value is not None and wanted.matches(value)]

    async def kept(self, uids: Sequence[int], item: str) -> list[bytes | None]:
        return [None] * len(uids)

    def foresee(self, items: Mapping[str, Callable[[Octets], bytes]]) -> None:
        self.foreseen = dict(items)

    async def compute(self, fn: Callable[[], T]) -> T:
        return fn()

    async def read(self, uid: int, start: int, end: int) -> bytes | None:
        assert end - start <= MEMORY_LIMIT, f"{end - start} octets at once; the limit is {MEMORY_LIMIT}"
        message = self.messages.get(uid)
        return None if message is None else message.octets[start:end]

    def close(self, listener: MailboxListener) -> None:
        self.listeners = [other for other in self.listeners if other is not listener]

    # --- for the store and for tests

    def insert(self, octets: bytes, bits: int = 0, internal_date: float = DEFAULT_DATE) -> Uid:
        """Add a message without telling anybody; `tell(Added((uid,)))` does."""
        uid = Uid(self.uid_next)
        self.uid_next += 1
        self.highest_modseq += 1
        self.messages[uid] = MemoryMessage(octets, bits, internal_date, self.highest_modseq)
        self._flips.append((self.highest_modseq, uid, -1))
        self._uids = None
        return uid

    def tell(self, change: Change) -> None:
        """Let every listener hear of it."""
        for listener in tuple(self.listeners):
            listener.changed(change)

    def bits(self, flags: Flags) -> int:
        """The bits of these flags here; new keywords get one. Raises: Refused(TOO_MANY_KEYWORDS)."""
        new = sorted(self._new_keywords(flags.keywords))
        if len(self._keywords) + len(new) > MAX_KEYWORDS:
            raise Refused(Problem.TOO_MANY_KEYWORDS, self.name)
        self._keywords.extend(new)
        number = {keyword.lower(): i for i, keyword in enumerate(self._keywords)}
        bits = int(flags.system)
        for keyword in flags.keywords:
            bits |= 1 << (FIRST_KEYWORD + number[keyword.lower()])
        return bits

    def _new_keywords(self, keywords: Iterable[str]) -> Collection[str]:
        known = {keyword.lower() for keyword in self._keywords}
        return {keyword.lower(): keyword for keyword in keywords if keyword.lower() not in known}.values()

    def names(self, bits: int, keep: int = ALL_FLAGS) -> Flags:
        """The flags that these bits mean here, as far as they are in `keep`."""
        keywords = bits if keep >> FIRST_KEYWORD & 1 else 0
        names = (name for i, name in enumerate(self._keywords) if keywords >> (FIRST_KEYWORD + i) & 1)
        return Flags(Flag(bits & keep & 0x1F), frozenset(names))

    def status(self) -> MailboxStatus:
        messages = self.messages.values()
        return MailboxStatus(
            messages=len(self.messages),
            recent=sum(message.recent for message in messages),
            unseen=sum(not message.flags & Flag.SEEN for message in messages),
            deleted=sum(bool(message.flags & Flag.DELETED) for message in messages),
            size=sum(len(message.octets) for message in messages),
            uid_next=self.uid_next,
            uid_validity=self.uid_validity,
            mailbox_id=self.mailbox_id,
            deleted_size=sum(len(message.octets) for message in messages if message.flags & Flag.DELETED),
            highest_modseq=self.highest_modseq,
        )


class MemoryAccountStore:
    """Implements `ports.AccountStore`. `problem`, when set, refuses APPEND; `limit` is the quota's."""

    def __init__(self, server: dict[str, bytes] | None = None, account: AccountName = NOBODY) -> None:
        self.access = SoleOwner(account)
        self.annotations = MemoryAnnotations(self, {} if server is None else server)
        self.boxes: dict[str, MemoryMailbox] = {}
        self.problem: Problem | None = None
        self.access_keys: dict[str, bytes] = {}
        self.limit = QuotaLimit()
        self._numbers = count(1)
        self._subscribed: set[str] = set()
        self._make("INBOX")
        for name, use in SPECIAL_USE.items():
            self._make(name).special_use = use

    async def access_key(self, name: str, *, renew: bool = False) -> bytes:
        name = self.find(name).name
        if renew or name not in self.access_keys:
            self.access_keys[name] = b"%d key of %b" % (next(self._numbers), name.encode())
        return self.access_keys[name]

    async def forget_access_keys(self) -> None:
        self.access_keys.clear()

    async def quota(self) -> Quota:
        return self.used()

    def used(self) -> Quota:
        """What all mailboxes use."""
        found = [message for box in self.boxes.values() for message in box.messages.values()]
        return Quota(sum(len(message.octets) for message in found), len(found), self.limit)

    def has_room(self, octets: int, messages: int) -> bool:
        used = self.used() if self.limit else Quota(0, 0, self.limit)
        return self.limit.takes(used.octets + octets, used.messages + messages)

    def admit(self, octets: int, messages: int) -> None:
        if not self.has_room(octets, messages):
            raise Refused(Problem.OVER_QUOTA)

    def find(self, name: str) -> MemoryMailbox:
        """Raises: Refused(NO_SUCH_MAILBOX)."""
        box = self.boxes.get(canonical(name))
        if box is None:
            raise Refused(Problem.NO_SUCH_MAILBOX, name)
        return box

    async def mailboxes(self) -> Sequence[MailboxEntry]:
        names = sorted(self.boxes, key=lambda name: (name != "INBOX", name))
        return [MailboxEntry(name, self.boxes[name].special_use) for name in names]

    async def subscriptions(self) -> Collection[str]:
        return frozenset(self._subscribed)

    async def subscribe(self, name: str) -> None:
        self._subscribed.add(canonical(name))

    async def unsubscribe(self, name: str) -> None:
        self._subscribed.discard(canonical(name))

    async def create(self, name: str, special_use: str = "") -> str:
        name = checked(name)
        if name in self.boxes:
            raise Refused(Problem.MAILBOX_EXISTS, name)
        self._make_superiors(name)
        box = self._make(name)
        box.special_use = special_use
        return box.mailbox_id

    async def delete(self, name: str) -> None:
        name = canonical(name)
        if name == "INBOX":
            raise Refused(Problem.CANNOT, name)
        if name not in self.boxes and any(other.startswith(name + "/") for other in self.boxes):
            raise Refused(Problem.MAILBOX_HAS_CHILDREN, name)
        box = self.find(name)
        del self.boxes[name]
        box.tell(MailboxGone())

    async def rename(self, old: str, new: str) -> None:
        old, new = canonical(old), checked(new)
        box = self.find(old)
        if new in self.boxes:
            raise Refused(Problem.MAILBOX_EXISTS, new)
        if new.startswith(old + "/") and old != "INBOX":
            raise Refused(Problem.BAD_MAILBOX_NAME, new)
        self._make_superiors(new)
        if old == "INBOX":
            self.annotations.copy(box.mailbox_id, self._make(new).mailbox_id)
            await box.move(box.uids, new, None)
            return
        for name in [name for name in self.boxes if name == old or name.startswith(old + "/")]:
            moved = self.boxes.pop(name)
            moved.name = new + name[len(old) :]
            self.boxes[moved.name] = moved
            moved.tell(MailboxGone())
            moved.listeners.clear()

    async def status(self, name: str, *, size: bool = True) -> MailboxStatus:
        found = self.find(name).status()
        return found if size else replace(found, size=0, deleted_size=0)

    async def open(self, name: str, listener: MailboxListener) -> MemoryMailbox:
        box = self.find(name)
        if all(other is not listener for other in box.listeners):
            box.listeners.append(listener)
        return box

    async def append(
        self, name: str, messages: Sequence[NewMessage], *, instead_of: MemoryMessage | None = None
    ) -> Appended:
        if self.problem is not None:
            raise Refused(self.problem)
        box = self.find(name)
        octets = sum(message.blob.size for message in messages)
        if instead_of is None:
            self.admit(octets, len(messages))
        elif octets > len(instead_of.octets):
            self.admit(octets - len(instead_of.octets), 0)
        bits = [box.bits(message.flags) for message in messages]
        uids = []
        for message, flags in zip(messages, bits, strict=True):
            date = DEFAULT_DATE if message.internal_date is None else message.internal_date
            uids.append(box.insert(octets_of(message.blob), flags, date))
        if uids:
            box.tell(Added(tuple(uids)))
        return Appended(box.uid_validity, tuple(uids))

    def _make_superiors(self, name: str) -> None:
        parts = name.split("/")
        for depth in range(1, len(parts)):
            superior = canonical("/".join(parts[:depth]))
            if superior not in self.boxes:
                self._make(superior)

    def _make(self, name: str) -> MemoryMailbox:
        number = next(self._numbers)
        box = MemoryMailbox(self, name, f"m{number}", 1000 + number)
        self.boxes[name] = box
        return box
