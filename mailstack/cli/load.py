"""`mailstack load`: how much a server can do, and how long it takes."""

from __future__ import annotations

import json
import os
import sys
from ipaddress import ip_address

import click

from mailstack.cli.record import place

EXAMPLES = """\b
Examples:
  mailstack load smtp 127.0.0.1:2525 --operations 5000 --connections 20
  mailstack load imap 127.0.0.1:2143 --user load@localhost --seconds 10
  mailstack load pop3 127.0.0.1:2110 --user load@localhost --json | jq .milliseconds.p99

\b
An operation is: smtp: one message, from MAIL to the reply to its end; imap: FETCH of one message of the INBOX;
pop3: STAT and RETR of one message. $MAILSTACK_PASSWORD is the password; the development mode takes any.

\b
To a server that is not your own this is an attack: addresses beyond loopback need --allow-remote.
Exit status: 0 all succeeded, 1 some failed, 2 wrong usage.
"""
SIZE = 4096


@click.command(epilog=EXAMPLES)
@click.argument("protocol", type=click.Choice(["smtp", "imap", "pop3"]))
@click.argument("server")
@click.option("--connections", type=click.IntRange(1, 5000), default=10, show_default=True, metavar="N",
              help="How many at once.")  # fmt: skip
@click.option("--operations", type=click.IntRange(1), metavar="N", help="How many in all.  [default: 1000]")
@click.option("--seconds", type=click.FloatRange(0.1), metavar="SECONDS", help="For so long, instead.")
@click.option("--size", type=click.IntRange(200, 50_000_000), default=SIZE, show_default=True, metavar="OCTETS",
              help="Of a message.")  # fmt: skip
@click.option("--to", "recipient", default="load@localhost", show_default=True, metavar="ADDRESS", help="Recipient.")
@click.option("--from", "sender", default="load@example.net", show_default=True, metavar="ADDRESS", help="Sender.")
@click.option("--user", default="load@localhost", show_default=True, metavar="NAME", help="Of IMAP and POP3.")
@click.option("--allow-remote", is_flag=True, help="The server may be another machine, and I may do this to it.")
@click.option("--json", "as_json", is_flag=True, help="The figures as one JSON object.")
def load(
    protocol: str,
    server: str,
    connections: int,
    operations: int | None,
    seconds: float | None,
    size: int,
    recipient: str,
    sender: str,
    user: str,
    allow_remote: bool,
    as_json: bool,
) -> None:
    """Do the same again and again on many connections to SERVER (HOST:PORT), and say how many a second that were, and
    how long each took."""
    from mailstack.load.clients import WHAT, Work
    from mailstack.load.figures import Figures, report
    from mailstack.load.run import Plan, run

    if operations is not None and seconds is not None:
        raise click.UsageError("--operations and --seconds: give one of them")
    there = place(server)
    if not allow_remote and not _is_loopback(there.host):
        raise click.UsageError(f"{there} is not on loopback: load is for servers of your own; --allow-remote allows it")
    for text in (recipient, sender, user):
        if not text.isprintable() or any(each in text for each in "<> "):
            raise click.UsageError(f"expected an address, not {text!r}")
    work = Work(recipient, sender, message(size, sender, recipient), user, os.environ.get("MAILSTACK_PASSWORD", "load"))
    if operations is None and seconds is None:
        operations = 1000
    plan = Plan(protocol, there.host, there.port, work, connections, operations, seconds)
    on_terminal = sys.stderr.isatty()

    def progress(figures: Figures) -> None:
        if on_terminal:
            done = f"{len(figures.taken)} {WHAT[protocol]}, {figures.rate:.0f} a second, {figures.failed} failed"
            click.echo(f"\r{done:<70}", nl=False, err=True)

    figures = run(plan, progress)
    if on_terminal:
        click.echo("\r" + " " * 70 + "\r", nl=False, err=True)
    click.echo(json.dumps(figures.document()) if as_json else "\n".join(report(WHAT[protocol], figures)))
    sys.exit(1 if figures.failed else 0)


def message(size: int, sender: str, recipient: str) -> bytes:
    """One of about so many octets, lines of 72."""
    head = f"From: <{sender}>\r\nTo: <{recipient}>\r\nSubject: load\r\n\r\n".encode()
    line = b"Mail is what remains of letters when nobody has the time to write them.\r\n"
    return head + line * max(1, (size - len(head)) // len(line))


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
