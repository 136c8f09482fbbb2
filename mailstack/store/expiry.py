"""Messages that go away by themselves: which, and taking them away when nobody minds.

An account's directories are looked at without opening its mailboxes; a mailbox is opened only when
something in it is due, and what is due is expunged in small pieces in the account's lane, so that who
has it open hears Expunged and who waits for the account waits for one piece at most.

Age is that of the internal date: the delivery, or what APPEND said of a message's date. A message that
was moved into Trash today and came last year is a year old there."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from twisted.internet.defer import CancelledError, Deferred

from mailstack.config.sections import Retention
from mailstack.errors import Problem, Refused
from mailstack.ports import AccountName, Change, Clock, Columns, Flag
from mailstack.retention import Rules, matches, rules_for
from mailstack.store.account_directory import accounts
from mailstack.store.api import Store, StoredAccount
from mailstack.store.columns import NO_DATE
from mailstack.store.mailbox import OpenMailbox
from mailstack.store.maildir import layout, names
from mailstack.store.maildir.layout import Folder
from mailstack.store.spool import refusal

T = TypeVar("T")

PIECE = 100
"""Messages that are expunged in one visit to the account's lane."""
PAUSE = 0.02
"""Seconds for everybody else between two pieces or two accounts."""
DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Expired:
    """What was expunged of one mailbox, or would be."""

    account: AccountName
    mailbox: str
    messages: int


def due(rules: Rules, columns: Columns, now: float) -> list[int]:
    """UIDs of the messages that expire by these rules, ascending. Columns have dates."""
    found: set[int] = set()
    for rule in rules:
        surplus = max(0, len(columns.uids) - rule.messages) if rule.messages else 0
        oldest = now - rule.days * DAY if rule.days else float("-inf")
        for row, (uid, flags, date) in enumerate(zip(columns.uids, columns.flags, columns.dates, strict=True)):
            old = NO_DATE < date < oldest
            if (row < surplus or old) and not (rule.keep_flagged and flags & Flag.FLAGGED):
                found.add(uid)
    return sorted(found)


def may_be_due(folder: Folder, rules: Rules, now: float) -> bool:
    """Whether opening the mailbox is worth while. Blocking. Raises: OSError."""
    listing: list[tuple[str, str]] = []
    for directory in ("new", "cur"):
        try:
            listing += [(directory, name) for name in os.listdir(folder.path / directory) if not name.startswith(".")]
        except FileNotFoundError:
            return False
    for rule in rules:
        if rule.messages and len(listing) > rule.messages:
            return True
        oldest = now - rule.days * DAY
        if rule.days and any(_older(f"{folder.path}/{place}/{name}", name, rule, oldest) for place, name in listing):
            return True
    return False


def _older(path: str, name: str, rule: Retention, oldest: float) -> bool:
    if rule.keep_flagged and "F" in names.split(name)[1]:
        return False
    try:
        return os.stat(path, follow_symlinks=False).st_mtime // 1 < oldest
    except FileNotFoundError:
        return False


class _Nobody:
    """Has a mailbox open and does not listen."""

    def changed(self, change: Change) -> None:
        """It is not shown to anybody."""


class Expiry:
    """Expires messages by rules, again and again. In the reactor's thread."""

    def __init__(self, store: Store, rules: Rules, clock: Clock) -> None:
        self.rules = rules
        self._store = store
        self._clock = clock
        self._stopping = self._woken = False
        self._pausing: Deferred[None] | None = None
        self._over: Deferred[None] | None = None

    def start(self, first: float, every: float) -> None:
        """Begin in `first` seconds, then `every` so many."""
        self._over = Deferred.fromCoroutine(self._run(first, every))

    def wake(self) -> None:
        """Look again at once: the rules may be others now."""
        self._woken = True
        if self._pausing is not None:
            self._pausing.cancel()

    async def stop(self) -> None:
        """End after the piece that is under way."""
        self._stopping = True
        self.wake()
        if self._over is not None:
            await self._over

    async def _run(self, first: float, every: float) -> None:
        await self._pause(first)
        while not self._stopping:
            self._woken = False
            try:
                await self.sweep()
            except Refused as refused:
                self._store.log.warning("expiry failed", reason=str(refused))
            except Exception:
                self._store.log.failure("expiry failed")
            await self._pause(every)

    async def _pause(self, seconds: float) -> None:
        if self._woken:
            return
        self._pausing = Deferred.fromCoroutine(self._clock.sleep(seconds))
        try:
            await self._pausing
        except CancelledError:
            return
        finally:
            self._pausing = None

    async def sweep(self, only: Collection[AccountName] = (), *, dry_run: bool = False) -> list[Expired]:
        """All accounts once, or `only` these; what was expunged, or would be. What goes wrong with one
        mailbox is logged and keeps no other. Raises: Refused when the accounts cannot be listed."""
        done: list[Expired] = []
        if not self.rules:
            return done
        for account in await self._listed(partial(accounts, self._store.mail_path)):
            if only and account not in only:
                continue
            rules = [rule for rule in self.rules if matches(rule.account.lower(), account)]
            if not rules or self._stopping:
                continue
            done += await self._account(account, rules, dry_run)
            await self._breathe()
        return done

    async def _account(self, account: AccountName, rules: Rules, dry_run: bool) -> list[Expired]:
        done: list[Expired] = []
        path = self._store.path_of(account)
        now = self._clock.now()

        def candidates() -> list[tuple[str, Rules]]:
            chosen = [(place, rules_for(rules, account, place.name)) for place in layout.folders(path)]
            return [(place.name, rules) for place, rules in chosen if rules and may_be_due(place, rules, now)]

        try:
            for mailbox, applying in await self._listed(candidates):
                count = await self._mailbox(account, mailbox, applying, now, dry_run)
                if count:
                    done.append(Expired(account, mailbox, count))
        except Refused as refused:
            if refused.problem is not Problem.NO_SUCH_MAILBOX:  # removed meanwhile
                self._store.log.warning("expiry failed", account=account, reason=str(refused))
        return done

    async def _mailbox(self, account: AccountName, name: str, rules: Rules, now: float, dry_run: bool) -> int:
        stored: StoredAccount = await self._store.account(account)
        nobody = _Nobody()
        mailbox: OpenMailbox = await stored.open(name, nobody)
        expunged = 0
        try:
            await mailbox.measure(mailbox.uids, dates=any(rule.days for rule in rules))
            wanted = due(rules, mailbox.columns(mailbox.uids), now)
            if dry_run:
                return len(wanted)
            for start in range(0, len(wanted), PIECE):
                if self._stopping:
                    break
                expunged += len(await mailbox.expunge(wanted[start : start + PIECE], None))
                await self._breathe()
        finally:
            mailbox.close(nobody)
            if expunged:
                self._store.log.event("mail expired", account=account, mailbox=name, messages=expunged)
        return expunged

    async def _breathe(self) -> None:
        await self._clock.sleep(PAUSE)

    async def _listed(self, fn: Callable[[], T]) -> T:
        try:
            return await self._store.workers.run(fn)
        except OSError as error:
            raise refusal(error) from error
