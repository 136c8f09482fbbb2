"""`mailstack account app-password`: passwords for single programs."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import click

from mailstack.auth.app_passwords import MAX_LABEL, SCOPES, AppPassword, digest, new_app_password
from mailstack.cli.account_database import accounts_of
from mailstack.cli.groups import Group
from mailstack.cli.paths import config_option, read_config

DAY = 86400.0


@click.group(
    "app-password",
    cls=Group,
    short_help="Passwords for single programs.",
    epilog="""\b
Examples:
  mailstack account app-password add alice@example.org phone
  mailstack account app-password add alice@example.org scanner --scope smtp --days 365
  mailstack account app-password list alice@example.org
  mailstack account app-password remove alice@example.org phone
""",
)
def app_password() -> None:
    """Passwords for single programs, for some services, perhaps for a time. A running server sees the change at
    once; connections that are open stay so."""


@app_password.command(
    short_help="Make a password for one program.",
    epilog="""\b
Examples:
  mailstack account app-password add alice@example.org phone
  mailstack account app-password add alice@example.org scanner --scope smtp --days 365

\b
Exit status: 0 made, 1 there is no such account or the label is taken, 2 wrong usage.
""",
)
@config_option
@click.argument("address")
@click.argument("label")
@click.option(
    "--scope", "scopes", multiple=True, type=click.Choice(SCOPES), help="What it is good for; all, if not said."
)
@click.option("--days", type=click.IntRange(1), metavar="N", help="It expires after so many days; never, if not said.")
def add(config_path: Path, address: str, label: str, scopes: tuple[str, ...], days: int | None) -> None:
    """Make a password of ADDRESS for the program LABEL, and print it: it cannot be shown again."""
    if not label.isprintable() or not 0 < len(label) <= MAX_LABEL:
        raise click.UsageError(f"expected a label of 1 to {MAX_LABEL} printable characters")
    now = time.time()
    made = new_app_password()
    expires = None if days is None else now + days * DAY
    kept = digest(made)
    assert kept is not None, "it is one"
    with accounts_of(read_config(config_path)) as database:
        chosen = tuple(scope for scope in SCOPES if scope in (scopes or SCOPES))
        database.add_app_password(address, AppPassword(label, chosen, now, expires), kept)
    click.echo(f"password {made}")


@app_password.command(
    "list",
    short_help="List the passwords for single programs.",
    epilog="""\b
Examples:
  mailstack account app-password list alice@example.org
  mailstack account app-password list alice@example.org --json
""",
)
@config_option
@click.argument("address")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_(config_path: Path, address: str, as_json: bool) -> None:
    """List the app passwords of ADDRESS: label, services, when made, until when. Not the passwords themselves."""
    with accounts_of(read_config(config_path)) as database:
        found = database.app_passwords(address)
    if as_json:
        click.echo(json.dumps([asdict(each) for each in found], indent=2))
        return
    for each in found:
        ending = f", until {_day(each.expires)}" if each.expires is not None else ""
        over = " (expired)" if each.expires is not None and each.expires <= time.time() else ""
        click.echo(f"{each.label}: {', '.join(each.scopes)}, made {_day(each.created)}{ending}{over}")


@app_password.command(
    short_help="Take a password of one program away.",
    epilog="""\b
Examples:
  mailstack account app-password remove alice@example.org phone

\b
Exit status: 0 removed, 1 there is no such app password, 2 wrong usage.
""",
)
@config_option
@click.argument("address")
@click.argument("label")
def remove(config_path: Path, address: str, label: str) -> None:
    """The program LABEL cannot log in as ADDRESS any more."""
    with accounts_of(read_config(config_path)) as database:
        database.remove_app_password(address, label)
    click.echo(f"removed {label} of {address.lower()}")


def _day(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds):%Y-%m-%d}"
