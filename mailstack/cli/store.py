"""`mailstack store`: looking after the mail on disk, beside a server that may run."""

from __future__ import annotations

from pathlib import Path

import click

from mailstack.cli.account_database import accounts_of
from mailstack.cli.groups import Group
from mailstack.cli.paths import config_option, read_config
from mailstack.cli.store_check import check, repair
from mailstack.cli.store_index import index
from mailstack.cli.stored import Impatient, opened_store, result


@click.group(
    cls=Group,
    epilog="""\b
Examples:
  mailstack store check --all
  mailstack store repair alice@example.org
  mailstack store index --all --derive
  mailstack store expire --dry-run
  mailstack store COMMAND --help      everything about one of them
""",
)
def store() -> None:
    """Look after the mail on disk. A running server sees the changes, and so do its clients."""


for _command in (check, repair, index):
    store.add_command(_command)


@store.command(
    short_help="Expire messages by [[retention]] now.",
    epilog="""\b
Examples:
  mailstack store expire --dry-run
  mailstack store expire
  mailstack store expire alice@example.org

\b
Exit status: 0 done, also when nothing was due, 1 it could not be done, 2 wrong usage.
""",
)
@config_option
@click.option("--dry-run", is_flag=True, help="Say what would expire, and expire nothing.")
@click.argument("address", nargs=-1)
def expire(config_path: Path, dry_run: bool, address: tuple[str, ...]) -> None:
    """Expire messages now by the configuration's [[retention]], of all accounts or of ADDRESS alone. The
    server does the same every hour."""
    from mailstack.ports import AccountName
    from mailstack.store.expiry import Expiry

    config = read_config(config_path)
    if not config.retention:
        raise click.ClickException(f"{config_path} has no [[retention]]: nothing ever expires")
    only = frozenset(AccountName(each.lower()) for each in address)
    with accounts_of(config) as database, opened_store(config, database) as opened:
        for expired in result(Expiry(opened, config.retention, Impatient()).sweep(only, dry_run=dry_run)):
            done = "would expire" if dry_run else "expired"
            click.echo(f"{expired.account} {expired.mailbox}: {expired.messages} {done}")
