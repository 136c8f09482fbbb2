"""Logins against the accounts database: implements `ports.Accounts`."""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from mailstack.auth import app_passwords, passwords, scram_store
from mailstack.auth.app_passwords import AppPassword
from mailstack.auth.database import AccountDatabase, AccountsError, StoredAccount
from mailstack.auth.known import KnownAccounts
from mailstack.auth.limits import LoginLimits
from mailstack.auth.passwords import UnknownHash, VerifiedPasswords
from mailstack.errors import Problem, Refused
from mailstack.ports import AccountName, Log, Peer, ScramKeys, TokenHint

RunBlocking = Callable[[Callable[[], bool]], Awaitable[bool]]
"""Runs a function in a thread for hashing; what it returns comes back."""
PASSWORD_MECHANISMS = frozenset({"PLAIN", "LOGIN"})
LOOK_AGAIN = 1.0
"""Seconds for which it is not looked whether all accounts have keys."""
FAKE_KEYS = "scram of nobody"
"""The secret of the database that what unknown users are answered is made with."""


class Tokens(Protocol):
    """Who issues bearer tokens, as far as we ask it."""

    hint: TokenHint

    async def names(self, token: str) -> Sequence[str]:
        """The user names that the token is of, in the order of preference.
        Raises: Refused(BAD_CREDENTIALS | NOT_PERMITTED | LOGIN_UNAVAILABLE)."""


@dataclass(frozen=True, slots=True)
class Ways:
    """How one may log in, beside with a password as it is. `scram`: SCRAM mechanisms without -PLUS for which keys
    are kept; `scram_always`: they are offered although some accounts have no keys yet. `certificate`: the user names
    that a client certificate is of."""

    scram: frozenset[str] = frozenset()
    scram_always: bool = False
    tokens: Tokens | None = None
    certificate: Callable[[bytes], Sequence[str]] | None = None


