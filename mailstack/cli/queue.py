"""`mailstack queue`: mail that goes to other servers."""

from __future__ import annotations

import click

from mailstack.cli.groups import Group
from mailstack.cli.queue_suppressed import suppressed


@click.group(
    cls=Group,
    epilog="""\b
Examples:
  mailstack queue suppressed list
  mailstack queue COMMAND --help    everything about one of them
""",
)
def queue() -> None:
    """Look after mail that goes to other servers."""


queue.add_command(suppressed)
