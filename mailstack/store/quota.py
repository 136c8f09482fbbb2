"""Quotas of the store: who may use how much, and the books that say what is used.

An account without a limit costs a look into a dictionary, and has no file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from mailstack.errors import Problem, Refused
from mailstack.ports import AccountName, Log
from mailstack.quota import NO_LIMIT, Quota, QuotaLimit
from mailstack.store.maildir import maildirsize
from mailstack.store.maildir.maildirsize import SizeFile, SizeFiles, Usage

T = TypeVar("T")

NEARLY_FULL = 0.9
"""The part of a limit at which the log warns, when an account passes it."""


class Limits(Protocol):
    """Who may use how much."""

    grace: bool
    """Whether an account that is not full takes one more message by SMTP, whatever its size."""

    def refresh(self) -> None:
        """Take in what was changed. In the reactor's thread; some microseconds. Raises: Refused."""

    def limit(self, account: AccountName) -> QuotaLimit:
        """As of the last `refresh`. From any thread, from memory."""

    def knows(self, account: AccountName) -> bool:
        """Whether there is such an account. As `limit`."""

    def set_limit(self, account: AccountName, limit: QuotaLimit) -> None:
        """Give the account a limit of its own, durably. In the reactor's thread.
        Raises: Refused(NO_SUCH_ACCOUNT | CANNOT | STORE_UNAVAILABLE)."""


class NoLimits:
    """Implements `Limits`: everybody may use anything."""

    grace = False

    def refresh(self) -> None:
        """There is nothing to take in."""

    def limit(self, account: AccountName) -> QuotaLimit:
        return NO_LIMIT

    def knows(self, account: AccountName) -> bool:
        return True

    def set_limit(self, account: AccountName, limit: QuotaLimit) -> None:
        raise Refused(Problem.CANNOT, "there are no quotas here")


