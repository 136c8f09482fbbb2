"""`mailstack sendmail`: what programs expect as /usr/sbin/sendmail. No Twisted: it starts fast."""

from __future__ import annotations

import getpass
import os
import smtplib
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from email import policy
from email.parser import BytesParser
from email.utils import getaddresses

import click

from mailstack.cli.servers import NoServer, local_server

EX_OK, EX_USAGE, EX_DATAERR, EX_NOUSER, EX_UNAVAILABLE, EX_TEMPFAIL = 0, 64, 65, 67, 69, 75
"""sysexits.h."""
WITH_VALUE = frozenset("BCFfhLNORrVX")
"""Letters whose value may stand in the next word, of sendmail(1), exim(8) and Postfix's sendmail(1)."""

HELP = """\
Read a message from standard input and hand it to the server, as /usr/sbin/sendmail does.

\b
  mailstack sendmail [-t] [-i] [-f SENDER] [-F NAME] [RECIPIENT ...]
  mailstack sendmail -bs       speak SMTP on standard input and output
\b
  -t          take the recipients from To, Cc and Bcc; Bcc is removed
  -i, -oi     a line with a single dot does not end the message
  -f SENDER   the envelope's sender
  -F NAME     the sender's full name (for a missing From)
Other options of sendmail are accepted and have no effect.
\b
The server is that of MAILSTACK_SERVER (host:port), or the running development mode, or localhost:25.
To let programs find it: ln -s "$(command -v mailstack)" is not enough; install a script as /usr/sbin/sendmail
with the line: exec mailstack sendmail "$@"
\b
Exit status (sysexits.h): 0 sent, 64 usage, 65 no recipients, 67 recipient refused, 69 refused, 75 try again later.
"""


@dataclass(slots=True)
class Asked:
    """The command line, understood."""

    sender: str = ""
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
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    add_help_option=False,
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def sendmail(words: tuple[str, ...]) -> None:
    if words and words[0] in ("--help", "-h"):
        click.echo(click.get_current_context().get_help())
        return
    try:
        asked = understand(words)
    except ValueError as error:
        _fail(EX_USAGE, str(error))
    try:
        if asked.smtp:
            _converse()
        else:
            _send(asked)
    except NoServer as error:
        _fail(EX_TEMPFAIL, str(error))
    except smtplib.SMTPRecipientsRefused as refused:
        code, text = next(iter(refused.recipients.values()))
        _fail(EX_TEMPFAIL if 400 <= code < 500 else EX_NOUSER, text.decode("utf-8", "replace"))
    except smtplib.SMTPResponseException as refused:
        _fail(EX_TEMPFAIL if 400 <= refused.smtp_code < 500 else EX_UNAVAILABLE, str(refused.smtp_error))
    except (OSError, smtplib.SMTPException) as error:
        _fail(EX_TEMPFAIL, str(error))


def _fail(status: int, reason: str) -> None:
    click.echo(f"sendmail: {reason}", err=True)
    sys.exit(status)


def _send(asked: Asked) -> None:
    octets = _message(asked.ignore_dots)
    headers = BytesParser(policy=policy.compat32).parsebytes(octets, headersonly=True)
    recipients = list(asked.recipients)
    if asked.from_header:
        fields = [str(value) for name in ("To", "Cc", "Bcc") for value in headers.get_all(name, [])]
        recipients += [address for _, address in getaddresses(fields) if address]
    if not recipients:
        _fail(EX_DATAERR, "no recipients")
    sender = asked.sender or f"{getpass.getuser()}@{socket.getfqdn()}"
    with local_server().connect() as client:
        client.sendmail(sender, recipients, _completed(octets, headers.get("From") is None, sender, asked))


def _message(ignore_dots: bool) -> bytes:
    lines: list[bytes] = []
    for line in sys.stdin.buffer:
        if not ignore_dots and line in (b".\n", b".\r\n"):
            break
        lines.append(line)
    return b"".join(lines)


def _completed(octets: bytes, needs_from: bool, sender: str, asked: Asked) -> bytes:
    """Without Bcc, with From."""
    lines, kept, dropping, in_header = octets.splitlines(keepends=True), list[bytes](), False, True
    for line in lines:
        if in_header:
            if not line.strip():
                in_header = False
            elif line[:1] not in b" \t":
                dropping = asked.from_header and line[:4].lower() == b"bcc:"
            if dropping and in_header:
                continue
        kept.append(line)
    if needs_from:
        name = asked.full_name.replace('"', "").replace("\n", " ")
        kept.insert(0, (f'From: "{name}" <{sender}>\n' if name else f"From: {sender}\n").encode())
    return b"".join(kept)


def _converse() -> None:
    """SMTP between standard input and output and the server, octet for octet."""
    import threading

    server = local_server()
    with socket.create_connection((server.host, server.port)) as connection:

        def to_server() -> None:
            while octets := os.read(sys.stdin.fileno(), 65536):
                connection.sendall(octets)
            connection.shutdown(socket.SHUT_WR)

        threading.Thread(target=to_server, daemon=True).start()
        while octets := connection.recv(65536):
            sys.stdout.buffer.write(octets)
            sys.stdout.buffer.flush()
