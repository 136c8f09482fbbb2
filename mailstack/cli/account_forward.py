"""`mailstack account forward`: where an account's mail goes besides, or instead of, its mailbox."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mailstack.cli.account_database import accounts_of
from mailstack.cli.addresses import AddressType, domain_of
from mailstack.cli.groups import Group
from mailstack.cli.paths import config_option, read_config

if TYPE_CHECKING:
    from mailstack.auth.database import AccountDatabase
    from mailstack.config.sections import Config

MAX_TARGETS = 20
"""Addresses to which one account is forwarded; more are a mailing list."""
ADDRESS = AddressType()


@click.group(
    cls=Group,
    short_help="Forward an account's mail elsewhere.",
    epilog="""\b
Examples:
  mailstack account forward set alice@example.org alice@example.net
  mailstack account forward add alice@example.org carol@example.com
  mailstack account forward list
  mailstack account forward clear alice@example.org
""",
)
def forward() -> None:
    """Forward an account's mail elsewhere. A running server sees the change at once."""


@forward.command(
    "set",
    short_help="Forward to these addresses and no others.",
    epilog="""\b
Examples:
  mailstack account forward set alice@example.org alice@example.net
  mailstack account forward set alice@example.org alice@example.net bob@example.org --keep-copy

\b
Exit status: 0 set, 1 there is no such account, or an address of ours leads nowhere, 2 wrong usage.
""",
)
@config_option
@click.argument("address")
@click.argument("targets", nargs=-1, required=True, type=ADDRESS, metavar="TARGET...")
@click.option("--keep-copy", is_flag=True, help="The account gets its mail, too.")
def set_(config_path: Path, address: str, targets: tuple[str, ...], keep_copy: bool) -> None:
    """Mail for the account ADDRESS goes to each TARGET, here or elsewhere, and not to others any more; into its own
    mailbox only with --keep-copy."""
    config = read_config(config_path)
    with accounts_of(config) as database:
        _set(config, database, address.lower(), targets, keep_copy)


@forward.command(
    short_help="Forward to more addresses.",
    epilog="""\b
Examples:
  mailstack account forward add alice@example.org carol@example.com

\b
Exit status: 0 added, 1 there is no such account, or an address of ours leads nowhere, 2 wrong usage.
""",
)
@config_option
@click.argument("address")
@click.argument("targets", nargs=-1, required=True, type=ADDRESS, metavar="TARGET...")
def add(config_path: Path, address: str, targets: tuple[str, ...]) -> None:
    """Mail for the account ADDRESS goes to each TARGET, too. Whether it keeps a copy stays as it is; one that was not
    forwarded keeps it."""
    config, name = read_config(config_path), address.lower()
    with accounts_of(config) as database:
        known = database.forwards().get(name)
        before, keep = (known.targets, known.keep) if known else ((), True)
        _set(config, database, name, (*before, *targets), keep)


@forward.command(
    short_help="Do not forward any more.",
    epilog="""\b
Examples:
  mailstack account forward clear alice@example.org

\b
Exit status: 0 cleared, 1 there is no such account, or it is not forwarded, 2 wrong usage.
""",
)
@config_option
@click.argument("address")
def clear(config_path: Path, address: str) -> None:
    """Mail for the account ADDRESS goes into its mailbox only."""
    name = address.lower()
    with accounts_of(read_config(config_path)) as database:
        if database.account(name) is not None and name not in database.forwards():
            raise click.ClickException(f"{name} is not forwarded")
        database.set_forwards(name, ())
    click.echo(f"{name} is not forwarded any more")


@forward.command(
    "list",
    short_help="List the accounts that are forwarded.",
    epilog="""\b
Examples:
  mailstack account forward list
  mailstack account forward list --json | jq -r 'keys[]'
""",
)
@config_option
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_(config_path: Path, as_json: bool) -> None:
    """List the accounts that are forwarded, one a line as "account -> target, target"."""
    with accounts_of(read_config(config_path)) as database:
        forwards = database.forwards()
    if as_json:
        found = {name: {"targets": each.targets, "keep_copy": each.keep} for name, each in forwards.items()}
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    for name, each in forwards.items():
        click.echo(_line(name, each.targets, each.keep))


def _set(config: Config, database: AccountDatabase, name: str, targets: tuple[str, ...], keep: bool) -> None:
    """Raises: click.ClickException, AccountsError."""
    wanted = tuple(dict.fromkeys(targets))
    if len(wanted) > MAX_TARGETS:
        raise click.ClickException(f"{name} would be forwarded to {len(wanted)} addresses; {MAX_TARGETS} is the limit")
    if name in wanted:
        raise click.ClickException(f"{name} cannot be forwarded to itself; --keep-copy keeps its mail here, too")
    domains, aliases = {section.name.lower() for section in config.domains}, database.aliases()
    for target in wanted:
        if domain_of(target) in domains and database.account(target) is None and target not in aliases:
            raise click.ClickException(f"there is no account and no alias {target}")
    database.set_forwards(name, wanted, keep=keep)
    click.echo(_line(name, wanted, keep))


def _line(name: str, targets: tuple[str, ...], keep: bool) -> str:
    return f"{name} -> {', '.join(targets)}{', and a copy here' if keep else ''}"
