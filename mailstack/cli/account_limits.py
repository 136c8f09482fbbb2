"""`mailstack account limits`: what an account has sent, and what it may."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import click

from mailstack.auth.sent import SENT_DATABASE, Count, SentDatabase
from mailstack.cli.account_database import accounts_of
from mailstack.cli.paths import config_option, read_config


@click.command(
    short_help="Show what an account has sent, and may.",
    epilog="""\b
Examples:
  mailstack account limits alice@example.org
  mailstack account limits alice@example.org --reset      it may send again at once

\b
Exit status: 0 shown or reset, 1 there is no such account, 2 wrong usage.
""",
)
@config_option
@click.argument("address")
@click.option("--reset", is_flag=True, help="Begin to count anew. Whom the account wrote to stays known.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def limits(config_path: Path, address: str, reset: bool, as_json: bool) -> None:
    """Show how much of the limits of [sending] ADDRESS has used. A running server sees a reset at once."""
    config = read_config(config_path)
    name = address.lower()
    with accounts_of(config) as database:
        if database.account(name) is None:
            raise click.ClickException(f"there is no account {name}")
    path = config.accounts_database.with_name(SENT_DATABASE)
    if not path.exists():
        raise click.ClickException(f"{path} is not there: the server that makes it has not run yet")
    try:
        with closing(SentDatabase(path)) as sent:
            if reset:
                sent.reset(name)
            counts = sent.counts(name, config.sending, time.time())
    except (sqlite3.Error, OSError) as error:
        raise click.ClickException(f"{path}: {error}") from error
    if as_json:
        click.echo(json.dumps([asdict(count) for count in counts], indent=2))
        return
    for count in counts:
        click.echo(_line(count))
    if name in config.sending.unlimited:
        click.echo("none of these limits holds for it: [sending] unlimited")


def _line(count: Count) -> str:
    used = f"{count.number} of {count.limit}" if count.limit else f"{count.number}"
    reached = count.limit and count.number >= count.limit
    ending = f", reached until {datetime.fromtimestamp(count.until):%Y-%m-%d %H:%M}" if reached else ""
    return f"{used} {count.what}{ending}"
