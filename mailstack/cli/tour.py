"""`mailstack tour`: see push and pull at work, in half a minute."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from mailstack.tour.events import Event, Scene
from mailstack.tour.scenes import ADDRESS, Addresses, Tour
from mailstack.tour.show import JsonShow, Show
from mailstack.tour.wire import NoAnswer

START_PATIENCE = 20.0
"""Seconds for the private server to be ready."""
STOP_PATIENCE = 10.0
"""Seconds for it to end; there is nothing in it that anybody could miss."""
PAUSE = 3.0
"""Seconds to read a scene on a terminal."""


@click.command(
    epilog="""\b
Examples:
  mailstack tour                   on the terminal, with pauses to read
  mailstack tour --no-color >tour.txt
  mailstack tour --json | jq '.[] | select(.event == "OnDisk")'

\b
Every line is what the running server said or was told, with the milliseconds since the beginning (C: the
client's, S: the server's); below it what lies on disk, whenever that has changed. Only passwords are hidden.
On a terminal it pauses before each scene; all takes a quarter of a minute.

\b
--json prints one array of events: {"event": "Scene", "title", "model": "push" or "pull", "remark"},
{"event": "WireLine", "who", "says": true for the client, "text", "at": ms}, {"event": "OnDisk", "files":
[[path below the Maildir, octets], ...]}, {"event": "Remark", "text"}.
Exit status: 0 told to the end, 1 the server did not start or did not say what it should.
"""
)
@click.option("--no-color", is_flag=True, help="Plain text. So it is in a file and in a pipe anyway.")
@click.option("--json", "as_json", is_flag=True, help="Every event as JSON.")
@click.option("--no-pause", is_flag=True, help="Do not wait between the scenes on a terminal.")
def tour(no_color: bool, as_json: bool, no_pause: bool) -> None:
    """Start a private server, push one message into it by SMTP, pull it by POP3 and by IMAP, and show
    every line on the wire beside what lies on disk."""
    terminal = sys.stdout is not None and sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if terminal else None
    show = Show(_print, color=terminal and not no_color, width=width)
    collected = JsonShow(_print)

    def record(event: Event) -> None:
        if terminal and not no_pause and isinstance(event, Scene):
            time.sleep(PAUSE)
        show.record(event)

    try:
        with _ended_in_order(), private_server() as (addresses, data):
            Tour(addresses, data / "mail" / ADDRESS, collected.record if as_json else record).tell()
    except NoAnswer as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        collected.finish()


def _print(line: str) -> None:
    """As it is: `show` has decided on colours already."""
    click.echo(line, color=True)


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """SIGTERM, and SIGHUP when the terminal is closed, end the tour as Ctrl-C does: with its server."""

    def end(number: int, frame: object) -> None:
        raise click.exceptions.Exit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, action in before.items():
            signal.signal(number, action)


@contextmanager
def private_server() -> Iterator[tuple[Addresses, Path]]:
    """A development server of our own on free ports, gone with its mail at the end.
    Raises: click.ClickException if it does not start."""
    with tempfile.TemporaryDirectory(prefix="mailstack-tour-") as directory:
        ready, log = Path(directory) / "ready.json", Path(directory) / "log"
        command = [sys.executable, "-m", "mailstack", "dev", "--data", f"{directory}/data", "--ports", "0",
                   "--ready-file", str(ready), "--quiet"]  # fmt: skip
        with log.open("wb") as sink:
            server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink)
        try:
            _wait_for(ready, server, log)
            document = json.loads(ready.read_text())
            services = {name: (v["host"], v["port"]) for name, v in document.items() if isinstance(v, dict)}
            yield services, Path(document["data"])
        finally:
            server.terminate()
            try:
                server.wait(STOP_PATIENCE)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _wait_for(ready: Path, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_PATIENCE
    while not ready.exists():
        try:
            server.wait(timeout=0.02)
        except subprocess.TimeoutExpired:
            if time.monotonic() < deadline:
                continue
        raise click.ClickException(f"the private server did not start:\n{log.read_text(errors='replace')}")
