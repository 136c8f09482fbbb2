"""Logins against the accounts database: implements `ports.Accounts`."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from functools import partial

from mailstack.auth import passwords
from mailstack.auth.database import AccountDatabase, AccountsError
from mailstack.auth.limits import LoginLimits
from mailstack.auth.passwords import UnknownHash, VerifiedPasswords
from mailstack.errors import Problem, Refused
from mailstack.ports import AccountName, Log, Peer

RunBlocking = Callable[[Callable[[], bool]], Awaitable[bool]]
"""Runs a function in a thread for hashing; what it returns comes back."""


class StoredAccounts:
    """Who may log in. A user name without domain belongs to `default_domain`."""

    def __init__(
        self, database: AccountDatabase, limits: LoginLimits, verified: VerifiedPasswords, run: RunBlocking,
        log: Log, *, default_domain: str,
    ) -> None:  # fmt: skip
        self._database = database
        self._limits = limits
        self._verified = verified
        self._run = run
        self._log = log
        self._default_domain = default_domain
        # Verified when there is no such user, so that the answer takes as long.
        self._dummy = passwords.hash_password(secrets.token_hex())

    async def log_in(self, user: str, password: str, peer: Peer) -> AccountName:
        name = (user if "@" in user else f"{user}@{self._default_domain}").lower()
        self._limits.check(peer.host, name)
        try:
            account = self._database.account(name)
        except AccountsError as error:
            raise Refused(Problem.LOGIN_UNAVAILABLE, str(error)) from error
        stored = account.password_hash if account else self._dummy
        if account is not None and self._verified.knows(name, stored, password):
            return account.name
        right = await self._right(name, stored, password)
        if account is None or not right:
            self._limits.failed(peer.host, name)
            raise Refused(Problem.BAD_CREDENTIALS, "wrong password" if account else "no such account")
        self._limits.succeeded(peer.host, name)
        if not passwords.is_ours(stored):
            stored = await self._rehash(name, password)
        self._verified.remember(name, stored, password)
        return account.name

    async def _right(self, name: str, stored: str, password: str) -> bool:
        try:
            return await self._run(partial(passwords.verify, stored, password))
        except UnknownHash as error:
            self._log.warning("password cannot be verified", account=name, reason=str(error))
            raise Refused(Problem.LOGIN_UNAVAILABLE, str(error)) from error

    async def _rehash(self, name: str, password: str) -> str:
        found: list[str] = []

        def work() -> bool:
            found.append(passwords.hash_password(password))
            return True

        await self._run(work)
        try:
            self._database.set_password(name, found[0])
        except AccountsError as error:
            self._log.warning("imported hash not replaced", account=name, reason=str(error))
        else:
            self._log.event("imported hash replaced", account=name)
        return found[0]
