"""`mailstack account quota` and `recalculate`: what accounts may use, and what they use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mailstack.cli.account_database import accounts_of
from mailstack.cli.paths import config_option, read_config
from mailstack.cli.sizes import SizeType
from mailstack.cli.stored import books, known_accounts
from mailstack.config.units import about
from mailstack.ports import AccountName
from mailstack.quota import Quota, QuotaLimit

if TYPE_CHECKING:
    from mailstack.auth.database import AccountDatabase
    from mailstack.config.sections import Config

SIZE = SizeType()


@click.command(
    short_help="Show or set what an account may use.",
    epilog="""\b
Examples:
  mailstack account quota alice@example.org                       shows what it uses and may use
  mailstack account quota alice@example.org --bytes 2G --messages 100000
  mailstack account quota alice@example.org --bytes 0             any number of octets
  mailstack account quota alice@example.org --default             what its domain or [quota] says

\b
Exit status: 0 shown or set, 1 there is no such account, 2 wrong usage.
""",
)
@config_option
@click.argument("address")
@click.option("--bytes", "octets", type=SIZE, metavar="SIZE", help="All messages together, as 2G or 500M; 0: any.")
@click.option("--messages", type=click.IntRange(0), metavar="N", help="All messages; 0: any.")
@click.option("--default", "default", is_flag=True, help="No quota of its own: that of its domain, or of [quota].")
def quota(config_path: Path, address: str, octets: int | None, messages: int | None, default: bool) -> None:
    """Show what ADDRESS uses and may use, or set what it may use. Of --bytes and --messages, what is not said
    stays as it is. A running server sees the change with the next message."""
    changing = octets is not None or messages is not None
    if default and changing:
        raise click.UsageError("--default and --bytes or --messages exclude each other")
    config = read_config(config_path)
    name = AccountName(address.lower())
    with accounts_of(config) as database:
        if database.account(name) is None:
            raise click.ClickException(f"there is no account {name}")
        with books(config, database) as ledger:
            before = ledger(name).limit
        if default:
            database.set_quota(name, None)
        elif changing:
            limit = QuotaLimit(
                before.octets if octets is None else octets, before.messages if messages is None else messages
            )
            database.set_quota(name, limit)
        with books(config, database) as ledger:
            # Counted anew, since nobody counted while there was no limit.
            found = ledger(name).recalculate() if changing or default else ledger(name).quota()
    click.echo(f"{name} {described(found)}")


@click.command(
    short_help="Count anew what accounts use.",
    epilog="""\b
Examples:
  mailstack account recalculate alice@example.org
  mailstack account recalculate --all

\b
Exit status: 0 counted, 1 there is no such account, 2 wrong usage.
""",
)
@config_option
@click.argument("address", nargs=-1)
@click.option("--all", "everybody", is_flag=True, help="All accounts.")
def recalculate(config_path: Path, address: tuple[str, ...], everybody: bool) -> None:
    """Count what each ADDRESS uses, and write it to the account's `maildirsize`. Needed only after another
    program has put messages into a Maildir or taken them out, and then it is done by itself later."""
    config = read_config(config_path)
    with accounts_of(config) as database:
        names = known_accounts(database, address, everybody)
        with books(config, database) as ledger:
            for name in names:
                click.echo(f"{name} {described(ledger(name).recalculate())}")


def quotas_of(config: Config, database: AccountDatabase, names: Sequence[AccountName]) -> dict[AccountName, Quota]:
    """Of those that have one."""
    with books(config, database) as ledger:
        return {name: ledger(name).quota() for name in names if ledger(name).limit}


def described(quota: Quota) -> str:
    """Use and limit in words."""
    limit = quota.limit
    octets = f"{about(quota.octets)} of {about(limit.octets)}" if limit.octets else about(quota.octets)
    if limit.messages:
        messages = f"{quota.messages} of {limit.messages} messages"
    else:
        messages = "1 message" if quota.messages == 1 else f"{quota.messages} messages"
    return f"{octets}, {messages}" + ("" if limit else ", no quota")
