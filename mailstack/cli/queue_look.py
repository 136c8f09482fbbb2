"""`mailstack queue list`, `show`, `summary`, `watch`: what waits."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mailstack.cli.paths import config_option, read_config
from mailstack.cli.progress import printable
from mailstack.cli.queue_opened import Queue, Wanted, opened_queue, selecting

if TYPE_CHECKING:
    from mailstack.queue.items import Item

REDRAWN = 1.0
"""Seconds between two looks of `watch`."""
_HOME, _CLEAR_LINE, _CLEAR_BELOW, _HIDE_CURSOR, _SHOW_CURSOR = "\x1b[H", "\x1b[K", "\x1b[J", "\x1b[?25l", "\x1b[?25h"
CHUNK = 128 * 1024


@click.command(
    "list",
    short_help="List what waits.",
    epilog="""\b
Examples:
  mailstack queue list
  mailstack queue list --destination example.net --older-than 2h
  mailstack queue list --held
  mailstack queue list --sender '<>' --json | jq -r '.[].id'

\b
Exit status: 0 done, also when nothing fits, 1 the queue cannot be read or an ITEM is not in it, 2 wrong usage.
""",
)
@config_option
@selecting
@click.option("--json", "as_json", is_flag=True, help="As a JSON array, an object a line.")
def list_(config_path: Path, wanted: Wanted, as_json: bool) -> None:
    """List what waits, a line for each message and destination, in the order of arrival: all, or what fits the filters.
    In a PATTERN, * is any characters."""
    from mailstack.cli import queue_shown

    with opened_queue(read_config(config_path)) as queue:
        now = time.time()
        if as_json:
            _array(queue_shown.document(row) for row in wanted.rows(queue))
        else:
            for row in wanted.rows(queue):
                click.echo(printable(queue_shown.line(row, now)))
        missing = wanted.missing(queue)
    if missing:
        raise click.ClickException(f"not in the queue: {', '.join(missing)}")


def _array(documents: Iterator[dict[str, Any]]) -> None:
    before = "["
    for document in documents:
        click.echo(before + json.dumps(document, ensure_ascii=False), nl=False)
        before = ",\n "
    click.echo("[]" if before == "[" else "]")


@click.command(
    short_help="Show all about an item.",
    epilog="""\b
Examples:
  mailstack queue show 19a1b2c3d4e5f6a7b8
  mailstack queue show 19a1b2c3d4e5f6a7b8 --headers
  mailstack queue show 19a1b2c3d4e5f6a7b8 --raw >message.eml

\b
Exit status: 0 done, 1 it is not in the queue, 2 wrong usage.
""",
)
@config_option
@click.argument("item")
@click.option("--headers", is_flag=True, help="Only the header of the message.")
@click.option("--raw", is_flag=True, help="Only the message, as it is.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def show(config_path: Path, item: str, headers: bool, raw: bool, as_json: bool) -> None:
    """Show the envelope of ITEM, who waits for it and why, when it is tried next, and what was said in the last
    attempts (five for each destination)."""
    from mailstack.cli import queue_shown

    if headers + raw + as_json > 1:
        raise click.UsageError("--headers, --raw and --json exclude each other")
    with opened_queue(read_config(config_path)) as queue:
        rows = queue.database.of_item(item)
        if not rows:
            raise click.ClickException(f"not in the queue: {item}")
        if headers or raw:
            _message(queue, rows[0].item, whole=raw)
            return
        where, attempts = str(queue.files.path(item)), queue.database.attempts_of(item)
    if as_json:
        click.echo(json.dumps(queue_shown.item_document(rows, attempts, where), indent=2, ensure_ascii=False))
        return
    for line in queue_shown.item_lines(rows, attempts, where, time.time()):
        click.echo(printable(line))


def _message(queue: Queue, item: Item, *, whole: bool) -> None:
    from mailstack.mail import header
    from mailstack.queue.content import Damaged

    try:
        if whole:
            for start in range(0, item.size, CHUNK):
                octets = queue.files.read(item.id, item.offset + start, min(CHUNK, item.size - start))
                click.echo(octets, nl=False)
            return
        head = queue.head(item, header.MAX_HEADER)
    except Damaged as damaged:
        raise click.ClickException(str(damaged)) from damaged
    text = header.block(head, 0, header.body_start(head, 0, len(head))).decode("utf-8", "replace")
    for line in text.rstrip("\r\n").splitlines():
        click.echo(printable(line.replace("\t", " ")))


@click.command(
    short_help="Say by destination how much waits.",
    epilog="""\b
Examples:
  mailstack queue summary
  mailstack queue summary --json | jq '.destinations[] | select(.failing_since)'
""",
)
@config_option
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def summary(config_path: Path, as_json: bool) -> None:
    """Say how much waits, and for each destination how many, the oldest, the next attempt, since when it cannot be
    reached, and what went wrong last."""
    from mailstack.cli import queue_shown

    with opened_queue(read_config(config_path)) as queue:
        now = time.time()
        census, lines = queue.database.census(now), queue.database.lines()
    if as_json:
        click.echo(json.dumps(queue_shown.summary_document(census, lines), indent=2, ensure_ascii=False))
        return
    click.echo(queue_shown.census_line(census, now))
    for line in queue_shown.destination_lines(lines, now):
        click.echo(printable(line))


@click.command(
    short_help="Watch the queue.",
    epilog="""\b
Examples:
  mailstack queue watch
  mailstack queue watch >>queue.log      a line a second
""",
)
@config_option
def watch(config_path: Path) -> None:
    """Show the summary, once a second anew, until Ctrl-C. Where the output is no terminal, print a line a second with
    the totals."""
    with opened_queue(read_config(config_path)) as queue:
        draws = sys.stdout.isatty()
        try:
            if draws:
                click.echo(_HIDE_CURSOR + _HOME + _CLEAR_BELOW, nl=False)
            while True:
                if draws:
                    _drawn(queue, time.time())
                else:
                    _printed(queue, time.time())
                time.sleep(REDRAWN)
        except KeyboardInterrupt:
            return
        finally:
            if draws:
                click.echo(_SHOW_CURSOR)


def _printed(queue: Queue, now: float) -> None:
    from mailstack.cli import queue_shown

    click.echo(f"{queue_shown.at(now)} {queue_shown.census_line(queue.database.census(now), now)}")


def _drawn(queue: Queue, now: float) -> None:
    from mailstack.cli import queue_shown

    columns, height = shutil.get_terminal_size()
    shown = [f"{queue_shown.at(now)}  {queue_shown.census_line(queue.database.census(now), now)}", ""]
    shown += queue_shown.destination_lines(queue.database.lines(), now)
    left_out = len(shown) - (height - 1)
    if left_out > 0:
        shown = [*shown[: height - 2], f"  and {left_out + 1} more"]
    text = "".join(f"{printable(line)[: columns - 1]}{_CLEAR_LINE}\n" for line in shown)
    click.echo(_HOME + text + _CLEAR_BELOW, nl=False)
