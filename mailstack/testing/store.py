"""A mail store in memory; its mailboxes are in `testing/mailboxes.py`, and named here too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mailstack.errors import Problem, Refused
from mailstack.ports import AccountName, Added, Blob, Delivery, Flags, Uid
from mailstack.quota import Quota, QuotaLimit
from mailstack.testing.mailbox_names import canonical
from mailstack.testing.mailboxes import (
    DEFAULT_DATE,
    MemoryAccountStore,
    MemoryMailbox,
    MemoryMessage,
)
from mailstack.testing.spool import MemoryBlob, MemorySink, MemorySpool, octets_of

__all__ = (
    "DEFAULT_DATE", "MemoryAccountStore", "MemoryBlob", "MemoryMailbox", "MemoryMessage", "MemorySink", "MemorySpool",
    "MemoryStore", "octets_of",
)  # fmt: skip


class MemoryStore:
    """Implements `ports.MailStore`. `problems` maps an account to what its deliveries fail with."""

    def __init__(self) -> None:
        self.accounts: dict[str, MemoryAccountStore] = {}
        self.problems: dict[str, Problem] = {}
        self.deliveries: list[Delivery] = []
        self.annotations: dict[str, bytes] = {}
        """The server's, that all accounts share."""

    def of(self, name: str) -> MemoryAccountStore:
        """The account's mailboxes, without awaiting."""
        return self.accounts.setdefault(name, MemoryAccountStore(self.annotations, AccountName(name)))

    def box(self, account: str, mailbox: str = "INBOX") -> MemoryMailbox:
        """One mailbox. Raises: Refused(NO_SUCH_MAILBOX)."""
        return self.of(account).find(mailbox)

    def put(self, account: str, octets: bytes, mailbox: str = "INBOX", flags: Flags | None = None) -> Uid:
        """Add one message and tell the listeners."""
        box = self.box(account, mailbox)
        uid = box.insert(octets, box.bits(flags or Flags()))
        box.tell(Added((uid,)))
        return uid

    async def account(self, name: AccountName) -> MemoryAccountStore:
        return self.of(name)

    async def quota(self, account: AccountName) -> Quota:
        if account not in self.accounts:
            raise Refused(Problem.NO_SUCH_ACCOUNT, account)
        return await self.of(account).quota()

    async def set_quota(self, account: AccountName, limit: QuotaLimit) -> Quota:
        if account not in self.accounts:
            raise Refused(Problem.NO_SUCH_ACCOUNT, account)
        self.of(account).limit = limit
        return await self.of(account).quota()

    async def access_key(self, account: AccountName, name: str) -> bytes | None:
        known = self.accounts.get(account)
        return None if known is None else known.access_keys.get(canonical(name))

    async def has_room(self, account: AccountName, octets: int, *, delivery: bool = True) -> bool:
        return self.of(account).has_room(max(octets, 1), 1)

    async def deliver(self, blob: Blob, deliveries: Sequence[Delivery]) -> Sequence[Problem | None]:
        octets = octets_of(blob)
        answers: list[Problem | None] = []
        for delivery in deliveries:
            store = self.of(delivery.account)
            full = not delivery.over_quota and not store.has_room(len(delivery.prefix) + len(octets), 1)
            problem = self.problems.get(delivery.account, Problem.OVER_QUOTA if full else None)
            answers.append(problem)
            if problem is None:
                box = store.boxes.get(canonical(delivery.mailbox)) or store.boxes["INBOX"]
                uid = box.insert(delivery.prefix + octets)
                self.deliveries.append(replace(delivery, mailbox=box.name))
                box.tell(Added((uid,)))
        return answers
