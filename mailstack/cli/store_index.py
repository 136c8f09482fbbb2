"""`mailstack store index`: accounts' indexes ahead of the first client."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mailstack.cli.progress import counted, progress
from mailstack.cli.store_check import account_options, choose, store_errors
from mailstack.cli.stored import result
from mailstack.cli.stores import as_the_server, find_store

if TYPE_CHECKING:
    from mailstack.store.indexing import Deriver, Indexed


@click.command(
    short_help="Make accounts' indexes ahead of the first client.",
    epilog="""\b
Examples:
  mailstack store index --all
  mailstack store index alice@example.org --derive
  mailstack store index alice@example.org --drop

\b
The index holds nothing that cannot be made again. Opening a mailbox takes new mail in, as a client does.

\b
Exit status: 0 done, 1 a mailbox could not be opened (standard error says why), 2 wrong usage.
""",
)
@account_options
@click.option(
    "--derive",
    is_flag=True,
    help="Read every message too, and keep what clients list and sort by: ENVELOPE and the like.",
)
@click.option("--drop", is_flag=True, help="Remove the indexes instead.")
def index(
    config_path: Path, data: Path | None, accounts: tuple[str, ...], everything: bool, derive: bool, drop: bool
) -> None:
    """Make the index of each ACCOUNT, or of --all, so that the first client that opens a mailbox does not wait."""
    from mailstack.errors import Refused
    from mailstack.store.check import cache
    from mailstack.store.indexing import build

    if derive and drop:
        raise click.UsageError("--derive and --drop exclude each other")
    where = find_store(config_path, data)
    chosen = choose(where, accounts, everything)
    derivers = _derivers() if derive else []
    failed = False
    with progress() as told, as_the_server(where), store_errors():
        for name, path in chosen.items():
            if drop:
                click.echo(f"{name}: {'index removed' if cache.drop(path) else 'no index'}")
                continue

            def tell(done: Indexed, name: str = name) -> None:
                told.clear()
                derived = f", {done.derived:,} derived" if derive else ""
                click.echo(f"{name} {done.mailbox}: {counted(done.messages, 'message')}{derived}")

            log = cache.Collected()
            try:
                result(build(where.data, name, log, derivers, told, tell))
            except Refused as refused:
                log.lines.append(str(refused))
            for line in log.lines:
                failed = True
                click.echo(f"{name}: {line}", err=True)
    if failed:
        sys.exit(1)


def _derivers() -> list[Deriver]:
    """What FETCH, SEARCH, SORT and THREAD keep of messages, under the names by which they look for it."""
    from mailstack.imap.foreseen import foreseen

    return [*foreseen(utf8=False).items()]
