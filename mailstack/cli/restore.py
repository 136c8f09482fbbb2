"""`mailstack restore`: mail out of a backup, while the server runs."""

from __future__ import annotations

import time
from pathlib import Path

import click

from mailstack.cli.addresses import AddressType
from mailstack.cli.backup import backup_errors
from mailstack.cli.progress import counted
from mailstack.cli.stores import Where, as_the_server, find_store, logins, where_options


@click.command(
    epilog="""\b
Examples:
  mailstack restore /backups alice@example.org                        out of the newest backup
  mailstack restore /backups/20261124T213000Z alice@example.org
  mailstack restore /backups alice@example.org --mailbox Lists/Py
  mailstack restore /backups alice@example.org --into rescue@example.org
  mailstack restore /backups alice@example.org --login                a removed account as a whole
  mailstack restore /backups --server                                 what is of no account

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
@click.argument("account", required=False)
@click.option("--mailbox", metavar="NAME", help='Only this one, as "Lists/Py"; by default all of the account.')
@click.option("--into", metavar="ACCOUNT", type=AddressType(), help="Another account that gets the mail.")
@click.option("--login", is_flag=True, help="The login, too, with its app passwords, if the account has none now.")
@click.option("--server", is_flag=True, help="Instead of an account: annotations of the server, and known recipients.")
def restore(
    config_path: Path, data: Path | None, backup_path: Path, account: str | None, mailbox: str | None,
    into: str | None, login: bool, server: bool,
) -> None:  # fmt: skip
    """Put the mail of ACCOUNT in BACKUP back. BACKUP is one backup, or a directory of which the newest is taken."""
    where = find_store(config_path, data)
    if server:
        if account or mailbox or into or login:
            raise click.UsageError("--server is about no account")
        _server(where, backup_path)
        return
    if account is None:
        raise click.UsageError("Missing argument 'ACCOUNT'.")
    if login and (into or mailbox):
        raise click.UsageError("--login is about the whole account, under its own name")
    _account(where, backup_path, account, mailbox, into, login=login)


def _account(
    where: Where, backup_path: Path, account: str, mailbox: str | None, into: str | None, *, login: bool
) -> None:
    from mailstack.ports import AccountName
    from mailstack.store.accounts import account_directory
    from mailstack.store.acls import FILE, gather
    from mailstack.store.backup import places
    from mailstack.store.backup.restore import restore as work
    from mailstack.store.maildir.attributes import AttributeFile

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
        if login:
            _login(where, path, name)
    if where.database is not None and target not in logins(where):
        click.echo(f"{target} has no login; `mailstack account add {target}` gives it one", err=True)


def _login(where: Where, backup: Path, name: str) -> None:
    """Raises: click.ClickException."""
    from mailstack.auth.database import AccountDatabase, AccountsError
    from mailstack.store.backup import places

    if where.database is None:
        raise click.ClickException(f"there is no accounts database in {where.data}")
    if name in logins(where):
        click.echo(f"{name}: the login that is there stays", err=True)
        return
    saved = backup / places.ACCOUNTS
    if not saved.exists():
        raise click.ClickException(f"{backup} has no accounts database")
    try:
        database = AccountDatabase(where.database)
        try:
            found = database.take_login(saved, name)
        finally:
            database.close()
    except AccountsError as error:
        raise click.ClickException(str(error)) from error
    if found is not None:
        click.echo(f"{name}: login restored, with {counted(found, 'app password')}")


def _server(where: Where, backup_path: Path) -> None:
    """What is of no account, as far as it is not there. Raises: click.ClickException."""
    import sqlite3

    from mailstack.auth.sent import SentDatabase, known_in
    from mailstack.store.backup import places
    from mailstack.store.maildir.attributes import SERVER_FILE, AttributeFile

    with backup_errors(where.data):
        path = places.find(backup_path)
        places.read(path)
        saved = AttributeFile(path / SERVER_FILE).read()
        with as_the_server(where):
            here = AttributeFile(where.data / SERVER_FILE)
            lacking = {key: value for key, value in saved.items() if key not in here.read()}
            if lacking:
                here.change(lambda entries: entries.update({**lacking, **entries}))
        click.echo(f"{counted(len(lacking), 'annotation')} of the server restored")
    sent = path / places.SENT
    if where.database is None or not sent.exists():
        return
    try:
        rows = known_in(sent)
        with as_the_server(where):
            database = SentDatabase(where.database.with_name(places.SENT))
            try:
                added = database.take_known(rows)
            finally:
                database.close()
    except sqlite3.Error as error:
        raise click.ClickException(f"{places.SENT}: {error}") from error
    click.echo(f"{counted(added, 'known recipient')} restored")
