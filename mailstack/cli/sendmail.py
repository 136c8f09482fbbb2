"""`mailstack sendmail`: what programs expect as /usr/sbin/sendmail. No Twisted: it starts fast."""

from __future__ import annotations

import contextlib
import getpass
import os
import smtplib
import socket
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

import click

from mailstack.cli.draft import Draft
from mailstack.cli.servers import NoServer, Server, local_server, one_line, smtp_options

EX_USAGE, EX_DATAERR, EX_NOUSER, EX_UNAVAILABLE, EX_TEMPFAIL, EX_CONFIG = 64, 65, 67, 69, 75, 78
"""sysexits.h."""
WITH_VALUE = frozenset("BCFfhLNORrVX")
"""Letters whose value may stand in the next word, of sendmail(1), exim(8) and Postfix's sendmail(1)."""

HELP = """\
Read a message from standard input and hand it to the server, as /usr/sbin/sendmail does.

\b
  -t          take the recipients from To, Cc and Bcc; those of the command line get it too
  -i, -oi     a line with a single dot does not end the message
  -f SENDER   the envelope's sender, which gets bounces; "<>" for none
  -F NAME     the sender's full name (for a missing From)
  -bs         speak SMTP on standard input and output
Other options of sendmail are accepted and have no effect. Bcc is always removed; a missing From, Date or
Message-ID is added; names without a domain get this machine's.

\b
The server is that of MAILSTACK_SERVER (host:port), or the running development mode, or localhost:25.
"""
EPILOG = """\b
Examples:
  mailstack sendmail -t <message.eml
  printf 'Subject: hello\\n\\nHow are you?\\n' | mailstack sendmail -i -f me@example.org alice@example.org
  ln -s "$(command -v mailstack)" /usr/sbin/sendmail      now programs find it: the name makes it this command

\b
Exit status (sysexits.h): 0 sent to all; 64 wrong usage; 65 no recipients; 67 a recipient was refused, the
others have it; 69 the message was refused; 75 try again later; 78 MAILSTACK_SERVER is not host:port.
"""


@dataclass(slots=True)
class Asked:
    """The command line, understood."""

    sender: str | None = None
    """None: who runs this. Empty: the null reverse-path."""
    full_name: str = ""
    from_header: bool = False
    ignore_dots: bool = False
    smtp: bool = False
    recipients: list[str] = field(default_factory=list)


def understand(words: Sequence[str]) -> Asked:
    """Options as sendmail takes them: letters may be run together, values may follow at once.
    Raises: ValueError."""
    asked, rest = Asked(), list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            asked.recipients += rest
            break
        if not word.startswith("-") or word == "-":
            asked.recipients.append(word)
        elif word.startswith("-b"):
            if word[2:] not in ("m", "s", ""):
                raise ValueError(f"{word}: only -bm and -bs are possible here")
            asked.smtp = word == "-bs"
        elif word.startswith("-o"):
            asked.ignore_dots |= word == "-oi"
        else:
            _letters(word[1:], rest, asked)
    for text in (*asked.recipients, asked.sender or "", asked.full_name):
        if not text.isprintable():
            raise ValueError(f"{text!r} has characters that cannot be printed")
    return asked


def _letters(letters: str, rest: list[str], asked: Asked) -> None:
    while letters:
        letter, letters = letters[0], letters[1:]
        if letter in WITH_VALUE:
            if not letters and not rest:
                raise ValueError(f"-{letter} needs a value")
            value, letters = (letters, "") if letters else (rest.pop(0), "")
            if letter in "fr":
                asked.sender = value.strip("<>")
            elif letter == "F":
                asked.full_name = value
        elif letter == "t":
            asked.from_header = True
        elif letter == "i":
            asked.ignore_dots = True
        elif letter not in "nvmUAG":
            raise ValueError(f"unknown option -{letter}")


@click.command(
    help=HELP,
    epilog=EPILOG,
    options_metavar="[-t] [-i] [-f SENDER] [-F NAME] [-bs]",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    add_help_option=False,
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[RECIPIENT ...]")
def sendmail(words: tuple[str, ...]) -> None:
    if "--help" in words or words == ("-h",):
        click.echo(click.get_current_context().get_help())
        return
    try:
        asked = understand(words)
    except ValueError as error:
        _fail(EX_USAGE, str(error))
    if not asked.smtp and not asked.recipients and not asked.from_header:
        _fail(EX_DATAERR, "no recipients: name them, or -t takes them from the message")
    try:
        server = local_server()
    except NoServer as error:
        _fail(EX_CONFIG, str(error))
    try:
        if asked.smtp:
            _converse(server)
        else:
            _send(asked, server)
    except (OSError, smtplib.SMTPException) as error:
        _fail(_status(error), f"{server}: {one_line(error)}")
    except ValueError as error:  # a line end in an address of the header, or octets that are no characters
        _fail(EX_DATAERR, f"an address cannot be used: {error}")


def _status(error: Exception) -> int:
    """Of what the server said, or that it said nothing."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        codes = [code for code, _ in error.recipients.values()]
        return EX_NOUSER if any(code >= 500 for code in codes) else EX_TEMPFAIL
    if isinstance(error, smtplib.SMTPResponseException):
        return EX_UNAVAILABLE if error.smtp_code >= 500 else EX_TEMPFAIL
    return EX_UNAVAILABLE if isinstance(error, smtplib.SMTPNotSupportedError) else EX_TEMPFAIL


def _fail(status: int, reason: str) -> NoReturn:
    click.echo(f"sendmail: {reason}", err=True)
    sys.exit(status)


def _send(asked: Asked, server: Server) -> None:
    """Raises: OSError, smtplib.SMTPException; SMTPRecipientsRefused also if some were accepted."""
    message = Draft.read(_lines(asked.ignore_dots))
    recipients = asked.recipients + (message.recipients() if asked.from_header else [])
    if not recipients:
        _fail(EX_DATAERR, "no recipients in To, Cc and Bcc")
    recipients = [_qualified(recipient) for recipient in recipients]
    sender = _qualified(getpass.getuser() if asked.sender is None else asked.sender)
    octets = message.completed(sender, asked.full_name)
    with server.connect() as client:
        refused = client.sendmail(sender, recipients, octets, smtp_options(client, sender, recipients, octets))
    if refused:
        raise smtplib.SMTPRecipientsRefused(refused)


def _qualified(name: str) -> str:
    """With this machine's name where there is no domain, as in cron's `To: root`."""
    return f"{name}@{socket.getfqdn()}" if name and "@" not in name else name


def _lines(ignore_dots: bool) -> Iterator[bytes]:
    """Standard input up to the line with a single dot, without line ends."""
    for line in sys.stdin.buffer if sys.stdin is not None else ():
        bare = line.removesuffix(b"\n").removesuffix(b"\r")
        if bare == b"." and not ignore_dots:
            return
        yield bare


def _converse(server: Server) -> None:
    """SMTP between standard input and output and the server, octet for octet."""
    import threading

    with socket.create_connection((server.host, server.port)) as connection:

        def to_server() -> None:
            with contextlib.suppress(OSError):  # the server has closed: the other direction ends with it
                while sys.stdin is not None and (octets := os.read(sys.stdin.fileno(), 65536)):
                    connection.sendall(octets)
                connection.shutdown(socket.SHUT_WR)

        threading.Thread(target=to_server, daemon=True).start()
        while octets := connection.recv(65536):
            sys.stdout.buffer.write(octets)
            sys.stdout.buffer.flush()
