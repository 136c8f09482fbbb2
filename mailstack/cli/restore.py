"""`mailstack restore`: mail out of a backup, while the server runs."""

from __future__ import annotations

import time
from pathlib import Path

import click

from mailstack.cli.addresses import AddressType
from mailstack.cli.backup import backup_errors
from mailstack.cli.progress import counted
from mailstack.cli.stores import as_the_server, find_store, logins, where_options


@click.command(
    epilog="""\b
Examples:
  mailstack restore /backups alice@example.org                        out of the newest backup
  mailstack restore /backups/20261124T213000Z alice@example.org
  mailstack restore /backups alice@example.org --mailbox Lists/Py
  mailstack restore /backups alice@example.org --into rescue@example.org

\b
A mailbox in which there never was a message gets the UIDs and the UIDVALIDITY of the backup: clients
download nothing again. Any other one gets the messages that it lacks, as new ones with their flags,
keywords and dates. Nothing that is there is removed or overwritten; a second run adds nothing.

\b
Exit status: 0 restored, 1 it cannot be (standard error says why), 2 wrong usage, 130 Ctrl-C.
"""
)
@where_options
@click.argument("backup_path", metavar="BACKUP", type=click.Path(path_type=Path))
@click.argument("account")
@click.option("--mailbox", metavar="NAME", help='Only this one, as "Lists/Py"; by default all of the account.')
@click.option("--into", metavar="ACCOUNT", type=AddressType(), help="Another account that gets the mail.")
def restore(
    config_path: Path, data: Path | None, backup_path: Path, account: str, mailbox: str | None, into: str | None
) -> None:
    """Put the mail of ACCOUNT in BACKUP back. BACKUP is one backup, or a directory of which the newest is taken."""
    from mailstack.ports import AccountName
    from mailstack.store.accounts import account_directory
    from mailstack.store.acls import FILE, gather
    from mailstack.store.backup import places
    from mailstack.store.backup.restore import restore as work
    from mailstack.store.maildir.attributes import AttributeFile

    where = find_store(config_path, data)
    with backup_errors(where.data):
        path = places.find(backup_path)
        manifest = places.read(path)
        name = account if account in manifest.accounts else account.lower()
        if name not in manifest.accounts:
            raise click.ClickException(f"{path} has no account {account}")
        target = into or name
        source, place = path / "mail" / manifest.accounts[name].directory, account_directory(where.data, target)
        age = time.time() - manifest.begun
        with as_the_server(where):
            for done in work(source, place, mailbox=mailbox, other_account=target != name, age=age):
                how = " with the UIDs that they had" if done.same_uids else " as new messages"
                how = how if done.added else ""
                there = f", {done.there:,} there already" if done.there else ""
                click.echo(f"{target} {done.mailbox}: {counted(done.added, 'message')} restored{how}{there}")
                for note in done.notes:
                    click.echo(f"{target} {done.mailbox}: {note}", err=True)
            gather(AttributeFile(where.data / FILE), AccountName(target), place)
    if where.database is not None and target not in logins(where):
        click.echo(f"{target} has no login; `mailstack account add {target}` gives it one", err=True)
