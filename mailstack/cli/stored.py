"""The store without a server: for commands that look at accounts, or change them, beside one that may run."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from mailstack.auth.database import AccountDatabase
    from mailstack.auth.quotas import StoredQuotas
    from mailstack.config.sections import Config
    from mailstack.ports import AccountName, Log
    from mailstack.store.api import Store
    from mailstack.store.quota import Ledger

T = TypeVar("T")


class Impatient:
    """Implements `ports.Clock`: nobody else waits for this process, so it does not wait either."""

    def now(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Go on."""


def result(coroutine: Coroutine[Any, Any, T]) -> T:
    """Of a coroutine that never waits, since the workers are inline."""
    from twisted.internet.defer import Deferred
    from twisted.python.failure import Failure

    outcome: list[Any] = []
    Deferred.fromCoroutine(coroutine).addBoth(outcome.append)
    if isinstance(outcome[0], Failure):
        outcome[0].raiseException()
    value: T = outcome[0]
    return value


@contextmanager
def as_owner_of(directory: Path) -> Iterator[None]:
    """Run as root, be the one whom the directory belongs to: what is written must be the server's."""
    from mailstack.store.owner import acting_as_owner_of

    if not directory.exists():
        yield
        return
    with acting_as_owner_of(directory):
        yield


def limits(config: Config, database: AccountDatabase) -> StoredQuotas:
    """Who may use how much now."""
    from mailstack.auth.known import KnownAccounts
    from mailstack.auth.quotas import StoredQuotas

    quotas = StoredQuotas(KnownAccounts(database), config.quota, config.domains)
    quotas.refresh()
    return quotas


def warnings() -> Log:
    """What goes wrong, on standard error."""
    from mailstack.observe.log import FORMATS, Level, StructuredLog, Target

    return StructuredLog(Target(sys.stderr, FORMATS["text"], Level.WARNING))


@contextmanager
def books(config: Config, database: AccountDatabase) -> Iterator[Callable[[AccountName], Ledger]]:
    """Makes an account's ledger. Raises: click.ClickException."""
    from mailstack.errors import Refused
    from mailstack.store.account_directory import MAIL, directory_of
    from mailstack.store.quota import Quotas

    quotas = Quotas(warnings())
    mask = os.umask(0o077)
    try:
        with as_owner_of(config.data):
            quotas.use(limits(config, database))
            yield lambda name: quotas.ledger(name, config.data / MAIL / directory_of(name))
    except Refused as refused:
        raise click.ClickException(str(refused)) from refused
    finally:
        quotas.close()
        os.umask(mask)


@contextmanager
def opened_store(config: Config, database: AccountDatabase) -> Iterator[Store]:
    """The store of a configuration, with its quotas. Raises: click.ClickException when there is none, or
    when it refuses."""
    from mailstack.errors import Refused
    from mailstack.store.api import Store
    from mailstack.store.workers import InlineWorkers

    if not config.data.is_dir():
        raise click.ClickException(f"data directory {config.data}: there is none yet")
    mask = os.umask(0o077)
    try:
        with as_owner_of(config.data):
            store = Store(config.data, InlineWorkers(), warnings())
            store.quotas.use(limits(config, database))
            yield store
            result(store.close())
    except Refused as refused:
        raise click.ClickException(str(refused)) from refused
    finally:
        os.umask(mask)


def known_accounts(database: AccountDatabase, addresses: tuple[str, ...], everybody: bool) -> list[AccountName]:
    """Those that are named, or all. Raises: click.UsageError, click.ClickException."""
    if bool(addresses) == everybody:
        raise click.UsageError("give addresses, or --all")
    if everybody:
        return [account.name for account in database.accounts()]
    found = [(address.lower(), database.account(address)) for address in addresses]
    for name, account in found:
        if account is None:
            raise click.ClickException(f"there is no account {name}")
    return [account.name for _, account in found if account is not None]
