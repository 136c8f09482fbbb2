"""What `import` and `export` have in common: the account, the password of another server, progress, the summary."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mailstack.cli.passwords import ask_password
from mailstack.cli.paths import config_option, read_config
from mailstack.transfer.report import Report
from mailstack.transfer.values import Trouble, Unusable

if TYPE_CHECKING:
    from mailstack.config.sections import Config
    from mailstack.store.api import Store

PASSWORD_VARIABLE = "MAILSTACK_IMAP_PASSWORD"
INTERVAL = 0.2
"""Seconds between two looks of the progress line."""
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Where:
    """The account's name, the data directory, octets of a message that the server takes, and the configuration that
    says so, if it is one."""

    account: str
    data: Path
    max_size: int
    config: Config | None = None


def where_options(command: F) -> F:
    """`--config`, `--data`."""
    data = click.option(
        "--data",
        metavar="DIRECTORY",
        type=click.Path(path_type=Path, file_okay=False, exists=True),
        help="The data directory itself, as that of `mailstack dev`, instead of a configuration.",
    )
    return config_option(data(command))


def imap_options(command: F) -> F:
    """How to reach another IMAP server."""
    for option in (
        click.option(
            "--insecure-plaintext",
            is_flag=True,
            help="imap:// without TLS: everybody on the way can read.",
        ),
        click.option(
            "--ca",
            metavar="FILE",
            type=click.Path(exists=True, dir_okay=False),
            help="Authorities to trust (PEM) instead of the system's.",
        ),
        click.option(
            "--password-file",
            metavar="FILE",
            type=click.Path(path_type=Path, exists=True, dir_okay=False),
            help=f"The first line is the other server's password.  [default: ${PASSWORD_VARIABLE}, or it is asked]",
        ),
    ):
        command = option(command)
    return command


def output_options(command: F) -> F:
    """`--json`, `--quiet`."""
    quiet = click.option(
        "--quiet",
        is_flag=True,
        help="No progress and no summary; only what went wrong.",
    )
    return quiet(click.option("--json", "as_json", is_flag=True, help="The summary as JSON.")(command))


def find_account(name: str, config_path: Path, data: Path | None) -> Where:
    """Raises: click.ClickException."""
    from mailstack.auth.anyone import account_of
    from mailstack.config.sections import Limits

    if data is not None:
        if not (data / "mail").is_dir():
            raise click.ClickException(f"{data} is no data directory: it has no `mail`")
        known = account_of(name)
        if known is None:
            raise click.ClickException(f"{name!r} is not a name that an account can have")
        return Where(known, data, Limits().max_message_size)
    from mailstack.cli.account_database import accounts_of

    config = read_config(config_path)
    with accounts_of(config) as database:
        if database.account(name) is None:
            raise click.ClickException(f"there is no account {name.lower()}; `mailstack account add` makes one")
    return Where(name.lower(), config.data, config.limits.max_message_size, config)


def become_owner(data: Path) -> str:
    """As root: become the account that owns the data, so that the server can read what is written; its name, or "".
    Raises: click.ClickException, OSError."""
    status = data.stat()
    if os.getuid() != 0 or status.st_uid == 0:
        return ""
    import grp
    import pwd

    from mailstack.app.privileges import CannotDrop, drop

    try:
        name = pwd.getpwuid(status.st_uid).pw_name
        drop(name, grp.getgrgid(status.st_gid).gr_name)
    except KeyError:
        raise click.ClickException(f"{data} belongs to nobody that this system knows") from None
    except CannotDrop as error:
        raise click.ClickException(str(error)) from error
    return name


@contextmanager
def open_store(where: Where) -> Iterator[Store]:
    """The store with its quotas, for use in this thread. Raises: click.ClickException, OSError."""
    from mailstack.cli.account_database import accounts_of
    from mailstack.cli.stored import limits, warnings
    from mailstack.transfer.inline import open_store, run

    os.umask(0o077)
    with ExitStack() as stack:
        store = open_store(where.data, warnings())
        if where.config is not None:
            store.quotas.use(limits(where.config, stack.enter_context(accounts_of(where.config))))
        try:
            yield store
        finally:
            run(store.close())


def password_for(words: Sequence[str], password_file: Path | None) -> str:
    """The other server's password if any of the words names one, "" if none does. Raises: OSError."""
    from mailstack.transfer.imap_client import is_address, parse_address

    addresses = [parse_address(word) for word in words if is_address(word)]
    if not addresses:
        return ""
    if password_file is not None:
        return password_file.read_text("utf-8").partition("\n")[0].rstrip("\r")
    named = os.environ.get(PASSWORD_VARIABLE)
    return ask_password(f"--password-file or ${PASSWORD_VARIABLE}") if named is None else named


