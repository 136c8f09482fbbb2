"""`mailstack backup`: copies of the store, made while the server runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mailstack.cli.groups import Group
from mailstack.cli.progress import counted, printable, progress, size
from mailstack.cli.stores import Where, choose_accounts, find_store, where_options

if TYPE_CHECKING:
    from mailstack.store.backup.make import Made, Sources
    from mailstack.store.backup.places import Manifest

DIRECTORY = click.Path(path_type=Path)


class BackupGroup(Group):
    """`backup DIR` is `backup make DIR`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = ["make", *args]
        return super().parse_args(ctx, args)


@click.group(
    cls=BackupGroup,
    epilog="""\b
Examples:
  mailstack backup /backups                       everything, while the server runs
  mailstack backup /backups alice@example.org     one account
  mailstack backup list /backups
  mailstack backup verify /backups/20261124T213000Z
  mailstack restore /backups alice@example.org

\b
`mailstack backup DIR` is `mailstack backup make DIR`.
""",
)
def backup() -> None:
    """Make, list and verify backups. `mailstack restore` puts mail back."""


@backup.command(
    short_help="Make a backup; the server may run.",
    epilog="""\b
Examples:
  mailstack backup /backups
  mailstack backup /backups --verify --keep 14
  mailstack backup make /backups alice@example.org
  mailstack backup /tmp/b --data ~/.local/state/mailstack

\b
DIR gets a directory named by the time. It is complete when `manifest.json` is in it; what an interrupted
run left is removed by the next. Messages are hard links where the file system allows, so that a backup
takes little time and room: it protects from mistakes, and only on another disk from the loss of a disk.
On another file system, messages that the last backup in DIR has are linked to that, others copied.

\b
Exit status: 0 made, 1 not made, or a message could not be read or is not whole (standard error says which),
2 wrong usage, 130 Ctrl-C.
""",
)
@where_options
@click.argument("directory", metavar="DIR", type=DIRECTORY)
@click.argument("accounts", metavar="[ACCOUNT]...", nargs=-1)
@click.option("--verify", is_flag=True, help="Read every message of the backup, and note its checksum.")
@click.option(
    "--keep", type=click.IntRange(min=1), metavar="N", help="Remove the oldest whole backups when there are more."
)
def make(
    config_path: Path, data: Path | None, directory: Path, accounts: tuple[str, ...], verify: bool, keep: int | None
) -> None:
    """Make a backup of all accounts, or of each ACCOUNT, in DIR: messages with their UIDs, flags, keywords
    and dates, mailboxes, subscriptions; of the logins and aliases, the configuration, the queue."""
    from mailstack.store.backup import make as work
    from mailstack.store.backup import places

    where = find_store(config_path, data)
    chosen = choose_accounts(where, accounts)
    if accounts and not chosen:
        raise click.ClickException("nothing to back up")
    if directory.resolve().is_relative_to((where.data / "mail").resolve()):
        raise click.ClickException(f"{directory} is inside of what is to be backed up")
    with progress() as told, backup_errors(directory):
        made = work.make(directory, _sources(where, chosen, whole=not accounts), verify=verify, progress=told)
        removed = places.prune(directory, keep) if keep is not None and not accounts else []
    click.echo(_summary(made))
    for path in removed:
        click.echo(f"removed {path}")
    for old in made.manifest.missing:
        click.echo(printable(f"cannot be read, not in the backup: {old}"), err=True)
    for line in (*made.totals.notes, *made.problems):
        click.echo(printable(line), err=True)
    if made.manifest.missing or made.problems:
        sys.exit(1)


