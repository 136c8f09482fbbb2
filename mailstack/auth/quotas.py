"""Who may use how much: the account's own quota, else its domain's, else the one of [quota]."""

from __future__ import annotations

from collections.abc import Iterable

from mailstack.auth.known import KnownAccounts
from mailstack.config.sections import Domain, Quota
from mailstack.ports import AccountName
from mailstack.quota import QuotaLimit


class StoredQuotas:
    """Implements the store's `Limits` on the accounts database and the configuration."""

    def __init__(self, known: KnownAccounts, quota: Quota, domains: Iterable[Domain]) -> None:
        self.grace = quota.grace
        self._known = known
        self._default = QuotaLimit(quota.bytes, quota.messages)
        self._of_domain = {domain.name.lower(): self._of(domain) for domain in domains}

    def refresh(self) -> None:
        self._known.refresh()

    def limit(self, account: AccountName) -> QuotaLimit:
        own = self._known.quotas.get(account)
        return own if own is not None else self._of_domain.get(account.rpartition("@")[2], self._default)

    def knows(self, account: AccountName) -> bool:
        return account in self._known.accounts

    def set_limit(self, account: AccountName, limit: QuotaLimit) -> None:
        self._known.set_quota(account, limit)
        self._known.refresh()

    def _of(self, domain: Domain) -> QuotaLimit:
        octets, messages = domain.quota_bytes, domain.quota_messages
        return QuotaLimit(
            self._default.octets if octets is None else octets,
            self._default.messages if messages is None else messages,
        )
