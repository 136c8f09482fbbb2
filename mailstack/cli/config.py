"""`mailstack config`: check a configuration, show what it comes to."""

from __future__ import annotations

from pathlib import Path

import click

from mailstack.cli.groups import Group
from mailstack.cli.paths import config_option, read_config


@click.group(
    cls=Group,
    epilog="""\b
Examples:
  mailstack config check --config ./mailstack.toml
  mailstack config show | grep max_message_size
""",
)
def config() -> None:
    """Check a configuration, or show what it comes to."""


@config.command(
    short_help="Say what is wrong with a configuration.",
    epilog="""\b
Examples:
  mailstack config check
  mailstack config check --config ./mailstack.toml && systemctl reload mailstack

\b
Exit status: 0 all is well, 1 there are errors; each is one line on standard error with file, table
and key.
""",
)
@config_option
@click.option("--syntax-only", is_flag=True, help="Do not look whether certificates, users and directories are there.")
def check(config_path: Path, syntax_only: bool) -> None:
    """Say what is wrong with a configuration: all of it, not only the first error."""
    from mailstack.config.surroundings import missing

    loaded = read_config(config_path)
    absent = () if syntax_only else missing(loaded)
    if absent:
        raise click.ClickException("\n".join(f"{config_path}: {mistake}" for mistake in absent))
    click.echo(f"{config_path}: ok, {len(loaded.domains)} domain(s), {len(loaded.listeners)} listener(s)")


@config.command(
    short_help="Print the configuration in effect.",
    epilog="""\b
Examples:
  mailstack config show
  mailstack config show --config ./mailstack.toml | grep max_message_size
""",
)
@config_option
def show(config_path: Path) -> None:
    """Print the whole configuration in effect as TOML, with every default. It holds no secrets."""
    from mailstack.config.show import show as render

    click.echo(render(read_config(config_path)), nl=False)
