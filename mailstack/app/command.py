"""A command that runs while the server does: `mailstack dev --exec`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from mailstack.app.http_api import HTTP
from mailstack.app.readiness import Ready

PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
NOT_FOUND, NOT_RUN = 127, 126
"""Exit statuses, as a shell has them, of a command that is not there and of one that cannot be run."""
KILLED = 128
"""To which the number of the signal is added that ended the command."""


def variables(ready: Ready, token: str) -> dict[str, str]:
    """What the command finds in its environment: SMTP_HOST, SMTP_PORT and so on of each service, and where the HTTP
    API is."""
    found: dict[str, str] = {}
    for name, (host, port) in ready.services.items():
        if name != HTTP:
            found |= {f"{name.upper()}_HOST": host, f"{name.upper()}_PORT": str(port)}
    host, port = ready.services[HTTP]
    smtp_host, smtp_port = ready.services["smtp"]
    found["MAILSTACK_HTTP"] = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    found["MAILSTACK_SERVER"] = f"{smtp_host}:{smtp_port}"
    found["MAILSTACK_CA"] = str(ready.ca)
    if token:
        found["MAILSTACK_HTTP_TOKEN"] = token
    return found


class BesideCommand:
    """Starts a command, passes signals on to it, and stops the reactor when it ends. In the reactor's thread, but
    for the wait."""

    def __init__(self, words: Sequence[str], reactor: Any) -> None:
        self.status = 0
        """The command's exit status, once it has ended."""
        self._words = words
        self._reactor = reactor
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, environment: Mapping[str, str]) -> None:
        """With these variables beside our own."""
        try:
            self._process = subprocess.Popen(self._words, env={**os.environ, **environment})
        except OSError as error:
            print(f"mailstack: {self._words[0]}: {error.strerror}", file=sys.stderr)
            self._ended(NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_RUN)
            return
        for number in PASSED_ON:
            signal.signal(number, self._pass_on)
        threading.Thread(target=self._wait, args=(self._process,), name="command", daemon=True).start()

    def _pass_on(self, number: int, frame: object) -> None:
        # What comes from the terminal has reached the command already, which is of the same process group.
        if self._process is not None and not (number == signal.SIGINT and _in_foreground()):
            self._process.send_signal(number)

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        status = process.wait()
        self._reactor.callFromThread(self._ended, status if status >= 0 else KILLED - status)

    def _ended(self, status: int) -> None:
        self.status = status
        for number in PASSED_ON[:3]:
            signal.signal(number, signal.SIG_IGN)  # it stops already
        self._reactor.stop()


def _in_foreground() -> bool:
    try:
        with open("/dev/tty", "rb") as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return False
