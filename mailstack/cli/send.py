"""`mailstack send`: compose one message and send it through a server."""

from __future__ import annotations

import mimetypes
import smtplib
import ssl
import sys
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from pathlib import Path

import click

from mailstack.cli.passwords import ask_password, standard_input_line
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
@click.option("--from", "sender", metavar="ADDRESS", default="mailstack@localhost", show_default=True, help="Sender.")
@click.option("--to", "recipients", metavar="ADDRESS", multiple=True, required=True, help="Recipient; may be repeated.")
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
@click.option(
    "--ca",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False),
    help="Authorities to trust (PEM) instead of the system's; the dev mode prints its own after `trust`.",
)
@click.option("--user", metavar="NAME", help="Log in as this account; the password is asked for.")
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
    server = _server(server_name, tls, ca)
    if user and tls == "none" and not server.is_loopback:
        raise click.UsageError(f"without --tls the password would go to {server} in plain text")
    password = _password(user, password_stdin)
    message = _compose(sender, recipients, subject, _standard_input() if text is None else text, attachments)
    try:
        _send(server, message, sender, recipients, user, password)
    except (OSError, smtplib.SMTPException) as error:
        hint = _hint(error, server, named=server_name is not None)
        raise click.ClickException(f"{server}: {one_line(error)}{hint}") from error
    click.echo(f"sent {message['Message-ID']} to {len(recipients)} recipient(s) through {server}")


def _server(name: str | None, tls: str, ca: str | None) -> Server:
    try:
        found = parse_server(name) if name else local_server()
    except NoServer as error:
        raise click.UsageError(str(error)) from error
    return Server(found.host, found.port, tls, ca)


def _hint(error: Exception, server: Server, *, named: bool) -> str:
    """What to try next, where that is known."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return "; --ca FILE names the authority to trust"
    if isinstance(error, ssl.SSLError) and server.tls == "implicit":
        return "; try --tls starttls, or another port"
    if isinstance(error, ConnectionRefusedError) and not named:
        return "; `mailstack dev` starts a server, --server names another one"
    return ""


def _password(user: str | None, from_stdin: bool) -> str:
    if not user:
        if from_stdin:
            raise click.UsageError("--password-stdin without --user")
        return ""
    return standard_input_line() if from_stdin else ask_password("--password-stdin")


def _standard_input() -> str:
    octets = sys.stdin.buffer.read() if sys.stdin is not None else b""
    try:
        return octets.decode()
    except UnicodeDecodeError as error:
        raise click.ClickException(
            f"standard input is not UTF-8 text (octet {error.start}); --attach sends any file"
        ) from None


def _compose(
    sender: str, recipients: tuple[str, ...], subject: str, text: str, attachments: tuple[Path, ...]
) -> EmailMessage:
    message = EmailMessage()
    try:
        message["From"], message["To"] = sender, ", ".join(recipients)
        if subject:
            message["Subject"] = subject
        message.set_content(text)
    except (ValueError, IndexError) as error:  # the header's parser raises either on line ends and odd addresses
        raise click.UsageError(f"not usable in a message: {error}") from error
    if not message["From"].addresses or not message["To"].addresses:
        raise click.UsageError("--from and --to take an address as alice@example.org")
    message["Date"] = formatdate(localtime=True)
    message["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2] or "localhost")
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
