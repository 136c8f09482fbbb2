"""What the accounts database says, in memory: read again when another process has written to it."""

from __future__ import annotations

from mailstack.auth.database import SCRAM_MECHANISMS, AccountDatabase, AccountsError, Forwarding
from mailstack.errors import Problem, Refused
from mailstack.ports import AccountName
from mailstack.quota import QuotaLimit


class KnownAccounts:
    """As of the last `refresh`. In the reactor's thread; each attribute may be read from any."""

    def __init__(self, database: AccountDatabase) -> None:
        self._database = database
        self._version = (-1, 0)
        self.accounts: frozenset[AccountName] = frozenset()
        self.aliases: dict[str, list[str]] = {}
        """Address → where its mail goes."""
        self.forwards: dict[str, Forwarding] = {}
        """Account → where its mail is forwarded to."""
        self.quotas: dict[AccountName, QuotaLimit] = {}
        """Of those that have one of their own."""
        self.have_keys: frozenset[str] = frozenset()
        """SCRAM mechanisms that every account has keys for."""

    def set_quota(self, account: AccountName, limit: QuotaLimit) -> None:
        """Raises: Refused(NO_SUCH_ACCOUNT | STORE_UNAVAILABLE)."""
        try:
            if self._database.account(account) is None:
                raise Refused(Problem.NO_SUCH_ACCOUNT, account)
            self._database.set_quota(account, limit)
        except AccountsError as error:
            raise Refused(Problem.STORE_UNAVAILABLE, str(error)) from error

    def refresh(self) -> None:
        """Look whether something was changed; some microseconds if not. Raises: Refused(STORE_UNAVAILABLE)."""
        try:
            version = self._database.version()
            if version != self._version:
                self.accounts = frozenset(account.name for account in self._database.accounts())
                self.aliases = self._database.aliases()
                self.forwards = self._database.forwards()
                self.quotas = self._database.quotas()
                self.have_keys = frozenset(name for name in SCRAM_MECHANISMS if self._database.all_have_keys(name))
                self._version = version
        except AccountsError as error:
            raise Refused(Problem.STORE_UNAVAILABLE, str(error)) from error
