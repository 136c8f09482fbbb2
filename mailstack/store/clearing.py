"""Messages taken away without opening their mailboxes: quick, for the development mode. Sessions that have one open
hear Expunged, as of any other program that removes files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection
from functools import partial

from mailstack.errors import Problem, Refused
from mailstack.ports import AccountName, MailboxGone
from mailstack.store.account_directory import accounts
from mailstack.store.api import Store
from mailstack.store.maildir.listing import Listed, counted, listed
from mailstack.store.spool import refusal

Choose = Callable[[AccountName, list[Listed]], list[Listed]]
"""Which of an account's messages; called in a worker."""


async def clear(store: Store, choose: Choose | None = None, only: Collection[AccountName] = ()) -> int:
    """Remove the chosen messages of all accounts, or `only` these; how many. None: all. Raises: Refused."""
    try:
        found = await store.workers.run(partial(_with_mail, store, only))
    except OSError as error:
        raise refusal(error) from error
    jobs = [(name, store.workers.run_in_lane(name, partial(_remove, store, name, choose))) for name in found]
    total = 0
    for name, job in jobs:
        removed = await job
        total += sum(removed.values())
        for mailbox in removed:
            await _tell(store, name, mailbox)
    return total


async def remove_account(store: Store, name: AccountName) -> None:
    """With all that it has; it is a new one when it is seen again. Raises: Refused(NO_SUCH_ACCOUNT)."""
    try:
        mailboxes = await store.workers.run_in_lane(name, partial(_remove_directory, store, name))
    except FileNotFoundError as error:
        raise Refused(Problem.NO_SUCH_ACCOUNT, name) from error
    except OSError as error:
        raise refusal(error) from error
    store.forget(name)
    for mailbox in mailboxes:
        opened = store.hub.watched(name, mailbox)
        store.hub.drop(name, mailbox)
        if opened is not None:
            opened.gone = True
            for listener in list(opened.listeners):
                listener.changed(MailboxGone())


def _with_mail(store: Store, only: Collection[AccountName]) -> list[AccountName]:
    names = only or accounts(store.mail_path)
    return [name for name in names if any(messages for _, messages, _ in counted(store.path_of(name)))]


def _remove(store: Store, name: AccountName, choose: Choose | None) -> dict[str, int]:
    """How many of each mailbox."""
    path = store.path_of(name)
    found = listed(path)
    removed: dict[str, int] = {}
    for message in found if choose is None else choose(name, found):
        try:
            os.unlink(message.path)
        except FileNotFoundError:
            continue
        removed[message.mailbox] = removed.get(message.mailbox, 0) + 1
    if removed and store.quotas.limit(name):
        store.quotas.ledger(name, path).recalculate()
    return removed


def _remove_directory(store: Store, name: AccountName) -> list[str]:
    path = store.path_of(name)
    mailboxes = [mailbox for mailbox, _, _ in counted(path)]
    aside = store.spool_path / f"removed.{os.getpid()}.{os.urandom(6).hex()}"
    path.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)
    return mailboxes


async def _tell(store: Store, name: AccountName, mailbox: str) -> None:
    opened = store.hub.watched(name, mailbox)
    if opened is not None:
        try:
            await opened.refresh()
        except Refused as refused:
            store.log.warning("mailbox not refreshed", mailbox=mailbox, reason=str(refused))
