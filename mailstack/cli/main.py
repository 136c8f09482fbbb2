"""`mailstack`: the table of its subcommands. Each is imported when it is called, not before, so that
`mailstack --help` and `mailstack sendmail` start fast and only a server imports Twisted."""

from __future__ import annotations

import difflib
import sys
from dataclasses import dataclass
from importlib import import_module

import click


@dataclass(frozen=True, slots=True)
class Subcommand:
    """One row: its name, the attribute of `module` that is its click command, and what it is for."""

    name: str
    module: str
    attribute: str
    purpose: str


SUBCOMMANDS = (
    Subcommand("dev", "mailstack.cli.dev", "dev", "Start a mail server for development, on loopback only."),
    Subcommand("tour", "mailstack.cli.tour", "tour", "Watch one message go in by SMTP and out by POP3 and IMAP."),
    Subcommand("quickstart", "mailstack.cli.quickstart", "quickstart", "Set up a server for a domain."),
    Subcommand("serve", "mailstack.cli.serve", "serve", "Run the server that a configuration describes."),
    Subcommand("config", "mailstack.cli.config", "config", "Check a configuration, or show what it comes to."),
    Subcommand("account", "mailstack.cli.account", "account", "Add, list and remove accounts; set passwords."),
    Subcommand("alias", "mailstack.cli.alias", "alias", "Add, list and remove aliases."),
    Subcommand("send", "mailstack.cli.send", "send", "Compose one message and send it through a server."),
    Subcommand("sendmail", "mailstack.cli.sendmail", "sendmail", "Be what programs expect as /usr/sbin/sendmail."),
)

EPILOG = """\b
Examples:
  mailstack dev                                  a server to develop against, at once
  mailstack quickstart postmaster@example.org    a server for a domain
  mailstack COMMAND --help                       everything about one command

\b
Exit status: 0 done, 1 refused or failed (a line on standard error says why), 2 wrong usage.
`mailstack sendmail` uses those of sysexits.h.
"""


class LazyGroup(click.Group):
    """Imports a subcommand when it is called; its own help needs no import."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [row.name for row in SUBCOMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for row in SUBCOMMANDS:
            if row.name == cmd_name:
                command: click.Command = getattr(import_module(row.module), row.attribute)
                return command
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(row.name, row.purpose) for row in SUBCOMMANDS])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not name.startswith("-") and all(row.name != name for row in SUBCOMMANDS):
            close = difflib.get_close_matches(name, self.list_commands(ctx), n=1, cutoff=0.5)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise click.UsageError(f"No such command {name!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mailstack", prog_name="mailstack")
def cli() -> None:
    """A whole mail system in one process over plain Maildirs: SMTP in, POP3 and IMAP out."""


def main() -> None:
    """The console script. Whatever the system refuses becomes one line on standard error."""
    try:
        cli.main(prog_name="mailstack")
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"Error: {where}{error.strerror or error}", err=True)
        sys.exit(1)
