"""Access control lists in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from mailstack.acl import Acl, Rights, effective
from mailstack.ports import AccountName
from mailstack.testing.store import MemoryStore


class MemoryAcls:
    """Implements `store.sharing.Acls` for a MemoryStore. A list belongs to a mailbox, whatever it is called."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._lists: dict[tuple[str, str], Acl] = {}

    async def owners(self, user: AccountName) -> Sequence[AccountName]:
        owners = [AccountName(name) for name in sorted(self._store.accounts) if name != user]
        return [owner for owner in owners if self._visible(owner, user)]

    async def acl(self, owner: AccountName, mailbox: str) -> Acl:
        return self._lists.get(self._key(owner, mailbox), ())

    async def visible(self, owner: AccountName, user: AccountName) -> Mapping[str, Rights]:
        return self._visible(owner, user)

    def _visible(self, owner: AccountName, user: AccountName) -> dict[str, Rights]:
        boxes = self._store.of(owner).boxes
        rights = {name: effective(self._lists.get(self._key(owner, name), ()), user) for name in boxes}
        return {name: given for name, given in rights.items() if given}

    async def change(self, owner: AccountName, mailbox: str, change: Callable[[Acl], Acl]) -> None:
        key = self._key(owner, mailbox)
        self._lists[key] = change(self._lists.get(key, ()))

    async def moved(self, owner: AccountName) -> None:
        """Nothing is kept by name."""

    def _key(self, owner: AccountName, mailbox: str) -> tuple[str, str]:
        return owner, self._store.of(owner).find(mailbox).mailbox_id
