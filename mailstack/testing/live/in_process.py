"""A server as a process of its own, which ends when this one does."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any

from mailstack.testing.live.failures import MailServerError
from mailstack.testing.live.log_tail import FileTail
from mailstack.testing.live.settings import MailServerSettings, Way

START_LIMIT, STOP_LIMIT, CUT_AFTER = 30.0, 15.0, 1.0
"""Seconds: to be ready; to end after connections were cut; for them to end by themselves before that."""

DYING = 0.5
"""Seconds between the end of a process's connections and of itself, at most."""


class ServerProcess:
    """`mailstack dev`. Its standard input is a pipe that nobody writes to, at the end of which it stops."""

    way: Way = "process"

    def __init__(self, settings: MailServerSettings) -> None:
        self.log = FileTail()
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._data: Path | None = None
        self._started = False

    def start(self) -> dict[str, Any]:
        """What the ready file says. Raises: MailServerError."""
        self._process = subprocess.Popen(
            self._command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log.file,
            process_group=0,  # Ctrl-C is for the tests, which stop the server when they are done
        )  # fmt: skip
        document: dict[str, Any] = json.loads(self._first_line())
        self._started = True
        if self._settings.data is None:
            self._data = Path(document["data"])
        return document

    def _command(self) -> list[str]:
        settings = self._settings
        command = [sys.executable, "-m", "mailstack", "dev", "--ready-file", "-", "--stop-with-stdin"]
        command += ["--ports", str(settings.port_base), "--keep", "0"]
        command += ["--ephemeral"] if settings.data is None else ["--data", str(settings.data)]
        command += ["--password", settings.password] if settings.password else []
        for domain in settings.domains:
            command += ["--domain", domain]
        return command

    def _first_line(self) -> bytes:
        """Raises: MailServerError."""
        assert self._process is not None and self._process.stdout is not None
        end = time.monotonic() + START_LIMIT
        said = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while not said.endswith(b"\n"):
                if not selector.select(max(0.0, end - time.monotonic())):
                    raise MailServerError(f"the mail server was not ready within {START_LIMIT:g} s{self.explain()}")
                more = os.read(self._process.stdout.fileno(), 65536)
                if not more:
                    self._process.wait()
                    raise MailServerError(f"the mail server cannot start{self.explain()}")
                said += more
        return said

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def explain(self) -> str:
        """How it ended, if it has. Asked when it does not answer: its end may be some moments behind its sockets'."""
        if self._process is None:
            return ""
        try:
            self._process.wait(DYING)
        except subprocess.TimeoutExpired:
            return ""
        status = self._process.returncode
        return f"; its process ended with {_ending(status)}"

    def stop(self) -> None:
        """Idempotent. Raises: MailServerError if it had ended before, or does not."""
        process, self._process = self._process, None
        if process is None:
            return
        ended, killed = process.poll(), False
        try:
            if ended is None:
                process.send_signal(signal.SIGTERM)
                _wait(process)
        finally:
            if process.poll() is None:
                killed = True
                process.kill()
                process.wait()
            for pipe in (process.stdin, process.stdout):
                _close(pipe)
            if self._data is not None:
                shutil.rmtree(self._data, ignore_errors=True)  # it is there only if the process was killed
            self.log.close()
        # when the interpreter is on its way out, SIGTERM ends it as it is: nothing is left to be done then
        as_told = killed or process.returncode in (0, -signal.SIGTERM)
        if self._started and (ended is not None or not as_told):
            raise MailServerError(f"the mail server had ended with {_ending(process.returncode)} before it was stopped")

    def abandon(self) -> None:
        """In a forked child: it is the parent's."""
        if self._process is not None:
            for pipe in (self._process.stdin, self._process.stdout):
                _close(pipe)
            self._process.returncode = 0  # so that nobody waits for it here
        self._process = self._data = None


def _wait(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(CUT_AFTER)
        return
    process.send_signal(signal.SIGTERM)  # connections that a test left open are cut
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_LIMIT)


def _close(pipe: IO[bytes] | None) -> None:
    if pipe is not None:
        pipe.close()


def _ending(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-status).name
    return f"signal {-status}"
