"""`mailstack queue`: mail that goes to other servers."""

from __future__ import annotations

import click

from mailstack.cli.groups import Group
from mailstack.cli.queue_change import drop, fail, hold, release, retry
from mailstack.cli.queue_look import list_, show, summary, watch
from mailstack.cli.queue_route import route
from mailstack.cli.queue_suppressed import suppressed
from mailstack.cli.queue_tls_report import tls_report


@click.group(
    cls=Group,
    epilog="""\b
Examples:
  mailstack queue summary                                   how much waits, and where it is stuck
  mailstack queue list --destination example.net
  mailstack queue show 19a1b2c3d4e5f6a7b8                   with what was said in the last attempts
  mailstack queue retry --destination example.net
  mailstack queue route bob@example.net                     where mail to bob goes
  mailstack queue suppressed list
  mailstack queue tls-report example.net
  mailstack queue COMMAND --help    everything about one of them
""",
)
def queue() -> None:
    """Look after mail that goes to other servers. A running server sees each change within a second."""


for _command in (list_, show, summary, watch, hold, release, retry, fail, drop, route, suppressed, tls_report):
    queue.add_command(_command)
