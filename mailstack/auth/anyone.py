"""The development mode's accounts: anybody is welcome, and nobody is sent anything outside."""

from __future__ import annotations

from mailstack.errors import Problem, Refused
from mailstack.mail.address import Address
from mailstack.ports import AccountName, Local, Peer, Remote
from mailstack.quota import NO_LIMIT, QuotaLimit

DEFAULT_DOMAIN = "localhost"
"""Of a user name without one."""
MAX_NAME = 200
"""Characters of an account's name; it becomes the name of a directory."""


def account_of(name: str) -> AccountName | None:
    """The account of a user name or an address; None if no account can be named so."""
    normal = name.strip().lower()
    if "@" not in normal:
        normal = f"{normal}@{DEFAULT_DOMAIN}"
    if normal.startswith("@") or len(normal) > MAX_NAME or "/" in normal or not normal.isprintable():
        return None
    return AccountName(normal)


class AnyAccounts:
    """Implements `ports.Accounts`: any user, any password."""

    async def log_in(self, user: str, password: str, peer: Peer) -> AccountName:
        account = account_of(user)
        if account is None:
            raise Refused(Problem.BAD_CREDENTIALS, "not a name that an account can have")
        return account


class AnyLimits:
    """Implements the store's `Limits`: what was set since the start, so that programs can be tried with a
    mailbox that is full."""

    grace = False

    def __init__(self) -> None:
        self._limits: dict[AccountName, QuotaLimit] = {}

    def refresh(self) -> None:
        """Nobody else changes it."""

    def limit(self, account: AccountName) -> QuotaLimit:
        return self._limits.get(account, NO_LIMIT)

    def knows(self, account: AccountName) -> bool:
        return account_of(account) == account

    def set_limit(self, account: AccountName, limit: QuotaLimit) -> None:
        if not self.knows(account):
            raise Refused(Problem.NO_SUCH_ACCOUNT, account)
        self._limits[account] = limit


class AnyDirectory:
    """Implements `ports.Directory`: every address of a local domain is an account. `domains` in lower
    case; none means that all are local."""

    def __init__(self, domains: frozenset[str] = frozenset()) -> None:
        self._domains = domains

    async def route(self, address: Address) -> Local | Remote:
        domain = address.domain.lower() or DEFAULT_DOMAIN
        if self._domains and domain not in self._domains:
            raise Refused(Problem.RELAY_DENIED, "nothing leaves the machine in development")
        account = account_of(f"{address.local_part}@{domain}")
        if account is None:
            raise Refused(Problem.NO_SUCH_RECIPIENT, "not a name that an account can have")
        return Local((account,))

    async def may_send_as(self, account: AccountName, sender: Address) -> bool:
        return True
