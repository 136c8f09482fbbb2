"""`mailstack alias`: addresses that lead to accounts."""

from __future__ import annotations

import json
from pathlib import Path

import click

from mailstack.cli.account import expect_local
from mailstack.cli.account_database import accounts_of
from mailstack.cli.addresses import AddressType
from mailstack.cli.groups import Group
from mailstack.cli.paths import config_option, read_config


@click.group(
    cls=Group,
    epilog="""\b
Examples:
  mailstack alias add info@example.org alice@example.org
  mailstack alias add info@example.org bob@example.org     info@ goes to both
  mailstack alias add @example.org alice@example.org       catch-all: every other address
  mailstack alias remove info@example.org

\b
alice+anything@example.org is alice@example.org without any alias (plus-addressing).
""",
)
def alias() -> None:
    """Add, list and remove aliases. A running server sees the change at once."""


@alias.command(
    short_help="Let an address lead to an account.",
    epilog="""\b
Examples:
  mailstack alias add info@example.org alice@example.org
  mailstack alias add alice@example.org bob@example.org    a copy for bob; alice keeps hers
  mailstack alias add @example.org alice@example.org       catch-all

\b
Exit status: 0 added, 1 it exists, leads nowhere, or is of no domain of the configuration, 2 wrong usage.
""",
)
@config_option
@click.argument("address", type=AddressType(catch_all=True))
@click.argument("target", type=AddressType())
def add(config_path: Path, address: str, target: str) -> None:
    """Mail for ADDRESS goes to TARGET, an account or another alias. @example.org as ADDRESS is the
    catch-all of its domain."""
    config = read_config(config_path)
    expect_local(config, config_path, address, target)
    if address == target:
        raise click.ClickException(f"{address} cannot lead to itself")
    with accounts_of(config) as database:
        if database.account(target) is None and target not in database.aliases():
            raise click.ClickException(f"there is no account and no alias {target}")
        database.add_alias(address, target)
    click.echo(f"{address} -> {target}")


@alias.command(
    "list",
    short_help="List all aliases.",
    epilog="""\b
Examples:
  mailstack alias list
  mailstack alias list --json | jq -r '.["info@example.org"][]'
""",
)
@config_option
@click.option("--json", "as_json", is_flag=True, help='As JSON: {"address": ["target", ...], ...}.')
def list_(config_path: Path, as_json: bool) -> None:
    """List all aliases, one a line as "address -> target, target"."""
    with accounts_of(read_config(config_path)) as database:
        aliases = database.aliases()
    if as_json:
        click.echo(json.dumps(aliases, indent=2, ensure_ascii=False))
        return
    for address, targets in aliases.items():
        click.echo(f"{address} -> {', '.join(targets)}")


@alias.command(
    short_help="Remove an alias, or one of its targets.",
    epilog="""\b
Examples:
  mailstack alias remove info@example.org                    all of it
  mailstack alias remove info@example.org bob@example.org    bob does not get its mail any more

\b
Exit status: 0 removed, 1 there is no such alias, 2 wrong usage.
""",
)
@config_option
@click.argument("address")
@click.argument("target", required=False)
def remove(config_path: Path, address: str, target: str | None) -> None:
    """Remove the alias ADDRESS, or only that it leads to TARGET."""
    with accounts_of(read_config(config_path)) as database:
        database.remove_alias(address, target)
    click.echo(f"removed {address.lower()}" + (f" -> {target.lower()}" if target else ""))
