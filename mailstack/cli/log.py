"""`mailstack log trace`: what happened to a message."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from datetime import datetime
from itertools import groupby
from pathlib import Path

import click

from mailstack.cli.groups import Group
from mailstack.cli.paths import config_option, read_config
from mailstack.journeys import Event
from mailstack.observe.journal import JOURNAL_DATABASE, MAX_JOURNEYS, JournalDatabase


@click.group(
    cls=Group,
    epilog="""\b
Examples:
  mailstack log trace '<20261124.1234@example.org>'
  mailstack log trace bob@example.net

\b
Exit status: 0 something was found, 1 nothing was, 2 wrong usage.
""",
)
def log() -> None:
    """Look into what happened to messages."""


@log.command(
    epilog="""\b
Examples:
  mailstack log trace '<20261124.1234@example.org>'    by the Message-ID field
  mailstack log trace bob@example.net --last 5         the latest five messages to somebody
  mailstack log trace 59w2jxa-1.1                      by the id in the Received field, or a queue id

\b
Exit status: 0 something was found, 1 nothing was, 2 wrong usage.
""",
)
@config_option
@click.argument("what", metavar="MESSAGE-ID|RECIPIENT|ID")
@click.option(
    "--last", metavar="N", type=click.IntRange(1), default=MAX_JOURNEYS, show_default=True,
    help="Of a recipient, so many messages: the latest.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="As JSON, an object a line.")
def trace(config_path: Path, what: str, last: int, as_json: bool) -> None:
    """Show what became of a message. It may be named by its Message-ID, a recipient, or its id here."""
    config = read_config(config_path)
    path = config.data / JOURNAL_DATABASE
    if not path.exists():
        raise click.ClickException(f"{path} is not there: the server that makes it has not run yet")
    try:
        with closing(JournalDatabase(path)) as journal:
            events = _find(journal, what, last)
    except (sqlite3.Error, OSError) as error:
        raise click.ClickException(f"{path}: {error}") from error
    if not events:
        raise click.ClickException(f"nothing is known of {what}{_hint(what)}")
    if as_json:
        for event in events:
            click.echo(json.dumps(asdict(event) | {"step": event.step.value}))
        return
    for number, (_, group) in enumerate(groupby(sorted(events, key=_journey), key=_journey)):
        click.echo(("\n" if number else "") + "\n".join(_lines(list(group))))


def _find(journal: JournalDatabase, what: str, last: int) -> list[Event]:
    if what.startswith("<"):
        return journal.of_message(what)
    if "@" in what:
        return journal.of_recipient(what.lower(), last) or journal.of_message(f"<{what}>")
    return journal.of_journey(what)


def _journey(event: Event) -> str:
    return event.journey


def _lines(events: Sequence[Event]) -> list[str]:
    first = events[0]
    message_id = next((event.message_id for event in events if event.message_id), "no Message-ID")
    lines = [f"{first.journey}  from {first.sender or '<>'}  {message_id}"]
    for event in events:
        when = datetime.fromtimestamp(event.at).isoformat(" ", "seconds")
        where = f"  {event.where}" if event.where else ""
        status = f"  {event.status}" if event.status else ""
        lines.append(f"  {when}  {event.step.value:9}  {event.recipient}{where}{status}")
        if event.reason:
            lines.append(f"    {event.reason}")
    return lines


def _hint(what: str) -> str:
    return "" if "@" in what else "; a Message-ID is written as '<id@host>', with its brackets"
