"""`mailstack send`: compose one message and send it through a server."""

from __future__ import annotations

import mimetypes
import smtplib
import sys
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from pathlib import Path

import click

from mailstack.cli.servers import TLS_MODES, NoServer, Server, local_server, one_line, parse_server

EXAMPLES = """\b
Examples:
  mailstack send --to alice@example.org --subject hello --text "How are you?"
  fortune | mailstack send --from me@example.org --to alice@example.org
  mailstack send --to alice@example.org --text "see there" --attach report.pdf
  mailstack send --to bob@example.net --text hi --server mail.example.org:465 --tls implicit \\
      --from alice@example.org --user alice@example.org --password-stdin <secret.txt

\b
Exit status: 0 every recipient was accepted, 1 the server or the network refused, 2 wrong usage.
"""


@click.command(epilog=EXAMPLES)
@click.option("--from", "sender", default="mailstack@localhost", show_default=True, help="Sender.")
@click.option("--to", "recipients", multiple=True, required=True, help="Recipient; may be repeated.")
@click.option("--subject", default="", help="Subject.")
@click.option("--text", help="The text.  [default: standard input]")
@click.option(
    "--attach",
    "attachments",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A file to attach; may be repeated.",
)
@click.option(
    "--server",
    "server_name",
    metavar="HOST:PORT",
    help="[default: $MAILSTACK_SERVER, the running dev mode, localhost:25]",
)
@click.option("--tls", type=click.Choice(TLS_MODES), default="none", show_default=True, help="When TLS begins.")
@click.option("--ca", type=click.Path(exists=True, dir_okay=False), help="Authorities (PEM) instead of the system's.")
@click.option("--user", help="Log in as this account.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input (then --text is needed).")
def send(
    sender: str,
    recipients: tuple[str, ...],
    subject: str,
    text: str | None,
    attachments: tuple[Path, ...],
    server_name: str | None,
    tls: str,
    ca: str | None,
    user: str | None,
    password_stdin: bool,
) -> None:
    """Compose one message and send it through a server."""
    if password_stdin and text is None:
        raise click.UsageError("--password-stdin takes standard input: give the text with --text")
    password = _password(user, password_stdin)
    message = _compose(sender, recipients, subject, sys.stdin.read() if text is None else text, attachments)
    try:
        named = parse_server(server_name) if server_name else local_server()
        _send(Server(named.host, named.port, tls, ca), message, sender, recipients, user, password)
    except NoServer as error:
        raise click.UsageError(str(error)) from error
    except (OSError, smtplib.SMTPException) as error:
        where = f"{named.host}:{named.port}"
        raise click.ClickException(f"{where}: {one_line(error)}") from error
    click.echo(f"sent {message['Message-ID']} to {len(recipients)} recipient(s) through {named.host}:{named.port}")


def _password(user: str | None, from_stdin: bool) -> str:
    if not user:
        if from_stdin:
            raise click.UsageError("--password-stdin without --user")
        return ""
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    return str(click.prompt("Password", hide_input=True, err=True))


def _compose(
    sender: str, recipients: tuple[str, ...], subject: str, text: str, attachments: tuple[Path, ...]
) -> EmailMessage:
    message = EmailMessage()
    try:
        message["From"], message["To"], message["Subject"] = sender, ", ".join(recipients), subject
    except (ValueError, IndexError) as error:  # the header's parser raises either on line ends and odd addresses
        raise click.UsageError(f"not usable in a header field: {error}") from error
    message["Date"] = formatdate(localtime=True)
    message["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2] or "localhost")
    message.set_content(text)
    for path in attachments:
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        main, _, sub = kind.partition("/")
        message.add_attachment(path.read_bytes(), maintype=main, subtype=sub, filename=path.name)
    return message


def _send(
    server: Server, message: EmailMessage, sender: str, recipients: tuple[str, ...], user: str | None, password: str
) -> None:
    with server.connect() as session:
        if user:
            session.login(user, password)
        refused = session.send_message(message, sender, list(recipients))
    if refused:
        raise smtplib.SMTPRecipientsRefused(refused)