class Quotas:
    """The books of all accounts."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._files = SizeFiles()
        self.limits: Limits = NoLimits()

    def use(self, limits: Limits) -> None:
        """Other limits from now on. Books are not trusted over this: where there was no limit, none was kept."""
        self.limits = limits
        self._files.forget()

    def ledger(self, account: AccountName, path: Path) -> Ledger:
        """The books of one account, whose directory is `path`."""
        return Ledger(self, account, path)

    def limit(self, account: AccountName) -> QuotaLimit:
        """What the account may use. From any thread."""
        return self.limits.limit(account)

    def file(self, path: Path) -> SizeFile:
        """The file of an account."""
        return self._files.get(path)

    def passed(self, account: AccountName, before: Usage, after: Usage, limit: QuotaLimit) -> None:
        """Warn when an account has become nearly full by it."""
        if _nearly_full(after, limit) and not _nearly_full(before, limit):
            self._log.warning(
                "account nearly full",
                account=account, octets=after.octets, max_octets=limit.octets or None,
                messages=after.messages, max_messages=limit.messages or None,
            )  # fmt: skip

    def corrected(self, account: AccountName, before: Quota, after: Quota) -> None:
        """The books of an account were wrong; other programs do not keep them."""
        self._log.event(
            "quota counted anew", account=account, octets=after.octets, messages=after.messages,
            octets_before=before.octets, messages_before=before.messages,
        )  # fmt: skip

    def complain(self, account: AccountName, error: OSError) -> None:
        """The books of an account could not be kept."""
        self._log.warning("quota not counted", account=account, reason=str(error))

    def close(self) -> None:
        self._files.forget()


class Ledger:
    """One account's quota for those who change its files. Blocking, from any thread, but for `at_hand`. Books
    that cannot be kept keep nobody from their mail: the log warns."""

    __slots__ = ("_account", "_path", "_quotas")

    def __init__(self, quotas: Quotas, account: AccountName, path: Path) -> None:
        self._quotas = quotas
        self._account = account
        self._path = path

    @property
    def limit(self) -> QuotaLimit:
        """What the account may use now; false when there is no limit and nothing is counted."""
        return self._quotas.limit(self._account)

    @contextmanager
    def booked(self, octets: int, messages: int, *, delivery: bool = False, enforce: bool = True) -> Iterator[None]:
        """Around what adds so much. Raises: Refused(OVER_QUOTA) before, if there is no room; a `delivery` may
        have grace, and without `enforce` there is room."""
        limit = self.limit
        if not limit:
            yield
            return
        file = self._quotas.file(self._path)
        grace = delivery and self._quotas.limits.grace
        room = self._kept(lambda: file.promise(limit, octets, messages, enforce=enforce, grace=grace))
        if room is False:
            raise Refused(Problem.OVER_QUOTA, f"{self._account} has no room for {octets} octets")
        promised = room is not None
        try:
            yield
        except BaseException:
            if promised:
                file.withdraw(octets, messages)
            raise
        after = self._kept(lambda: file.add(limit, octets, messages, promised=promised))
        if after is not None:
            self._quotas.passed(self._account, after.plus(-octets, -messages), after, limit)

    def add(self, octets: int, messages: int) -> None:
        """So much came or went (negative)."""
        limit = self.limit
        if limit and (octets or messages):
            self._kept(lambda: self._quotas.file(self._path).add(limit, octets, messages))

    def removing(self, folder: Path, remove: Callable[[], str]) -> str:
        """Remove a mailbox with all that is in it. Raises: what `remove` raises, OSError."""
        usage = maildirsize.folder_usage(folder) if self.limit else Usage()
        removed = remove()
        self.add(-usage.octets, -usage.messages)
        return removed

    def quota(self) -> Quota:
        """What is used. Raises: OSError."""
        limit = self.limit
        usage = self._quotas.file(self._path).usage(limit) if limit else maildirsize.count(self._path)
        return Quota(usage.octets, usage.messages, limit)

    def recalculate(self) -> Quota:
        """Count, and keep that if there is a limit. Raises: OSError."""
        limit = self.limit
        if not limit:
            return self.quota()
        usage = self._quotas.file(self._path).recalculate(limit)
        return Quota(usage.octets, usage.messages, limit)

    def has_room(self, octets: int, *, delivery: bool = True) -> bool:
        """Whether a message could be delivered, or else appended. Raises: OSError."""
        file = self._quotas.file(self._path)
        grace = delivery and self._quotas.limits.grace
        if not file.promise(self.limit, max(octets, 1), 1, grace=grace):
            return False
        file.withdraw(max(octets, 1), 1)
        return True

    def at_hand(self, octets: int, *, delivery: bool = True) -> bool | None:
        """As `has_room`, in the reactor's thread; None if that takes longer. Full is never at hand: it may be
        worth a count."""
        limit = self.limit
        if not limit:
            return True
        used = self._quotas.file(self._path).at_hand(limit)
        wanted = 1 if delivery and self._quotas.limits.grace else max(octets, 1)
        if used is None or not limit.takes(used.octets + wanted, used.messages + 1):
            return None
        return True

    def _kept(self, fn: Callable[[], T]) -> T | None:
        """None if the books could not be read or written."""
        try:
            return fn()
        except OSError as error:
            self._quotas.complain(self._account, error)
            return None

    def check(self) -> None:
        """Count, and say so if the books were wrong."""
        before = self._kept(self.quota)
        after = self._kept(self.recalculate)
        if before is not None and after is not None and before != after:
            self._quotas.corrected(self._account, before, after)

    @property
    def is_due(self) -> bool:
        """Whether the account had better be counted, when there is time."""
        return bool(self.limit) and self._quotas.file(self._path).age >= maildirsize.CHECK


def _nearly_full(usage: Usage, limit: QuotaLimit) -> bool:
    octets = limit.octets > 0 and usage.octets >= NEARLY_FULL * limit.octets
    return octets or (limit.messages > 0 and usage.messages >= NEARLY_FULL * limit.messages)
