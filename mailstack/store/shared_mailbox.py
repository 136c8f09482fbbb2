"""An open mailbox as one user has it, his own or another's: implements `ports.Mailbox` over the one that is open."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from mailstack.acl import Rights, flag_mask
from mailstack.errors import Problem, Refused
from mailstack.ports import (
    ALL_FLAGS,
    FIRST_KEYWORD,
    AccountStore,
    Appended,
    Columns,
    Copied,
    Flag,
    FlagAction,
    Flags,
    Mailbox,
    MailboxListener,
    NewMessage,
    Octets,
    Wanted,
)

if TYPE_CHECKING:
    from mailstack.store.sharing import Place, SharingAccount

T = TypeVar("T")
SYSTEM = Flag.SEEN | Flag.ANSWERED | Flag.FLAGGED | Flag.DELETED | Flag.DRAFT


@dataclass(frozen=True, slots=True)
class Destination:
    """Where copies go: the mailbox, the account that has it if it is another one, the flags that they keep."""

    name: str
    into: AccountStore | None
    keep: int


class SharedMailbox:
    """Reads as the other one; changes what the user may change."""

    def __init__(self, account: SharingAccount, mailbox: Mailbox, place: Place, name: str) -> None:
        self.name = name
        self.rights: Rights = place.rights
        self.is_shared = not place.own
        self._account = account
        self._place = place
        self._of = mailbox

    # --- as it is

    @property
    def mailbox_id(self) -> str:
        return self._of.mailbox_id

    @property
    def uid_validity(self) -> int:
        return self._of.uid_validity

    @property
    def uid_next(self) -> int:
        return self._of.uid_next

    @property
    def highest_modseq(self) -> int:
        return self._of.highest_modseq

    @property
    def uids(self) -> Sequence[int]:
        return self._of.uids

    @property
    def keywords(self) -> Sequence[str]:
        return self._of.keywords

    @property
    def keeps_texts(self) -> bool:
        return self._of.keeps_texts

    def columns(self, uids: Sequence[int]) -> Columns:
        return self._of.columns(uids)

    def flags(self, uid: int) -> int | None:
        return self._of.flags(uid)

    def size(self, uid: int) -> int | None:
        return self._of.size(uid)

    def internal_date(self, uid: int) -> float | None:
        return self._of.internal_date(uid)

    def save_date(self, uid: int) -> int | None:
        return self._of.save_date(uid)

    def since(self, modseq: int) -> int:
        return self._of.since(modseq)

    def vanished(self, modseq: int) -> Sequence[int] | None:
        return self._of.vanished(modseq)

    async def measure(self, uids: Sequence[int], *, dates: bool = True) -> None:
        await self._of.measure(uids, dates=dates)

    async def examine(self, uids: Sequence[int], fn: Callable[[Octets], T]) -> list[T | None]:
        return await self._of.examine(uids, fn)

    async def derive(self, uids: Sequence[int], item: str, fn: Callable[[Octets], bytes]) -> list[bytes | None]:
        return await self._of.derive(uids, item, fn)

    async def derive_each(
        self, uids: Sequence[int], items: Sequence[tuple[str, Callable[[Octets], bytes]]]
    ) -> list[list[bytes | None]]:
        return await self._of.derive_each(uids, items)

    async def grep(
        self, uids: Sequence[int], item: str, fn: Callable[[Octets], bytes], wanted: Wanted
    ) -> Sequence[int]:
        return await self._of.grep(uids, item, fn, wanted)

    async def kept(self, uids: Sequence[int], item: str) -> list[bytes | None]:
        return await self._of.kept(uids, item)

    def foresee(self, items: Mapping[str, Callable[[Octets], bytes]]) -> None:
        self._of.foresee(items)

    async def compute(self, fn: Callable[[], T]) -> T:
        return await self._of.compute(fn)

    async def read(self, uid: int, start: int, end: int) -> bytes | None:
        return await self._of.read(uid, start, end)

    def close(self, listener: MailboxListener) -> None:
        self._of.close(listener)

    # --- as far as the user may

    def claim_recent(self) -> frozenset[int]:
        """Who may not mark a message as seen leaves it new for the others."""
        return self._of.claim_recent() if "s" in self.rights else frozenset()

    async def refresh(self) -> None:
        if not self._place.own:
            self.rights = await self._account.rights_now(self._place)
            if "r" not in self.rights:
                raise Refused(Problem.NO_SUCH_MAILBOX, f"{self.name}: may not be read any more")
        await self._of.refresh()

    async def store_flags(
        self,
        uids: Collection[int],
        action: FlagAction,
        flags: Flags,
        by: MailboxListener | None,
        *,
        unchanged_since: int | None = None,
    ) -> Sequence[int]:
        mask = flag_mask(self.rights)
        if mask == ALL_FLAGS:
            return await self._of.store_flags(uids, action, flags, by, unchanged_since=unchanged_since)
        allowed = self._allowed(flags, mask)
        others = self._allowed(Flags(SYSTEM, frozenset(self.keywords)), mask)
        if allowed == Flags() and (flags != Flags() or others == Flags()):
            raise Refused(Problem.NOT_PERMITTED, f"{self.name}: flags that may not be changed")
        if action is not FlagAction.REPLACE:
            return await self._of.store_flags(uids, action, allowed, by, unchanged_since=unchanged_since)
        named = {keyword.lower() for keyword in allowed.keywords}
        gone = frozenset(keyword for keyword in others.keywords if keyword.lower() not in named)
        failed = set(self._changed_since(uids, unchanged_since))
        removed = Flags(others.system & ~allowed.system, gone)
        rest = [uid for uid in uids if uid not in failed]
        failed |= {*await self._of.store_flags(rest, FlagAction.REMOVE, removed, by, unchanged_since=unchanged_since)}
        await self._of.store_flags([uid for uid in rest if uid not in failed], FlagAction.ADD, allowed, by)
        return sorted(failed)

    def _changed_since(self, uids: Collection[int], modseq: int | None) -> list[int]:
        """Those that fail UNCHANGEDSINCE whatever flags have changed, as REPLACE is about all of them."""
        if modseq is None:
            return []
        found, since = self._of.columns(sorted(uids)), self._of.since(modseq)
        pairs = zip(found.uids, found.modseqs, strict=True)
        return [uid for uid, value in pairs if value > since and value != modseq]

    def _allowed(self, flags: Flags, mask: int) -> Flags:
        keywords = flags.keywords if mask >> FIRST_KEYWORD & 1 else frozenset[str]()
        return Flags(Flag(int(flags.system) & mask), keywords)

    async def copy(
        self, uids: Collection[int], destination: str, *, into: AccountStore | None = None, keep: int = ALL_FLAGS
    ) -> Copied:
        to = await self._account.destination(destination, self._place.account)
        return await self._of.copy(uids, to.name, into=to.into, keep=to.keep & keep)

    async def move(
        self, uids: Collection[int], destination: str, by: MailboxListener | None, *, into: AccountStore | None = None,
        keep: int = ALL_FLAGS,
    ) -> Copied:  # fmt: skip
        if not self.rights >= {"e", "t"}:  # RFC 6851 §4.2: what STORE, COPY and EXPUNGE need
            raise Refused(Problem.NOT_PERMITTED, f"{self.name}: messages may not be removed")
        to = await self._account.destination(destination, self._place.account)
        return await self._of.move(uids, to.name, by, into=to.into, keep=to.keep & keep)

    async def replace(self, uid: int, destination: str, message: NewMessage, by: MailboxListener | None) -> Appended:
        if not self.rights >= {"e", "t"}:  # RFC 8508 §4.1
            raise Refused(Problem.NOT_PERMITTED, f"{self.name}: messages may not be removed")
        to = await self._account.destination(destination, self._place.account)
        kept = NewMessage(message.blob, self._allowed(message.flags, to.keep), message.internal_date)
        if to.into is None:
            return await self._of.replace(uid, to.name, kept, by)
        if self._of.flags(uid) is None:
            raise Refused(Problem.NO_SUCH_MESSAGE, f"UID {uid} is gone")
        appended = await to.into.append(to.name, [kept])
        await self._of.expunge([uid], by)
        return appended

    async def expunge(self, uids: Collection[int], by: MailboxListener | None) -> Sequence[int]:
        if "e" not in self.rights:
            raise Refused(Problem.NOT_PERMITTED, f"{self.name}: messages may not be expunged")
        return await self._of.expunge(uids, by)