class StoredAccounts:
    """Who may log in. A user name without domain belongs to `default_domain`."""

    def __init__(
        self, database: AccountDatabase, limits: LoginLimits, verified: VerifiedPasswords, run: RunBlocking,
        log: Log, *, default_domain: str, known: KnownAccounts | None = None, ways: Ways = Ways(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._database = database
        self._known = known or KnownAccounts(database)
        self._limits = limits
        self._verified = verified
        self._run = run
        self._log = log
        self._default_domain = default_domain
        self._ways = ways
        self._fake = database.secret(FAKE_KEYS) if ways.scram else ""
        # Verified when there is no such user, so that the answer takes as long.
        self._dummy = passwords.hash_password(secrets.token_hex())
        fixed = set(PASSWORD_MECHANISMS)
        if ways.tokens is not None:
            fixed |= {"OAUTHBEARER", "XOAUTH2"}
        if ways.certificate is not None:
            fixed.add("EXTERNAL")
        self._fixed = frozenset(fixed)
        self._clock = clock
        self._looked = -LOOK_AGAIN
        self._offered = self._fixed
        self._scope = ""

    def mechanisms(self) -> Collection[str]:
        now = self._clock()
        if self._ways.scram and now - self._looked >= LOOK_AGAIN:
            self._looked = now
            ready = self._with_keys()
            self._offered = self._fixed | ready | {f"{name}-PLUS" for name in ready}
        return self._offered

    def _with_keys(self) -> frozenset[str]:
        """The SCRAM mechanisms to offer now."""
        if self._ways.scram_always:
            return self._ways.scram
        try:
            self._known.refresh()
        except Refused:
            return frozenset()
        return self._ways.scram & self._known.have_keys

    # --- passwords

    async def log_in(self, user: str, password: str, peer: Peer) -> AccountName:
        name = self._name(user)
        self._limits.check(peer.host, name)
        account = self._account(name)
        made = self._app_password(name, password) if account is not None else None
        if account is not None and made is not None:
            if not made.is_good_for(self._scope, time.time()):
                raise self._failed(name, peer, f'app password "{made.label}" is not good here, or not any more')
            self._limits.succeeded(peer.host, name)
            return account.name
        stored = account.password_hash if account else self._dummy
        if account is not None and self._verified.knows(name, stored, password):
            return account.name
        right = await self._right(name, stored, password)
        if account is None or not right:
            raise self._failed(name, peer, "wrong password" if account else "no such account")
        self._limits.succeeded(peer.host, name)
        if not passwords.is_ours(stored) or not self._has_keys(account):
            stored = await self._renew(account, password)
        self._verified.remember(name, stored, password)
        return account.name

    def within(self, scope: str) -> StoredAccounts:
        """The same for one of app_passwords.SCOPES; without, no app password is good."""
        scoped = copy(self)
        scoped._scope = scope
        return scoped

    def _app_password(self, name: str, password: str) -> AppPassword | None:
        kept = app_passwords.digest(password)
        if kept is None:
            return None
        try:
            return self._database.app_password(name, kept)
        except AccountsError as error:
            raise Refused(Problem.LOGIN_UNAVAILABLE, str(error)) from error

    def _has_keys(self, account: StoredAccount) -> bool:
        return all(f"{name}$" in account.scram for name in self._ways.scram)

    async def _right(self, name: str, stored: str, password: str) -> bool:
        try:
            return await self._run(partial(passwords.verify, stored, password))
        except UnknownHash as error:
            self._log.warning("password cannot be verified", account=name, reason=str(error))
            raise Refused(Problem.LOGIN_UNAVAILABLE, str(error)) from error

    async def _renew(self, account: StoredAccount, password: str) -> str:
        """Keep the hash and the keys of today for a password that was right; the hash that is kept."""
        before = account.password_hash
        found: list[str] = []

        def work() -> bool:
            found.append(before if passwords.is_ours(before) else passwords.hash_password(password))
            found.append(scram_store.scram_text(password, self._ways.scram))
            return True

        await self._run(work)
        try:
            replaced = self._database.replace_hash(account.name, before, *found)
        except AccountsError as error:
            self._log.warning("password data not renewed", account=account.name, reason=str(error))
            return before
        if replaced:
            self._log.event("password data renewed", account=account.name, imported=not passwords.is_ours(before))
        return found[0] if replaced else before

    # --- SCRAM

    async def scram_keys(self, user: str, mechanism: str, peer: Peer) -> ScramKeys:
        name = self._name(user)
        self._limits.check(peer.host, name)
        account = self._account(name)
        fake = scram_store.nobodys_keys(self._fake, name, mechanism)
        return (scram_store.keys_of(account.scram, mechanism) if account else None) or fake

    async def log_in_by_proof(self, user: str, right: bool, peer: Peer) -> AccountName:
        name = self._name(user)
        self._limits.check(peer.host, name)
        account = self._account(name)
        if account is None or not right:
            raise self._failed(name, peer, "wrong proof" if account else "no such account")
        self._limits.succeeded(peer.host, name)
        return account.name

    # --- tokens and certificates

    async def log_in_by_token(self, user: str, token: str, peer: Peer) -> AccountName:
        wanted = self._name(user) if user else ""
        self._limits.check(peer.host, wanted)
        assert self._ways.tokens is not None, "not offered"
        try:
            names = await self._ways.tokens.names(token)
        except Refused as refused:
            if refused.problem is Problem.BAD_CREDENTIALS:
                self._limits.failed(peer.host, wanted)
            raise
        return self._one_of(names, wanted, peer)

    def token_hint(self) -> TokenHint:
        return self._ways.tokens.hint if self._ways.tokens else TokenHint()

    async def log_in_by_certificate(self, certificate: bytes, user: str, peer: Peer) -> AccountName:
        wanted = self._name(user) if user else ""
        self._limits.check(peer.host, wanted)
        assert self._ways.certificate is not None, "not offered"
        return self._one_of(self._ways.certificate(certificate), wanted, peer)

    def _one_of(self, names: Sequence[str], wanted: str, peer: Peer) -> AccountName:
        """The account among those that somebody else vouches for: the one that is wanted, else the first."""
        mine = [self._name(name) for name in names]
        for name in mine:
            account = self._account(name) if wanted in ("", name) else None
            if account is not None:
                self._limits.succeeded(peer.host, account.name)
                return account.name
        raise self._failed(wanted, peer, f"no account among {', '.join(mine)[:200] or 'no names'}")

    # --- all of them

    def _name(self, user: str) -> str:
        return (user if "@" in user else f"{user}@{self._default_domain}").lower()

    def _account(self, name: str) -> StoredAccount | None:
        try:
            return self._database.account(name)
        except AccountsError as error:
            raise Refused(Problem.LOGIN_UNAVAILABLE, str(error)) from error

    def _failed(self, name: str, peer: Peer, why: str) -> Refused:
        self._limits.failed(peer.host, name)
        return Refused(Problem.BAD_CREDENTIALS, why)
