"""Which store a command works on: that of a configuration, or a data directory. And on which accounts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from mailstack.cli.paths import config_option, read_config

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Where:
    """A store. `database` of the accounts and `configuration` are None where there is none."""

    data: Path
    database: Path | None
    configuration: Path | None


def where_options(command: F) -> F:
    """`--config FILE` and `--data DIRECTORY`, handed to the command as `config_path` and `data`."""
    data = click.option(
        "--data",
        metavar="DIRECTORY",
        type=click.Path(path_type=Path, file_okay=False),
        help="The data directory, instead of a configuration that names it.",
    )
    return config_option(data(command))


def find_store(config_path: Path, data: Path | None) -> Where:
    """Raises: click.ClickException."""
    from mailstack.config.sections import ACCOUNTS_DATABASE

    context = click.get_current_context()
    if data is None:
        config = read_config(config_path)
        found = Where(config.data, config.accounts_database, config_path)
    else:
        if context.get_parameter_source("config_path") is ParameterSource.COMMANDLINE:
            raise click.UsageError("--config and --data exclude each other")
        found = Where(data, data / ACCOUNTS_DATABASE, None)
    if not found.data.is_dir():
        raise click.ClickException(f"there is no data directory {found.data}")
    if found.database is None or not found.database.exists():
        found = Where(found.data, None, found.configuration)
    return found


def choose_accounts(where: Where, names: Sequence[str]) -> dict[str, Path]:
    """Name → directory of these accounts, or of all if none is named. One that has a login and no mail yet is
    named on standard error. Raises: click.ClickException for one that is not there at all."""
    from mailstack.store.accounts import account_directories, mail_directory

    known = account_directories(where.data) if mail_directory(where.data).is_dir() else {}
    if not names:
        return known
    chosen: dict[str, Path] = {}
    for name in names:
        found = name if name in known else name.lower()
        if found in known:
            chosen[found] = known[found]
        elif found in logins(where):
            click.echo(f"{found}: no mail yet", err=True)
        else:
            raise click.ClickException(f"there is no account {name} in {where.data}")
    return chosen


def logins(where: Where) -> frozenset[str]:
    """The accounts that may log in. Raises: click.ClickException."""
    if where.database is None:
        return frozenset()
    from mailstack.auth.database import AccountDatabase, AccountsError

    try:
        database = AccountDatabase(where.database)
        try:
            return frozenset(account.name for account in database.accounts())
        finally:
            database.close()
    except (AccountsError, OSError) as error:
        raise click.ClickException(str(error)) from error


@contextmanager
def as_the_server(where: Where) -> Iterator[None]:
    """What is made meanwhile belongs to the server's account, also when root runs the command."""
    from mailstack.store.owner import acting_as_owner_of

    with acting_as_owner_of(where.data):
        yield