@backup.command(
    "list",
    short_help="List the backups in a directory.",
    epilog="""\b
Examples:
  mailstack backup list /backups
  mailstack backup list /backups --json | jq -r '.[-1].path'
""",
)
@click.argument("directory", metavar="DIR", type=DIRECTORY)
@click.option("--json", "as_json", is_flag=True, help="As JSON: an array of what the manifests say, with the paths.")
def list_(directory: Path, as_json: bool) -> None:
    """List the backups in DIR, oldest first, one a line."""
    from mailstack.store.backup import places

    with backup_errors(directory):
        found = [(path, places.read(path) if places.is_complete(path) else None) for path in places.places(directory)]
    if as_json:
        click.echo(json.dumps([_described(path, manifest) for path, manifest in found], indent=2))
        return
    for path, manifest in found:
        click.echo(_listed(path, manifest))


@backup.command(
    short_help="Read a whole backup and say what is wrong.",
    epilog="""\b
Examples:
  mailstack backup verify /backups/20261124T213000Z
  mailstack backup verify /backups                  the newest one

\b
Exit status: 0 it is whole, 1 it is not, each mistake in a line, 2 wrong usage.
""",
)
@click.argument("backup_path", metavar="BACKUP", type=DIRECTORY)
def verify(backup_path: Path) -> None:
    """Read every message of BACKUP: whether it is as long as its name says, and, of a backup that was made
    with --verify, has the same octets; and whether each UID has its message."""
    from mailstack.store.backup import places
    from mailstack.store.backup.verify import verify as work

    with progress() as told, backup_errors(backup_path):
        path = places.find(backup_path)
        manifest = places.read(path)
        problems = work(path, manifest, told)
    for problem in problems:
        click.echo(printable(f"{path}: {problem}"))
    if problems:
        click.echo(f"{path} is not whole: {counted(len(problems), 'problem')}", err=True)
        sys.exit(1)
    click.echo(f"{path}: whole, {counted(manifest.messages, 'message')}, {size(manifest.octets)}")


@contextmanager
def backup_errors(place: Path) -> Iterator[None]:
    """What is wrong with a backup or a store becomes click.ClickException. `place` is named when the system
    names no file, as when the disk is full."""
    from mailstack.errors import Refused
    from mailstack.store.backup.places import BackupError

    try:
        yield
    except (BackupError, Refused) as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename or place}: {error.strerror}") from error


def _sources(where: Where, chosen: dict[str, Path], *, whole: bool) -> Sources:
    from mailstack.store.backup.make import Sources

    queue = where.data / "queue"
    return Sources(
        accounts=chosen,
        whole=whole,
        queue=queue if whole and queue.is_dir() else None,
        database=where.database,
        configuration=where.configuration,
        data=where.data,
    )


def _summary(made: Made) -> str:
    manifest, totals = made.manifest, made.totals
    parts = [
        counted(len(manifest.accounts), "account"),
        counted(totals.mailboxes, "mailbox", "mailboxes"),
        f"{counted(manifest.messages, 'message')} ({totals.linked:,} linked, {totals.copied:,} copied)",
        size(manifest.octets),
    ]
    if totals.gone:
        parts.append(f"{totals.gone:,} removed meanwhile")
    if made.cleaned:
        parts.append(f"{counted(made.cleaned, 'interrupted run')} cleaned")
    return f"{made.path}: {', '.join(parts)} in {manifest.ended - manifest.begun:.1f} s"


def _listed(path: Path, manifest: Manifest | None) -> str:
    if manifest is None:
        return f"{path}  incomplete"
    words = [
        datetime.fromtimestamp(manifest.begun, UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        counted(len(manifest.accounts), "account"),
        counted(manifest.messages, "message"),
        size(manifest.octets),
        "whole" if manifest.whole else "some accounts",
        *(["verified"] if manifest.verified else []),
        *([f"{counted(len(manifest.missing), 'message')} missing"] if manifest.missing else []),
    ]
    return f"{path}  {', '.join(words)}"


def _described(path: Path, manifest: Manifest | None) -> dict[str, object]:
    if manifest is None:
        return {"path": str(path), "complete": False}
    totals = {"messages": manifest.messages, "octets": manifest.octets}
    return {"path": str(path), "complete": True, **asdict(manifest), **totals}
