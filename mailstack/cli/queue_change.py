"""`mailstack queue hold`, `release`, `retry`, `fail`, `drop`: somebody decides what becomes of what waits."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mailstack.cli.paths import config_option, read_config
from mailstack.cli.queue_opened import Wanted, opened_queue, selecting

if TYPE_CHECKING:
    from mailstack.queue.by_hand import ByHand, Key

_STATUS = """
\b
Exit status: 0 done, also when nothing fits, 1 the queue cannot be written or an ITEM is not in it,
2 wrong usage.
"""
everything = click.option("--all", "everything", is_flag=True, help="All that waits.")
sure = click.option("--yes", "is_sure", is_flag=True, help="Do not ask.")


@click.command(
    short_help="Hold messages back.",
    epilog=f"""\b
Examples:
  mailstack queue hold 19a1b2c3d4e5f6a7b8
  mailstack queue hold --account eve@example.org
  mailstack queue hold --destination example.net
{_STATUS}""",
)
@config_option
@selecting
@everything
def hold(config_path: Path, wanted: Wanted, everything: bool) -> None:
    """Do not try any more what is named or fits the filters, until it is released: it does not expire meanwhile, and
    its sender hears nothing."""
    _do(config_path, wanted, everything, "held", lambda by_hand, keys: by_hand.hold(keys))


@click.command(
    short_help="Let go what is held.",
    epilog=f"""\b
Examples:
  mailstack queue release 19a1b2c3d4e5f6a7b8
  mailstack queue release --account eve@example.org
  mailstack queue release --all
{_STATUS}""",
)
@config_option
@selecting
@everything
def release(config_path: Path, wanted: Wanted, everything: bool) -> None:
    """Let go what is held by hand or by one of [[holds]]: it is tried at once."""
    _do(config_path, wanted, everything, "released", lambda by_hand, keys: by_hand.release(keys))


@click.command(
    short_help="Try again now.",
    epilog=f"""\b
Examples:
  mailstack queue retry --destination example.net
  mailstack queue retry --all
{_STATUS}""",
)
@config_option
@selecting
@everything
def retry(config_path: Path, wanted: Wanted, everything: bool) -> None:
    """Try again now, and forget that the destinations could not be reached. What is held stays so."""
    _do(config_path, wanted, everything, "due now", lambda by_hand, keys: by_hand.retry(keys), leaves_held=True)


@click.command(
    short_help="Give up, and tell the senders.",
    epilog=f"""\b
Examples:
  mailstack queue fail 19a1b2c3d4e5f6a7b8
  mailstack queue fail --destination example.net --older-than 2d --yes
{_STATUS}""",
)
@config_option
@selecting
@everything
@sure
def fail(config_path: Path, wanted: Wanted, everything: bool, is_sure: bool) -> None:
    """Give up now, as if the time were over: senders get the report that they would get then. The server makes it
    within a second, or when it runs next; what it is sending at this moment is given up only if it does not arrive."""
    _do(
        config_path, wanted, everything, "given up", lambda by_hand, keys: by_hand.fail(keys),
        question=None if is_sure else "Give up {}, and report it to the senders?",
    )  # fmt: skip


@click.command(
    short_help="Remove without telling anybody.",
    epilog=f"""\b
Examples:
  mailstack queue drop 19a1b2c3d4e5f6a7b8
  mailstack queue drop --account eve@example.org --yes
{_STATUS}""",
)
@config_option
@selecting
@everything
@sure
def drop(config_path: Path, wanted: Wanted, everything: bool, is_sure: bool) -> None:
    """Remove from the queue. Nobody is told, and there is no way back. What is being sent at this moment may still
    arrive."""
    _do(
        config_path, wanted, everything, "dropped", lambda by_hand, keys: by_hand.drop(keys),
        question=None if is_sure else "Drop {} without telling anybody?",
    )  # fmt: skip


def _do(
    path: Path,
    wanted: Wanted,
    everything: bool,
    done: str,
    change: Callable[[ByHand, Sequence[Key]], int],
    question: str | None = None,
    leaves_held: bool = False,
) -> None:
    if wanted.is_everything is not everything:
        raise click.UsageError("expected items, filters, or --all")
    with opened_queue(read_config(path)) as queue:
        rows = list(wanted.rows(queue))
        keys = [(row.item.id, row.destination) for row in rows]
        missing = wanted.missing(queue)
        if keys and question is not None:
            _confirm(question.format(_counted(keys)))
        click.echo(f"{done} {change(queue.by_hand, keys) if keys else 0}")
        held = sum(bool(row.held) for row in rows)
        if held and leaves_held:
            click.echo(f"held, and left so: {held}; `mailstack queue release` lets them go", err=True)
    if missing:
        raise click.ClickException(f"not in the queue: {', '.join(missing)}")


def _counted(keys: Sequence[Key]) -> str:
    from mailstack.cli.progress import counted

    items = len({item for item, _ in keys})
    places = f" at {counted(len({name for _, name in keys}), 'destination')}" if len(keys) > 1 else f" at {keys[0][1]}"
    return counted(items, "message") + places


def _confirm(question: str) -> None:
    """Raises: click.ClickException where nobody can be asked, click.Abort for no."""
    if not sys.stdin.isatty():
        raise click.ClickException(f"{question} Nobody is there to be asked; with --yes it is done")
    click.confirm(question, abort=True, err=True)
