"""`mailstack`: the table of its subcommands. Each is imported when it is called, not before, so that
`mailstack --help` and `mailstack sendmail` start fast and only a server imports Twisted."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import click

from mailstack.cli.groups import Group

EXIT_FAILED, EXIT_INTERRUPTED = 1, 130
"""Refused or failed; ended by Ctrl-C, as shells count it."""


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
    Subcommand("status", "mailstack.cli.status", "status", "Show how a server is, on one page."),
    Subcommand("config", "mailstack.cli.config", "config", "Check a configuration, or show what it comes to."),
    Subcommand("certificate", "mailstack.cli.certificate", "certificate", "Show, renew and revoke certificates."),
    Subcommand("dns", "mailstack.cli.dns", "dns", "Look into DNS as mail does."),
    Subcommand(
        "account", "mailstack.cli.account", "account", "Add, list and remove accounts; set passwords and quotas."
    ),
    Subcommand("alias", "mailstack.cli.alias", "alias", "Add, list and remove aliases."),
    Subcommand("queue", "mailstack.cli.queue", "queue", "Look after mail that goes to other servers."),
    Subcommand("log", "mailstack.cli.log", "log", "Trace what happened to messages."),
    Subcommand("store", "mailstack.cli.store", "store", "Look after the mail on disk: check, repair, index, expire."),
    Subcommand("backup", "mailstack.cli.backup", "backup", "Make, list and verify backups while the server runs."),
    Subcommand("restore", "mailstack.cli.restore", "restore", "Put mail out of a backup back."),
    Subcommand("import", "mailstack.cli.import_", "import_", "Bring mail in from a Maildir, mbox, archive or server."),
    Subcommand(
        "export", "mailstack.cli.export", "export", "Copy mail out to Maildirs, mbox or .eml files, or a server."
    ),
    Subcommand("send", "mailstack.cli.send", "send", "Compose one message and send it through a server."),
    Subcommand("record", "mailstack.cli.record", "record", "Write down what a client and a server say to each other."),
    Subcommand("replay", "mailstack.cli.replay", "replay", "Play one side of what was written down to the other."),
    Subcommand("load", "mailstack.cli.load", "load", "See how much a server can do, and how long it takes."),
    Subcommand("sendmail", "mailstack.cli.sendmail", "sendmail", "Be what programs expect as /usr/sbin/sendmail."),
)

EPILOG = """\b
Examples:
  mailstack dev                                  a server to develop against, at once
  mailstack tour                                 see what such a server does, in half a minute
  mailstack quickstart postmaster@example.org    a server for a domain
  mailstack COMMAND --help                       everything about one command

\b
Exit status: 0 done, 1 refused or failed (standard error says why), 2 wrong usage, 130 Ctrl-C.
`mailstack sendmail` has those of sysexits.h.
"""


class LazyGroup(Group):
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


@click.group(cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mailstack", prog_name="mailstack")
def cli() -> None:
    """A whole mail system in one process over plain Maildirs: SMTP in, POP3 and IMAP out."""


def main() -> None:
    """The console script."""
    sys.exit(run(sys.argv))


def run(words: Sequence[str]) -> int:
    """The exit status of a whole command line. Whatever is refused becomes a line on standard error; a
    reader that has seen enough (EPIPE) ends the program in silence, which click does.
    Under the name `sendmail` (a symbolic link) the program is that command."""
    arguments = ["sendmail", *words[1:]] if Path(words[0]).name == "sendmail" else list(words[1:])
    try:
        status = cli.main(arguments, prog_name="mailstack", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        click.echo("Aborted!", err=True)
        return EXIT_INTERRUPTED
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"Error: {where}{error.strerror or error}", err=True)
        return EXIT_FAILED
    return status if isinstance(status, int) else 0
