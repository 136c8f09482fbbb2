"""`mailstack dev`: the development mode."""

from __future__ import annotations

import json
import sys
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mailstack.cli.addresses import DomainType
from mailstack.cli.state import default_state_directory

if TYPE_CHECKING:
    from mailstack.faults.rules import Rule

EXAMPLES = """\b
Examples:
  mailstack dev                              on the usual ports, mail kept between runs
  mailstack dev --ephemeral --ports 0        for a test: own ports, nothing is kept
  mailstack dev --ports 10000                smtp 10025, submission 10587, imap 10143, ...
  mailstack dev --domain example.org         mail for other domains is refused
  mailstack dev --keep 500                   older messages go away by themselves
  mailstack dev --fault '{"protocol": "smtp", "at": "RCPT", "reply": 452, "times": 2}'
  mailstack dev --exec pytest -x             for one run of a program, which gets SMTP_PORT and so on

\b
Point a program at it, and read what it sent:
  swaks --server 127.0.0.1:2525 --to alice@example.org
  curl -u alice@example.org:any 'imap://127.0.0.1:2143/INBOX;MAILINDEX=1'
  curl 'http://127.0.0.1:2580/api/v1/wait?account=alice@example.org&timeout=10'

\b
The ready file: {"smtp": {"host": "127.0.0.1", "port": 2525}, ... submission, submissions, imap, imaps,
pop3, pop3s, http, "pid": 1234, "data": "/where/mail/is", "ca": "/certificate/to/trust.pem"}

\b
Ctrl-C or SIGTERM stops it. Exit status: 0 stopped, 1 it cannot start (a busy port, say), 2 wrong usage; with --exec
that of the command, 127 if there is no such command, 128 and the number of a signal that ended it.
"""


@click.command(epilog=EXAMPLES, context_settings={"allow_interspersed_args": False})
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where mail is kept.  [default: $XDG_STATE_HOME/mailstack, ~/.local/state/mailstack]",
)
@click.option("--ephemeral", is_flag=True, help="Keep mail in a temporary directory, removed at the end.")
@click.option(
    "--ports",
    type=click.IntRange(0, 64000),
    metavar="BASE",
    help="0: the kernel chooses every port. Otherwise a base to which the services' usual ports (25, 587, 465, 143, "
    "993, 110, 995) are added.  [default: 2525 2587 2465 2143 2993 2110 2995]",
)
@click.option(
    "--ready-file",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="Appears, as JSON, when all listen; is gone when the server is. -: a line on standard output instead of the "
    "addresses.",
)
@click.option(
    "--domain",
    "domains",
    type=DomainType(),
    metavar="DOMAIN",
    multiple=True,
    help="A local domain; may be repeated. Mail for others is refused.  [default: all domains]",
)
@click.option(
    "--keep",
    type=click.IntRange(0),
    metavar="N",
    default=5000,
    show_default=True,
    help="Keep the newest N messages of each mailbox, and those that are flagged; 0: all.",
)
@click.option(
    "--password",
    metavar="PASSWORD",
    default="",
    help="The password of all users, to try wrong ones, and SCRAM, which is then offered.  [default: any password]",
)
@click.option(
    "--fault",
    "faults",
    metavar="JSON",
    multiple=True,
    help="Something that goes wrong, as docs/faults.md says; may be repeated. Addresses can name faults without it.",
)
@click.option(
    "--transcripts",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIRECTORY",
    help="Write down what is said on each connection, for `mailstack replay`.",
)
@click.option(
    "--http",
    "http_port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="Where the HTTP API listens; 0: the kernel chooses.  [default: 2580, or as --ports says: BASE + 80]",
)
@click.option(
    "--http-address",
    metavar="ADDRESS",
    default="127.0.0.1",
    show_default=True,
    help="The HTTP API's IP address; if it is not on loopback, --http-token is needed.",
)
@click.option(
    "--http-token",
    metavar="TOKEN",
    default="",
    envvar="MAILSTACK_HTTP_TOKEN",
    help="What HTTP clients have to send as a bearer token. $MAILSTACK_HTTP_TOKEN is not seen by other users.",
)
@click.option(
    "--log",
    "log_form",
    type=click.Choice(["text", "json", "none"]),
    help="The log on standard error; none: warnings only.  [default: text; with --exec none]",
)
@click.option(
    "--exec",
    "execute",
    is_flag=True,
    help="Run the command that follows, and stop when it ends, with its exit status. It finds SMTP_HOST, SMTP_PORT, "
    "MAILSTACK_HTTP and so on in its environment. Then --quiet, --log none and, unless they are given, --ports 0 and "
    "--ephemeral.",
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option("--quiet", is_flag=True, help="Do not print the addresses.")
@click.option(
    "--stop-with-stdin",
    is_flag=True,
    help="Stop at the end of standard input, so that a server started through a pipe never outlives who started it.",
)
def dev(
    data: Path | None,
    ephemeral: bool,
    ports: int | None,
    ready_file: Path | None,
    domains: tuple[str, ...],
    keep: int,
    password: str,
    faults: tuple[str, ...],
    transcripts: Path | None,
    http_port: int | None,
    http_address: str,
    http_token: str,
    log_form: str | None,
    execute: bool,
    command: tuple[str, ...],
    quiet: bool,
    stop_with_stdin: bool,
) -> None:
    """Start a mail server for development, on loopback only, without configuration.

    Any recipient has a mailbox, any password logs in (unless --password is given), and nothing ever leaves
    the machine."""
    if data is not None and ephemeral:
        raise click.UsageError("--data keeps mail and --ephemeral does not: give one of them")
    if command and not execute:
        raise click.UsageError(f"Got unexpected extra argument ({command[0]})")
    if execute and not command:
        raise click.UsageError("--exec: expected a command after the options")
    if not _is_loopback(http_address) and not http_token:
        raise click.UsageError(f"--http-address {http_address} is not on loopback: give a --http-token, too")
    if stop_with_stdin and sys.stdin is None:
        raise click.UsageError("--stop-with-stdin: there is no standard input")
    from mailstack.app.development import DevelopmentOptions, run

    options = DevelopmentOptions(
        data=data or default_state_directory(),
        ephemeral=ephemeral or (execute and data is None),
        base_port=0 if execute and ports is None else ports,
        ready_file=ready_file,
        domains=domains,
        log_form=log_form or ("none" if execute else "text"),
        announce=not quiet and not execute,
        keep=keep,
        password=password,
        faults=tuple(rule for text in faults for rule in _rules(text)),
        transcripts=transcripts,
        http_port=http_port,
        http_address=http_address,
        http_token=http_token,
        command=command,
        stop_with_stdin=stop_with_stdin,
    )
    sys.exit(run(options))


def _rules(text: str) -> list[Rule]:
    """Raises: click.UsageError."""
    from mailstack.faults.documents import rules_of
    from mailstack.faults.rules import BadFault

    try:
        document = json.loads(text)
        if not isinstance(document, dict):
            raise BadFault("expected a JSON object")
        return rules_of(document)
    except ValueError as error:  # BadFault is one, too
        raise click.UsageError(f"--fault: {error}") from None


def _is_loopback(address: str) -> bool:
    """Raises: click.UsageError."""
    try:
        return ip_address(address).is_loopback
    except ValueError:
        raise click.UsageError(f"--http-address: expected an IP address, not {address!r}") from None
