"""`mailstack alias`: addresses that lead to accounts."""

from __future__ import annotations

import json
from pathlib import Path

import click

from mailstack.auth.database import AccountsError
from mailstack.cli.account import open_database
from mailstack.cli.paths import config_option, read_config

EXAMPLES = """\b
Examples:
  mailstack alias add info@example.org alice@example.org
  mailstack alias add info@example.org bob@example.org     info@ goes to both
  mailstack alias add @example.org alice@example.org       catch-all: every other address
  mailstack alias remove info@example.org

\b
alice+anything@example.org is alice@example.org without any alias (plus-addressing).
"""


@click.group(epilog=EXAMPLES)
def alias() -> None:
    """Add, list and remove aliases. A running server sees the change at once."""


@alias.command()
@config_option
@click.argument("address")
@click.argument("target")
def add(config_path: Path, address: str, target: str) -> None:
    """Mail for ADDRESS goes to TARGET, an account or another alias of a local domain."""
    domains = {section.name.lower() for section in read_config(config_path).domains}
    for given in (address, target):
        if given.lower().rpartition("@")[2] not in domains:
            raise click.ClickException(f"{given} is not an address of a domain in {config_path}")
    try:
        open_database(config_path).add_alias(address, target)
    except AccountsError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{address.lower()} -> {target.lower()}")


@alias.command("list")
@config_option
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_(config_path: Path, as_json: bool) -> None:
    """List all aliases."""
    aliases = open_database(config_path).aliases()
    if as_json:
        click.echo(json.dumps(aliases, indent=2))
        return
    for address, targets in aliases.items():
        click.echo(f"{address} -> {', '.join(targets)}")


@alias.command()
@config_option
@click.argument("address")
@click.argument("target", required=False)
def remove(config_path: Path, address: str, target: str | None) -> None:
    """Remove the alias ADDRESS, or only that it leads to TARGET."""
    try:
        open_database(config_path).remove_alias(address, target)
    except AccountsError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"removed {address.lower()}")
