"""`mailstack serve`: production."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from mailstack.cli.paths import config_option

EXAMPLES = """\b
Examples:
  mailstack serve
  mailstack serve --config ./mailstack.toml --ready-file /run/mailstack/ready.json

\b
Signals: SIGHUP reads the configuration and the certificates again; SIGTERM and SIGINT let the
transactions in flight end, then stop.

\b
Exit status: 0 stopped, 1 it cannot start (standard error says why), 2 wrong usage.
"""


@click.command(epilog=EXAMPLES)
@config_option
@click.option(
    "--ready-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Appears, as JSON, when all listen; is gone when the server is.",
)
def serve(config_path: Path, ready_file: Path | None) -> None:
    """Run the server that a configuration describes, in the foreground."""
    from mailstack.app import serve as run

    sys.exit(run(config_path, ready_file))
