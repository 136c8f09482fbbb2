"""`mailstack import`: mail moves in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mailstack.cli.moving import (
    Progress,
    become_owner,
    find_account,
    finish,
    imap_options,
    open_store,
    output_options,
    password_for,
    said_in_one_line,
    where_options,
)
from mailstack.transfer.report import Report

if TYPE_CHECKING:
    from mailstack.cli.moving import Where
    from mailstack.store.api import Store
    from mailstack.transfer.imap_client import Trust
    from mailstack.transfer.values import Source

EXAMPLES = """\b
Examples:
  mailstack import alice@example.org /home/alice/Maildir
  mailstack import alice@example.org archive.mbox --into Archive/2023
  mailstack import alice@example.org backup.tar.gz --dry-run
  mailstack import alice@example.org imaps://alice@mail.example.net --map "Sent Items=Sent"
  mailstack import alice message.eml --data ~/.local/state/mailstack

\b
Run it again after Ctrl-C, a crash or new mail at the source: it takes what is new, and nothing twice.
Exit status: 0 all taken, 1 something was not (standard error says what and where), 2 wrong usage, 130 Ctrl-C.
"""


@click.command("import", epilog=EXAMPLES)
@click.argument("account")
@click.argument("source", nargs=-1, required=True)
@where_options
@click.option(
    "--into",
    metavar="MAILBOX",
    default="",
    help="Put INBOX there, and everything else below it.",
)
@click.option(
    "--map",
    "pairs",
    metavar="OLD=NEW",
    multiple=True,
    help="Another name, also for what is below; repeatable.",
)
@click.option(
    "--mailbox",
    "only",
    metavar="NAME",
    multiple=True,
    help="Take this mailbox of the source only; repeatable.",
)
@click.option(
    "--exclude",
    "excluded",
    metavar="NAME",
    multiple=True,
    help="Leave it out, with all below; repeatable.",
)
@click.option(
    "--mboxo",
    is_flag=True,
    help='In mbox files, take one > away before "From " only, not before ">From ".',
)
@imap_options
@click.option(
    "--dry-run",
    is_flag=True,
    help="Read everything, say what would be taken, change nothing.",
)
@output_options
def import_(
    account: str, source: tuple[str, ...], config_path: Path, data: Path | None, into: str, pairs: tuple[str, ...],
    only: tuple[str, ...], excluded: tuple[str, ...], mboxo: bool, insecure_plaintext: bool, ca: str | None,
    password_file: Path | None, dry_run: bool, as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Bring mail into ACCOUNT from each SOURCE: a Maildir, an mbox file, .eml files, directories of them, tar and zip
    archives, or another server as imaps://user@host. The server may run meanwhile."""
    from mailstack.transfer.imap_client import Trust

    trust = Trust(ca, insecure_plaintext)
    wishes = _Wishes(_pairs(pairs), into, only, excluded, mboxo, dry_run)
    where = find_account(account, config_path, data)
    report = Report()
    progress = Progress(report, quiet=quiet)
    with said_in_one_line(progress):
        password = password_for(source, password_file)
        became = become_owner(where.data)
    complete = False
    try:
        with said_in_one_line(progress), open_store(where) as store:
            for each in source:
                opened = _source(each, password, trust, mboxo=mboxo)
                try:
                    _import(store, where, opened, wishes, report)
                finally:
                    opened.close()
        complete = True
    except PermissionError as error:
        hint = f" ({became} owns the mail here, and must be able to read it)" if became else ""
        raise click.ClickException(f"{error.filename}: {error.strerror}{hint}") from error
    finally:
        finish(
            report,
            progress,
            "imported",
            as_json=as_json,
            quiet=quiet,
            dry_run=dry_run,
            complete=complete,
        )
    click.get_current_context().exit(1 if report.troubles else 0)


def _pairs(texts: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Raises: click.UsageError."""
    for text in texts:
        if not text.partition("=")[0] or "=" not in text:
            raise click.UsageError(f"--map takes OLD=NEW, not {text!r}")
    return tuple((text.partition("=")[0], text.partition("=")[2]) for text in texts)


@dataclass(frozen=True, slots=True)
class _Wishes:
    pairs: tuple[tuple[str, str], ...]
    into: str
    only: tuple[str, ...]
    excluded: tuple[str, ...]
    mboxo: bool
    dry_run: bool


def _import(store: Store, where: Where, source: Source, wishes: _Wishes, report: Report) -> None:
    """Raises: Unusable."""
    from mailstack.ports import AccountName
    from mailstack.transfer.importing import Importer, Options
    from mailstack.transfer.inline import run
    from mailstack.transfer.placing import Places
    from mailstack.transfer.state import FILE, State

    name = AccountName(where.account)
    path = store.path_of(name)
    account, state, uses = None, None, {}
    if not wishes.dry_run or (path / "cur").is_dir():
        account = run(store.account(name))
        uses = {entry.special_use: entry.name for entry in run(account.mailboxes()) if entry.special_use}
        if not wishes.dry_run or (path / FILE).exists():
            state = State(path)
    places = Places(wishes.pairs, wishes.into, uses, wishes.excluded, wishes.only)
    try:
        run(
            Importer(
                store,
                account,
                source,
                places,
                state,
                Options(where.max_size, wishes.dry_run),
                report,
            ).run()
        )
    finally:
        if state is not None:
            state.close()


def _source(text: str, password: str, trust: Trust, *, mboxo: bool) -> Source:
    """Raises: Unusable."""
    from mailstack.transfer.imap_client import Client, is_address, parse_address
    from mailstack.transfer.imap_source import ImapSource
    from mailstack.transfer.tree import open_tree
    from mailstack.transfer.tree_source import TreeSource

    if is_address(text):
        return ImapSource(Client(parse_address(text), password, trust))
    return TreeSource(open_tree(Path(text)), mboxo=mboxo)
