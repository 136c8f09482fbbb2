"""`mailstack export`: mail is copied out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

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
    from mailstack.transfer.outgoing import Target

FORMATS = ("maildir", "mbox", "eml", "tar")
EXAMPLES = """\b
Examples:
  mailstack export alice@example.org /backup/alice
  mailstack export alice@example.org /backup/mbox --format mbox --mailbox INBOX --mailbox Sent
  mailstack export alice@example.org - --format tar | gzip >alice.tar.gz
  mailstack export alice@example.org imaps://alice@mail.example.net
  mailstack export alice /tmp/mail --format eml --data ~/.local/state/mailstack

\b
Run it again after Ctrl-C or when there is new mail: it copies what is not there yet, and writes over nothing.
Exit status: 0 all copied, 1 something was not (standard error says what), 2 wrong usage, 130 Ctrl-C.
"""


@click.command(epilog=EXAMPLES)
@click.argument("account")
@click.argument("target")
@where_options
@click.option(
    "--format", "form", type=click.Choice(FORMATS), default="maildir", show_default=True,
    help="What to make; tar is an archive of the Maildir, for standard output or a new file.",
)  # fmt: skip
@click.option(
    "--mailbox",
    "only",
    metavar="NAME",
    multiple=True,
    help="Copy this mailbox only; repeatable.",
)
@imap_options
@output_options
def export(
    account: str, target: str, config_path: Path, data: Path | None, form: str, only: tuple[str, ...],
    insecure_plaintext: bool, ca: str | None, password_file: Path | None, as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Copy the mail of ACCOUNT to TARGET: a directory, - for an archive on standard output, or another server as
    imaps://user@host. The server may run meanwhile."""
    from mailstack.transfer.imap_client import Trust

    where = find_account(account, config_path, data)
    if target == "-" and (as_json or sys.stdout.isatty()):
        raise click.UsageError("standard output is a terminal, or has --json: an archive cannot go there")
    report = Report()
    progress = Progress(report, quiet=quiet)
    with said_in_one_line(progress):
        password = password_for((target,), password_file)
        become_owner(where.data)
    complete = False
    try:
        with said_in_one_line(progress), open_store(where) as store:
            _export(
                store,
                where,
                (target, form, password),
                Trust(ca, insecure_plaintext),
                only,
                report,
            )
        complete = True
    finally:
        silent = quiet or target == "-"
        finish(
            report,
            progress,
            "exported",
            as_json=as_json,
            quiet=silent,
            dry_run=False,
            complete=complete,
        )
    click.get_current_context().exit(1 if report.troubles else 0)


def _export(
    store: Store,
    where: Where,
    to: tuple[str, str, str],
    trust: Trust,
    only: tuple[str, ...],
    report: Report,
) -> None:
    """Raises: Unusable, OSError."""
    from mailstack.ports import AccountName
    from mailstack.transfer.exporting import Exporter
    from mailstack.transfer.inline import run
    from mailstack.transfer.values import Unusable

    name = AccountName(where.account)
    path = store.path_of(name)
    if not (path / "cur").is_dir():
        raise Unusable(f"{where.account} has no mail here")
    target = _target(to, trust, path)
    whole = False
    try:
        run(Exporter(run(store.account(name)), target, only, report).run())
        whole = True
    finally:
        target.close(whole=whole)


def _target(to: tuple[str, str, str], trust: Trust, account: Path) -> Target:
    """Raises: Unusable, OSError."""
    from mailstack.transfer.file_targets import EmlTarget, MaildirTarget, MboxTarget
    from mailstack.transfer.imap_client import Client, is_address, parse_address
    from mailstack.transfer.imap_target import ImapTarget
    from mailstack.transfer.sinks import Disk, TarStream
    from mailstack.transfer.state import State
    from mailstack.transfer.values import Unusable

    text, form, password = to
    if is_address(text):
        return ImapTarget(Client(parse_address(text), password, trust), State(account))
    if text != "-" and form == "tar" and Path(text).exists():
        raise Unusable(f"{text} is there already: an archive is only written anew")
    if text == "-" or form == "tar":
        stream: BinaryIO = sys.stdout.buffer if text == "-" else open(text, "xb")  # noqa: SIM115
        sink: TarStream | Disk = TarStream(stream)
    else:
        Path(text).mkdir(mode=0o700, parents=True, exist_ok=True)
        sink = Disk(Path(text))
    if form == "mbox":
        return MboxTarget(sink)
    return EmlTarget(sink) if form == "eml" else MaildirTarget(sink)
