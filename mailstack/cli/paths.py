"""Where the configuration is, and reading it for a command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from mailstack.config.sections import Config

DEFAULT_CONFIG = Path("/etc/mailstack/mailstack.toml")
F = TypeVar("F", bound=Callable[..., Any])


def config_option(command: F) -> F:
    """`--config FILE`, handed to the command as `config_path`."""
    return click.option(
        "--config",
        "-c",
        "config_path",
        type=click.Path(path_type=Path, dir_okay=False, readable=False),
        envvar="MAILSTACK_CONFIG",
        default=DEFAULT_CONFIG,
        show_default=True,
        show_envvar=True,
        help="The configuration file.",
    )(command)


def read_config(path: Path) -> Config:
    """Raises: click.ClickException, which names every error of the file."""
    from mailstack.config.load import ConfigError, load

    try:
        return load(path)
    except ConfigError as error:
        raise click.ClickException(str(error)) from error
