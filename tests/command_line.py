"""The command line in tests: as a process, or within this one."""

from __future__ import annotations

import os
import pty
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner, Result
from server_process import REPOSITORY

from mailstack.app.development import USUAL_HTTP_PORT
from mailstack.cli.main import cli
from mailstack.config.sections import USUAL_PORTS

LIMIT = 30.0
"""Seconds that a command may take."""
PROGRAM = (sys.executable, "-m", "mailstack")


@dataclass(frozen=True, slots=True)
class Ended:
    """What a process left."""

    status: int
    out: str
    err: str


def environment(**more: str) -> dict[str, str]:
    """Ours, without what would lead a command to somebody's own server or configuration."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MAILSTACK_")}
    return {**kept, "PYTHONPATH": str(REPOSITORY), **more}


def command(*words: str, stdin: bytes = b"", prefix: Sequence[str] = (), cwd: Path = REPOSITORY, **more: str) -> Ended:
    """`mailstack` with these words as a process. It must not end with a traceback."""
    done = subprocess.run(
        [*prefix, *PROGRAM, *words], input=stdin, capture_output=True, cwd=cwd, env=environment(**more), timeout=LIMIT
    )
    ended = Ended(done.returncode, done.stdout.decode(), done.stderr.decode())
    assert "Traceback" not in ended.err, ended.err
    return ended


def invoke(*words: str | Path, stdin: str | bytes = "") -> Result:
    """The same within this process: faster, and without terminal, signals and file descriptors."""
    result = CliRunner().invoke(cli, [str(word) for word in words], input=stdin, prog_name="mailstack")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def on_terminal(*words: str, answer: Callable[[bytes, int], bool], prefix: Sequence[str] = ()) -> tuple[int, bytes]:
    """`mailstack` on a terminal of its own: its exit status and what the terminal showed. `answer` gets
    what was shown so far and the terminal, to type there; it is asked until it has answered (True)."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(REPOSITORY)
        os.execvpe((prefix or PROGRAM)[0], [*prefix, *PROGRAM, *words], environment(TERM="xterm", COLUMNS="80"))
    shown, answered = b"", False
    try:
        while select.select([terminal], [], [], LIMIT)[0]:
            try:
                octets = os.read(terminal, 65536)
            except OSError:  # how Linux says that the terminal has no user any more
                break
            if not octets:
                break
            shown += octets
            answered = answered or answer(shown, terminal)
        else:
            raise AssertionError(f"it waits: {shown!r}")
    except BaseException:
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        os.close(terminal)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status, shown


def free_base() -> int:
    """A base with all services' ports free above it, at this moment: below those that the kernel hands
    out, and another one first for each process that asks."""
    bases = list(range(10000, 31000, 100))
    start = os.getpid() * 37 % len(bases)
    for base in bases[start:] + bases[:start]:
        with ExitStack() as stack:
            try:
                for port in (*USUAL_PORTS.values(), USUAL_HTTP_PORT):
                    stack.enter_context(socket.create_server(("127.0.0.1", base + port)))
            except OSError:
                continue
            return base
    raise AssertionError("no ports are free")
