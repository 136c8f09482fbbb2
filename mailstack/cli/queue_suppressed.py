"""`mailstack queue suppressed`: addresses that mail is not sent to any more."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mailstack.cli.addresses import AddressType
from mailstack.cli.groups import Group
from mailstack.cli.paths import config_option, read_config
from mailstack.mail.address import Address
from mailstack.queue.suppression import SUPPRESSED_DATABASE, SuppressionDatabase

if TYPE_CHECKING:
    from mailstack.config.sections import Config


@click.group(
    cls=Group,
    epilog="""\b
Examples:
  mailstack queue suppressed list
  mailstack queue suppressed add bob@example.net --reason "asked for no mail"
  mailstack queue suppressed clear bob@example.net
""",
)
def suppressed() -> None:
    """List addresses that get no more mail; add and clear."""


@suppressed.command(
    "list",
    short_help="List the addresses.",
    epilog="""\b
Examples:
  mailstack queue suppressed list
  mailstack queue suppressed list --json | jq -r '.[].address'
""",
)
@config_option
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_(config_path: Path, as_json: bool) -> None:
    """List the addresses, one a line: since when, the code, how many failures, and what was said."""
    with _database(read_config(config_path)) as database:
        entries = list(database.all())
    if as_json:
        click.echo(json.dumps([asdict(entry) for entry in entries], indent=2, ensure_ascii=False))
        return
    for entry in entries:
        since = datetime.fromtimestamp(entry.since)
        click.echo(f"{entry.address} {since:%Y-%m-%d %H:%M} {entry.status} {entry.failures} {entry.reason}".rstrip())


@suppressed.command(
    short_help="Put addresses on the list.",
    epilog="""\b
Examples:
  mailstack queue suppressed add bob@example.net
  mailstack queue suppressed add bob@example.net carol@example.net --reason "asked for no mail"

\b
Exit status: 0 done, 1 the list cannot be written, 2 wrong usage.
""",
)
@config_option
@click.argument("addresses", nargs=-1, required=True, type=AddressType(), metavar="ADDRESS...")
@click.option("--reason", default="", help="Why; the sender of a message to the address is told.")
def add(config_path: Path, addresses: tuple[str, ...], reason: str) -> None:
    """Put each ADDRESS on the list: mail to it goes back to its sender at once."""
    config = read_config(config_path)
    with _database(config) as database:
        for address in addresses:
            database.add(_address(address), reason, time.time())
            click.echo(f"added {address}")
    if not config.reports.suppress:
        click.echo(f"the list is not in use: {config_path} does not say suppress = true in [reports]", err=True)


@suppressed.command(
    short_help="Take addresses off the list.",
    epilog="""\b
Examples:
  mailstack queue suppressed clear bob@example.net
  mailstack queue suppressed clear --all

\b
Exit status: 0 done, 1 an address is not on the list, 2 wrong usage.
""",
)
@config_option
@click.argument("addresses", nargs=-1, type=AddressType(), metavar="[ADDRESS]...")
@click.option("--all", "everything", is_flag=True, help="Take all of them off.")
def clear(config_path: Path, addresses: tuple[str, ...], everything: bool) -> None:
    """Take each ADDRESS off the list, and forget how often mail to it failed."""
    if everything is bool(addresses):
        raise click.UsageError("expected addresses or --all")
    with _database(read_config(config_path)) as database:
        if everything:
            click.echo(f"cleared {database.clear()}")
            return
        missing = []
        for address in addresses:
            if database.clear(_address(address)):
                click.echo(f"cleared {address}")
            else:
                missing.append(address)
    if missing:
        raise click.ClickException(f"not on the list: {', '.join(missing)}")


def _address(text: str) -> Address:
    local, _, domain = text.rpartition("@")
    return Address(local, domain)


@contextmanager
def _database(config: Config) -> Iterator[SuppressionDatabase]:
    """The list of this configuration, made if it is not there. Raises: click.ClickException."""
    path = config.accounts_database.with_name(SUPPRESSED_DATABASE)
    try:
        is_new = not path.exists()
        with closing(SuppressionDatabase(path)) as database:
            if is_new and os.getuid() == 0 and config.user:  # the server, which will not be root, must be able to write
                for file in path.parent.glob(f"{path.name}*"):
                    shutil.chown(file, config.user, config.group or None)
            yield database
    except LookupError:
        raise click.ClickException(f"there is no system account {config.user} to own {path}") from None
    except (sqlite3.Error, OSError) as error:
        raise click.ClickException(f"{path}: {error}") from error
