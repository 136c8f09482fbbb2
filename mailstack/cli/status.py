"""`mailstack status`: how a server is, on one page."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from mailstack.cli.paths import config_option, read_config


@click.command(
    epilog="""\b
Examples:
  mailstack status
  mailstack status --json | jq .problems
  mailstack status >/dev/null || mail -s "look at mailstack" root

\b
Exit status: 0 all is well; 1 something is wrong, or could not be looked at (the last lines say what);
2 wrong usage.
"""
)
@config_option
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def status(config_path: Path, as_json: bool) -> int:
    """Show how a server is: processes and ports, certificates, queue, accounts, disk.

    Looks at files, databases and ports from outside, and at the page of metrics if there is one. Run it as root or as
    the server's account. What a process has in memory, it cannot know."""
    from mailstack.app.status import status as look
    from mailstack.cli.status_shown import lines

    found = look(read_config(config_path))
    if as_json:
        click.echo(json.dumps(found.document, indent=2, ensure_ascii=False))
    else:
        click.echo("\n".join(lines(found, time.time())))
    return 1 if found.problems else 0
