"""Who may log in and who receives what, as dictionaries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mailstack.errors import Problem, Refused
from mailstack.mail.address import Address
from mailstack.ports import AccountName, Local, Peer, Remote


class MemoryAccounts:
    """Implements `ports.Accounts`. `users` maps a user name to its password; the account has the
    name of the user in lower case. `problem`, when set, refuses every login."""

    def __init__(self, users: Mapping[str, str]) -> None:
        self.users = {user.lower(): password for user, password in users.items()}
        self.problem: Problem | None = None
        self.attempts: list[tuple[str, Peer]] = []

    async def log_in(self, user: str, password: str, peer: Peer) -> AccountName:
        self.attempts.append((user, peer))
        if self.problem is not None:
            raise Refused(self.problem)
        if self.users.get(user.lower()) != password:
            raise Refused(Problem.BAD_CREDENTIALS)
        return AccountName(user.lower())


class MemoryDirectory:
    """Implements `ports.Directory`. The domains of the users, and `domains`, are ours; everything
    else is Remote. `aliases` maps an address to accounts; "+detail" is cut off."""

    def __init__(
        self,
        users: Iterable[str],
        aliases: Mapping[str, tuple[str, ...]] | None = None,
        domains: Iterable[str] = (),
    ) -> None:
        self.users = {user.lower() for user in users}
        self.aliases = {name.lower(): accounts for name, accounts in (aliases or {}).items()}
        self.domains = {user.rpartition("@")[2] for user in self.users} | {d.lower() for d in domains}
        self.problem: Problem | None = None

    async def route(self, address: Address) -> Local | Remote:
        if self.problem is not None:
            raise Refused(self.problem)
        domain = address.domain.lower()
        if not domain and address.local_part.lower() == "postmaster":
            return Local((AccountName(min(self.users)),))  # RFC 5321 §4.5.1: must be accepted
        if domain not in self.domains:
            return Remote(domain)
        whole = f"{address.local_part}@{domain}".lower()
        plain = f"{address.local_part.partition('+')[0]}@{domain}".lower()
        for name in (whole, plain):
            if name in self.aliases:
                return Local(tuple(AccountName(account) for account in self.aliases[name]))
            if name in self.users:
                return Local((AccountName(name),))
        raise Refused(Problem.NO_SUCH_RECIPIENT, whole)

    async def may_send_as(self, account: AccountName, sender: Address) -> bool:
        name = f"{sender.local_part}@{sender.domain}".lower()
        return name == account or account in self.aliases.get(name, ())
