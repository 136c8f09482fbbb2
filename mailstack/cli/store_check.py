"""`mailstack store check` and `repair`."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mailstack.cli.progress import counted, printable, progress
from mailstack.cli.stores import Where, as_the_server, choose_accounts, find_store, where_options

if TYPE_CHECKING:
    from mailstack.store.check.findings import Finding

F = TypeVar("F", bound=Any)


def account_options(command: F) -> F:
    """`[ACCOUNT]... --all`, and where the store is."""
    everything = click.option("--all", "everything", is_flag=True, help="All accounts, and what lies beside them.")
    named = click.argument("accounts", metavar="[ACCOUNT]...", nargs=-1)
    return where_options(named(everything(command)))


@click.command(
    short_help="Say what is wrong with the mail on disk.",
    epilog="""\b
Examples:
  mailstack store check --all
  mailstack store check alice@example.org --deep
  mailstack store check --all --json | jq -r '.findings[].path'

\b
Exit status: 0 nothing is wrong, 1 something is, or it cannot be looked at, 2 wrong usage.
""",
)
@account_options
@click.option("--deep", is_flag=True, help="Read every message, to compare the sizes in its name.")
@click.option("--json", "as_json", is_flag=True, help='As JSON: {"findings": [...], "summary": {...}}.')
def check(
    config_path: Path, data: Path | None, accounts: tuple[str, ...], everything: bool, deep: bool, as_json: bool
) -> None:
    """Look at each ACCOUNT, or at --all, and change nothing. Each finding is a line: account, mailbox, what kind
    of finding it is, what is there, and what to do."""
    from mailstack.store.check.account import check_account
    from mailstack.store.check.data import check_data

    where = find_store(config_path, data)
    chosen = choose(where, accounts, everything)
    report = Report(as_json=as_json)
    with progress() as told, as_the_server(where), store_errors():
        for name, path in chosen.items():
            for finding in check_account(name, path, deep=deep, progress=told):
                told.clear()
                report.tell(finding, "found")
        for finding in check_data(where.data) if everything else ():
            report.tell(finding, "found")
    report.end(len(chosen))


@click.command(
    short_help="Mend what can be mended without losing anything.",
    epilog="""\b
Examples:
  mailstack store repair --all
  mailstack store repair alice@example.org --deep

\b
No message is removed. What is doubtful is kept as a new message, or left and told.

\b
Exit status: 0 nothing is wrong any more, 1 something is left, 2 wrong usage.
""",
)
@account_options
@click.option("--deep", is_flag=True, help="Read every message, to compare the sizes in its name.")
@click.option("--json", "as_json", is_flag=True, help='As JSON: {"findings": [...], "summary": {...}}.')
def repair(
    config_path: Path, data: Path | None, accounts: tuple[str, ...], everything: bool, deep: bool, as_json: bool
) -> None:
    """Look at each ACCOUNT, or at --all, and mend what is wrong. A line for each finding says whether it is
    mended or left."""
    from mailstack.store.check.repair import Repaired, repair_account, repair_data

    where = find_store(config_path, data)
    chosen = choose(where, accounts, everything)
    report = Report(as_json=as_json)

    def tell(done: Repaired) -> None:
        for finding in done.mended:
            report.tell(finding, "mended")
        for finding in done.left:
            report.tell(finding, "left", done.reasons.get(finding, ""))

    with progress() as told, as_the_server(where), store_errors():
        for name, path in chosen.items():
            done = repair_account(name, path, deep=deep, progress=told)
            told.clear()
            tell(done)
        if everything:
            tell(repair_data(where.data))
    report.end(len(chosen))


def choose(where: Where, accounts: tuple[str, ...], everything: bool) -> dict[str, Path]:
    """The accounts of the command line. Raises: click.UsageError, click.ClickException."""
    if bool(accounts) == everything:
        raise click.UsageError("name accounts, or say --all")
    return choose_accounts(where, accounts)


@contextmanager
def store_errors() -> Iterator[None]:
    """What the system refuses becomes click.ClickException."""
    try:
        yield
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise click.ClickException(f"{where}{error.strerror}") from error


class Report:
    """Findings as they come, a summary at the end, and the exit status."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._documents: list[dict[str, object]] = []
        self._states: Counter[str] = Counter()

    def tell(self, finding: Finding, state: str, reason: str = "") -> None:
        """`state` is found, mended or left; `reason` what kept it from being mended."""
        self._states[state if finding.wrong else "information"] += 1
        if self._as_json:
            self._documents.append({
                "account": finding.account, "mailbox": finding.mailbox, "kind": finding.kind.word,
                "what": finding.what, "do": finding.kind.advice, "path": str(finding.path),
                "wrong": finding.wrong, "mended_by": finding.kind.mending.value, "state": state, "reason": reason,
            })  # fmt: skip
            return
        place = " ".join(filter(None, (finding.account, finding.mailbox)))
        text = f"{place + ' ' if place else ''}{finding.kind.word}: {finding.what}"
        then = f"left: {reason or finding.kind.advice}" if state == "left" else finding.kind.advice
        click.echo(printable(f"{text} ({'mended' if state == 'mended' else then})"))

    def end(self, accounts: int) -> None:
        """The summary. Exits with 1 if something is wrong."""
        states = self._states
        wrong = states["found"] + states["left"]
        if self._as_json:
            summary = {
                "accounts": accounts,
                **{state: states[state] for state in ("found", "mended", "left", "information")},
            }
            click.echo(json.dumps({"findings": self._documents, "summary": summary}, indent=2))
        else:
            words = [counted(accounts, "account")]
            words += [f"{states[state]:,} {state}" for state in ("mended", "left") if states[state]]
            words.append(f"{counted(wrong, 'thing')} wrong" if wrong else "nothing wrong")
            click.echo(", ".join(words))
        if wrong:
            sys.exit(1)
