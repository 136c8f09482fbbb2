"""Who may log in and who receives what, as dictionaries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from mailstack.auth.scram import derive
from mailstack.errors import Problem, Refused
from mailstack.mail.address import Address
from mailstack.ports import AccountName, Local, Peer, Remote, ScramKeys, TokenHint

SALT, ITERATIONS = b"sixteen octets..", 4096


class MemoryAccounts:
    """Implements `ports.Accounts`. `users` maps a user name to its password; the account has the
    name of the user in lower case. `tokens` and `certificates` map what a client shows to a user's name.
    `offers` are the mechanisms that can be verified. `problem`, when set, refuses every login."""

    def __init__(self, users: Mapping[str, str], offers: Iterable[str] = ("PLAIN", "LOGIN")) -> None:
        self.users = {user.lower(): password for user, password in users.items()}
        self.offers = frozenset(offers)
        self.tokens: dict[str, str] = {}
        self.certificates: dict[bytes, str] = {}
        self.hint = TokenHint()
        self.problem: Problem | None = None
        self.attempts: list[tuple[str, Peer]] = []

    def mechanisms(self) -> frozenset[str]:
        return self.offers

    async def log_in(self, user: str, password: str, peer: Peer) -> AccountName:
        return self._if(user, self.users.get(user.lower()) == password, peer)

    async def scram_keys(self, user: str, mechanism: str, peer: Peer) -> ScramKeys:
        if self.problem is not None:
            raise Refused(self.problem)
        known = self.users.get(user.lower())
        keys = derive(mechanism, known or "", SALT, ITERATIONS)
        return keys if known is not None else replace(keys, stored_key=bytes(len(keys.stored_key)))

    async def log_in_by_proof(self, user: str, right: bool, peer: Peer) -> AccountName:
        return self._if(user, right and user.lower() in self.users, peer)

    async def log_in_by_token(self, user: str, token: str, peer: Peer) -> AccountName:
        return self._of(self.tokens.get(token), user, peer)

    def token_hint(self) -> TokenHint:
        return self.hint

    async def log_in_by_certificate(self, certificate: bytes, user: str, peer: Peer) -> AccountName:
        return self._of(self.certificates.get(certificate), user, peer)

    def _of(self, found: str | None, user: str, peer: Peer) -> AccountName:
        return self._if(found or user, found is not None and user in ("", found), peer)

    def _if(self, user: str, right: bool, peer: Peer) -> AccountName:
        self.attempts.append((user, peer))
        if self.problem is not None:
            raise Refused(self.problem)
        if not right:
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
        self.forwards: dict[str, tuple[Address, ...]] = {}
        """Of users; those of `forwarded_only` keep no copy."""
        self.forwarded_only: set[str] = set()
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
                kept = () if name in self.forwarded_only else (AccountName(name),)
                return Local(kept, forwards=self.forwards.get(name, ()))
        raise Refused(Problem.NO_SUCH_RECIPIENT, whole)

    async def may_send_as(self, account: AccountName, sender: Address) -> bool:
        name = f"{sender.local_part}@{sender.domain}".lower()
        return name == account or account in self.aliases.get(name, ())

    def reverse_path(self, sender: Address) -> Address:
        return Address(f"forwarded-{sender.local_part}", min(self.domains))

    def original_sender(self, address: Address) -> Address | None:
        return None
