"""Access to an account by itself."""

from __future__ import annotations

from collections.abc import Callable

from mailstack.acl import ALL_RIGHTS, NO_RIGHTS, Acl, Entry, Rights
from mailstack.errors import Problem, Refused
from mailstack.mailboxes import AccountEvent
from mailstack.ports import AccountName


class SoleOwner:
    """Implements `ports.Access` for a user who sees his own mailboxes only, and shares none of them."""

    other_users = ""

    def __init__(self, account: AccountName) -> None:
        self._account = account

    def listen(self, heard: Callable[[AccountEvent], None]) -> Callable[[], None]:
        return lambda: None

    async def owner(self, mailbox: str) -> AccountName:
        return self._account

    async def rights(self, mailbox: str) -> Rights:
        return ALL_RIGHTS

    async def acl(self, mailbox: str) -> Acl:
        return (Entry(self._account, ALL_RIGHTS),)

    async def grantable(self, mailbox: str, identifier: str) -> tuple[Rights, Rights]:
        return (ALL_RIGHTS if identifier == self._account else NO_RIGHTS), NO_RIGHTS

    async def change(self, mailbox: str, identifier: str, change: Callable[[Rights], Rights | None]) -> None:
        raise Refused(Problem.CANNOT, "nothing is shared here")
