"""Commands that have subcommands, and say what was meant when there is none of that name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

import click

SYNONYMS = {
    "create": "add",
    "new": "add",
    "delete": "remove",
    "del": "remove",
    "rm": "remove",
    "ls": "list",
    "passwd": "password",
    "user": "account",
    "users": "account",
    "init": "quickstart",
    "setup": "quickstart",
    "install": "quickstart",
    "start": "serve",
    "run": "serve",
    "server": "serve",
    "demo": "tour",
    "test": "check",
    "validate": "check",
    "print": "show",
    "dump": "show",
}
"""What other programs call our commands."""


def meant(name: str, known: Iterable[str]) -> str | None:
    """The command that somebody who typed `name` most likely wanted."""
    commands = list(known)
    if SYNONYMS.get(name) in commands:
        return SYNONYMS[name]
    close = difflib.get_close_matches(name, commands, n=1, cutoff=0.5)
    return close[0] if close else None


class Group(click.Group):
    """A group whose errors for unknown commands have a suggestion."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, known = args[0], self.list_commands(ctx)
        if not name.startswith("-") and name not in known:
            suggested = meant(name, known)
            hint = f"Did you mean {suggested!r}?" if suggested else f"There are {', '.join(known)}."
            raise click.UsageError(f"No such command {name!r}. {hint}", ctx)
        return super().resolve_command(ctx, args)