class Progress:
    """One line on a terminal that is written over again and again, and troubles as they come."""

    def __init__(self, report: Report, *, quiet: bool) -> None:
        self._report = report
        self._shown = not quiet and sys.stderr is not None and sys.stderr.isatty()
        self._begun = time.monotonic()
        self._next = 0.0
        self._width = 0
        report.said = self._said
        report.advanced = self._advanced

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._begun

    def clear(self) -> None:
        """Take the line away."""
        if self._width:
            click.echo("\r" + " " * self._width + "\r", nl=False, err=True)
            self._width = 0

    def _said(self, trouble: Trouble) -> None:
        self.clear()
        click.echo(
            f"{'note' if trouble.taken else 'not taken'}: {trouble.place}: {trouble.reason}",
            err=True,
        )

    def _advanced(self) -> None:
        now = time.monotonic()
        if self._shown and now >= self._next:
            self._next = now + INTERVAL
            line = self._line()[: shutil.get_terminal_size().columns - 1]
            click.echo("\r" + line.ljust(self._width), nl=False, err=True)
            self._width = len(line)

    def _line(self) -> str:
        report, seconds = self._report, max(self.seconds, 0.001)
        counted = report.sum()
        line = f"{counted.moved:,} messages, {_size(counted.octets)}, {counted.moved / seconds:,.0f}/s"
        if counted.known:
            line += f", {counted.known:,} were there"
        if report.total and 0 < report.weight <= report.total:
            left = seconds * (report.total - report.weight) / report.weight
            line += f", {100 * report.weight // report.total} %, {_duration(left)} left"
        return line


def finish(
    report: Report,
    progress: Progress,
    words: str,
    *,
    as_json: bool,
    quiet: bool,
    dry_run: bool,
    complete: bool,
) -> None:
    """Print the summary. `words` says what was done: "imported"; `complete` whether it came to its end."""
    progress.clear()
    if as_json:
        document = _document(report, progress.seconds, words, dry_run) | {"complete": complete}
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    elif not quiet and (complete or report.mailboxes):
        for line in _summary(report, progress.seconds, f"would be {words}" if dry_run else words):
            click.echo(line)
        if not complete:
            click.echo("not complete: the same command continues")


def _summary(report: Report, seconds: float, words: str) -> Iterator[str]:
    for name in sorted(report.mailboxes, key=lambda name: (name != "INBOX", name)):
        count = report.mailboxes[name]
        more = (f", {count.known:,} there already" if count.known else "") + (
            f", {count.failed:,} not taken" if count.failed else ""
        )
        yield f"{name}: {count.moved:,} {words}{more}"
    total = report.sum()
    rate = f", {total.moved / seconds:,.0f} a second" if seconds >= 1 else ""
    yield f"{total.moved:,} messages {words}, {_size(total.octets)} in {_duration(seconds)}{rate}"


def _document(report: Report, seconds: float, words: str, dry_run: bool) -> dict[str, object]:
    total = report.sum()
    return {
        words: total.moved, "octets": total.octets, "known": total.known, "failed": total.failed,
        "seconds": round(seconds, 3), "dry_run": dry_run,
        "mailboxes": {
            name: {words: count.moved, "octets": count.octets, "known": count.known, "failed": count.failed}
            for name, count in sorted(report.mailboxes.items())
        },
        "troubles": [{"place": each.place, "reason": each.reason, "taken": each.taken} for each in report.troubles],
    }  # fmt: skip


def _size(octets: int) -> str:
    return f"{octets / 1e6:,.1f} MB" if octets >= 1e5 else f"{octets:,} octets"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@contextmanager
def said_in_one_line(progress: Progress) -> Iterator[None]:
    """Unusable becomes click.ClickException."""
    try:
        yield
    except Unusable as error:
        progress.clear()
        raise click.ClickException(str(error)) from error
