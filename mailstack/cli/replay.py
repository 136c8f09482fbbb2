"""`mailstack replay`: play one side of a transcript."""

from __future__ import annotations

import socket
import ssl
from functools import cache, partial
from pathlib import Path

import click

from mailstack.cli.record import own_certificate, place
from mailstack.cli.servers import Server

EXAMPLES = """\b
Examples:
  mailstack replay transcripts/smtp/0001.txt 127.0.0.1:2525    does that server still answer so?
  mailstack replay --serve 1143 transcripts/imap/0001.txt      be that server for a client

\b
Lines "C: ..." and "S: ..." as in tests/scripts/README.md: `<...>` in an S line stands for anything, `/.../` is a
regular expression, `*until* ...` skips lines; when serving, `<...>` in a C line stands for anything. What tests say of
the world around (user:, deliver:, ...) is passed over. A client may log in as anybody.

\b
Exit status: 0 it went as the file says, 1 it deviated (standard error has the line, what was expected and what came),
2 wrong usage.
"""
TIMEOUT = 10.0


@click.command(epilog=EXAMPLES)
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("server", required=False)
@click.option("--serve", "listen", metavar="LISTEN", help="Be the server, at PORT or HOST:PORT; 0: any free port.")
@click.option("--tls", type=click.Choice(["none", "implicit"]), default="none", show_default=True,
              help="Whether TLS begins with the connection; no certificate is looked at.")  # fmt: skip
@click.option("--timeout", type=click.FloatRange(0.1), default=TIMEOUT, show_default=True, metavar="SECONDS",
              help="How long the other side may take for a line.")  # fmt: skip
@click.option("--quiet", is_flag=True, help="Do not show the dialogue.")
def replay(file: Path, server: str | None, listen: str | None, tls: str, timeout: float, quiet: bool) -> None:
    """Play the client's side of the transcript FILE to SERVER (HOST:PORT), or with --serve its server's side to the
    next client, and say where the other side deviates."""
    from mailstack.transcripts.lines import BadTranscript, parse
    from mailstack.transcripts.replay import ClientSide, Deviates, ServerSide, Wire

    if (server is None) == (listen is None):
        raise click.UsageError("expected a SERVER to play to, or --serve LISTEN")
    show = (lambda text: None) if quiet else click.echo
    try:
        steps = parse(file.read_text(encoding="utf-8"))
        if not steps:
            raise BadTranscript("there is no dialogue in it")
        if server is not None:
            there, context = place(server), _unverified()

            def connect() -> Wire:
                wire = Wire(socket.create_connection((there.host, there.port), timeout), timeout)
                if tls == "implicit":
                    wire.secure(context, there.host)
                return wire

            ClientSide(connect, context, there.host, show).play(steps)
        else:
            assert listen is not None
            where = place(listen)
            certificate = cache(partial(own_certificate, where.host))
            with socket.create_server((where.host, where.port)) as listening:
                click.echo(f"serving {file} at {Server(where.host, listening.getsockname()[1])}", err=True)

                def accept() -> Wire:
                    wire = Wire(listening.accept()[0], timeout)
                    if tls == "implicit":
                        wire.secure(certificate(), None)
                    return wire

                ServerSide(accept, certificate, show).play(steps)
    except (BadTranscript, UnicodeDecodeError) as bad:
        raise click.UsageError(f"{file}: {bad}") from None
    except Deviates as deviates:
        raise click.ClickException(f"{file}: {deviates}") from None


def _unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
