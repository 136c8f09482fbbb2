"""The development mode's accounts: anybody is welcome, and nobody is sent anything outside."""

from __future__ import annotations

import os
from collections.abc import Collection

from mailstack.auth.scram import HASHES, derive
from mailstack.auth.scram_store import ITERATIONS, SALT_OCTETS
from mailstack.errors import Problem, Refused
from mailstack.mail.address import Address
from mailstack.ports import AccountName, Local, Peer, Remote, ScramKeys, TokenHint
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
    """Implements `ports.Accounts`: any user, any password. With a `password`, it is that of all users who have none
    of their own, and SCRAM can be verified, for which a server must know what the client proves."""

    def __init__(self, password: str = "") -> None:
        self._password = password
        self._own: dict[AccountName, str] = {}
        self._own_keys: dict[AccountName, dict[str, ScramKeys]] = {}
        self._keys: dict[str, ScramKeys] = {}
        if password:
            self._keys = _derived(password)
        self._offered = frozenset({"PLAIN", "LOGIN", *self._keys, *(f"{name}-PLUS" for name in self._keys)})

    def mechanisms(self) -> Collection[str]:
        return self._offered

    async def log_in(self, user: str, password: str, peer: Peer) -> AccountName:
        account = account_of(user)
        wanted = self._password if account is None else self._own.get(account, self._password)
        return self._account(user, right=not wanted or password == wanted)

    def set_password(self, account: AccountName, password: str) -> None:
        """One of its own, instead of everybody's; "" takes it away."""
        self._own.pop(account, None)
        self._own_keys.pop(account, None)
        if password:
            self._own[account] = password
            if self._keys:
                self._own_keys[account] = _derived(password)

    def has_own_password(self, account: AccountName) -> bool:
        return account in self._own

    def within(self, scope: str) -> AnyAccounts:
        """No password is for single services here."""
        return self

    async def scram_keys(self, user: str, mechanism: str, peer: Peer) -> ScramKeys:
        account = account_of(user)
        return (self._own_keys.get(account, self._keys) if account else self._keys)[mechanism]

    async def log_in_by_proof(self, user: str, right: bool, peer: Peer) -> AccountName:
        return self._account(user, right=right)

    async def log_in_by_token(self, user: str, token: str, peer: Peer) -> AccountName:
        raise Refused(Problem.BAD_CREDENTIALS, "no tokens in development")

    def token_hint(self) -> TokenHint:
        return TokenHint()

    async def log_in_by_certificate(self, certificate: bytes, user: str, peer: Peer) -> AccountName:
        raise Refused(Problem.BAD_CREDENTIALS, "no client certificates in development")

    def _account(self, user: str, *, right: bool) -> AccountName:
        account = account_of(user)
        if account is None:
            raise Refused(Problem.BAD_CREDENTIALS, "not a name that an account can have")
        if not right:
            raise Refused(Problem.BAD_CREDENTIALS, "not the password of this server")
        return account


def _derived(password: str) -> dict[str, ScramKeys]:
    return {name: derive(name, password, os.urandom(SALT_OCTETS), ITERATIONS) for name in HASHES}


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

    def reverse_path(self, sender: Address) -> Address:
        return sender

    def original_sender(self, address: Address) -> Address | None:
        return None
