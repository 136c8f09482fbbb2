"""`mailstack record`: a proxy that writes down what client and server say."""

from __future__ import annotations

import contextlib
import socket
import ssl
import sys
from pathlib import Path

import click

from mailstack.cli.servers import NoServer, Server, parse_server

EXAMPLES = """\b
Examples:
  mailstack record 2526 127.0.0.1:2525                 then: swaks --server 127.0.0.1:2526 ...
  mailstack record 1143 imap.example.org:143 --to bug  what the client under test and that server say
  mailstack record 1143 imap.example.org:993 --tls implicit

\b
Each connection becomes a file PROTOCOL/NNNN.txt, whose name is printed when the connection ends: lines "C: ..."
and "S: ..." as in tests/scripts/README.md, which `mailstack replay` plays. Passwords are *** in it. STARTTLS ends
at the proxy, which shows clients a certificate of its own; with --opaque TLS goes through, and the file ends there.

\b
Ctrl-C stops it. Exit status: 0 done, 1 one of the --connections failed or it cannot listen, 2 wrong usage, 130 Ctrl-C.
"""


@click.command(epilog=EXAMPLES)
@click.argument("listen")
@click.argument("server")
@click.option(
    "--to", "directory", type=click.Path(path_type=Path, file_okay=False), default=Path("transcripts"),
    show_default=True, help="Where the files go.",
)  # fmt: skip
@click.option("--tls", type=click.Choice(["none", "implicit"]), default="none", show_default=True,
              help="Whether TLS to the server begins with the connection; clients need none.")  # fmt: skip
@click.option("--ca", type=click.Path(exists=True, dir_okay=False), metavar="FILE",
              help="Authorities to trust (PEM) instead of the system's.")  # fmt: skip
@click.option("--insecure", is_flag=True, help="Do not look at the server's certificate.")
@click.option("--opaque", is_flag=True, help="Let TLS through after STARTTLS, unread.")
@click.option("--with-secrets", is_flag=True, help="Write passwords, too.")
@click.option("--connections", type=click.IntRange(1), metavar="N", help="End after so many.  [default: never]")
def record(
    listen: str,
    server: str,
    directory: Path,
    tls: str,
    ca: str | None,
    insecure: bool,
    opaque: bool,
    with_secrets: bool,
    connections: int | None,
) -> None:
    """Listen at LISTEN (PORT or HOST:PORT; a mere port is on loopback, 0 any that is free), pass everything on to
    SERVER (HOST:PORT) and back, and write down what both say in SMTP, IMAP or POP3."""
    from mailstack.transcripts.recorder import Recorder, Recording, Upstream

    where, there = place(listen), place(server)
    failures = 0

    def failed(why: str) -> None:
        nonlocal failures
        failures += 1
        click.echo(f"Error: {why}", err=True)

    context = ssl.create_default_context(cafile=ca)
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    upstream = Upstream(there.host, there.port, context, tls == "implicit")
    certificate = None if opaque else own_certificate(where.host)
    recording = Recording(directory, upstream, certificate, with_secrets, _done, failed)
    family = socket.AF_INET6 if ":" in where.host else socket.AF_INET
    with socket.create_server((where.host, where.port), family=family) as listening:
        port = listening.getsockname()[1]
        click.echo(f"recording {Server(where.host, port)} -> {there} into {directory}", err=True)
        Recorder(listening, recording).serve(connections)
    sys.exit(1 if failures else 0)


def place(text: str) -> Server:
    """`HOST:PORT`, or a mere port on loopback. Raises: click.UsageError."""
    try:
        return parse_server(f"127.0.0.1:{text}" if text.isdecimal() else text)
    except NoServer as error:
        raise click.UsageError(str(error)) from None


def own_certificate(host: str) -> ssl.SSLContext:
    """What clients are shown: nobody vouches for it."""
    import tempfile

    from mailstack.net.certificates import write_self_signed

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory(prefix="mailstack-") as directory:
        context.load_cert_chain(*write_self_signed(Path(directory), list(dict.fromkeys((host, "localhost")))))
    return context


def _done(path: Path) -> None:
    with contextlib.suppress(BrokenPipeError):
        click.echo(str(path))
