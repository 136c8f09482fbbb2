"""One server for all clients, and how to run them."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import termios
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from hosted import Hosted, hosting
from server_process import Server

CLIENT_LIMIT = 30
HERE = Path(__file__).parent
_CONTROL = re.compile(r"(?:\x1b(?:\[[0-9;?]*[ -/]*[@-~]|[()].|[=>78])|[\x00-\x09\x0e-\x1f])+")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here is with programs of others."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.interop)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("interop"), ("dev", "--ephemeral", "--ports", "0")) as running:
        yield running


@pytest.fixture(scope="session")
def hosted() -> Iterator[Hosted]:
    with hosting() as running:
        yield running


class Client:
    """Runs a program in a home directory of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "SHELL": "/bin/sh",
            "LC_ALL": "C.UTF-8",
            "TERM": "xterm",
            "USER": "tester",
        }

    def write(self, name: str, text: str) -> Path:
        """A file that only its owner may read, as fetchmail and msmtp want it."""
        path = self.home / name
        path.write_text(text)
        path.chmod(0o600)
        return path

    def store(self) -> Path:
        """A program that puts what comes in into a file in `out`. getmail, which runs it, is not told of the end of a
        child that ends before getmail waits for it."""
        (self.home / "out").mkdir()
        waits = "grep -q '^State:.S' $parent && grep -q '^SigCgt:.*[13579bdf]....$' $parent"  # SIGCHLD is bit 16
        text = f"#!/bin/sh\nparent=/proc/$PPID/status\nuntil {waits}; do :; done\nexec cat >{self.home}/out/$$\n"
        path = self.write("store", text)
        path.chmod(0o700)
        return path

    def run(self, *command: str, stdin: bytes = b"", statuses: Sequence[int] = (0,)) -> str:
        """Its output; fails on another exit status."""
        result = subprocess.run(
            command,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self.environment,
            cwd=self.home,
            timeout=CLIENT_LIMIT,
        )
        output = result.stdout.decode("utf-8", "replace")
        assert result.returncode in statuses, f"{command[0]} ended with {result.returncode}:\n{output}"
        return output

    def run_in_terminal(self, *command: str) -> None:
        """For programs that want a terminal."""
        with self.terminal(*command) as terminal:
            terminal.end()

    @contextmanager
    def terminal(self, *command: str) -> Iterator[Terminal]:
        """A program that the test types to; it has to `end`."""
        terminal = Terminal(command, self.environment, self.home)
        try:
            yield terminal
        finally:
            terminal.close()


class Terminal:
    """A program in a terminal of 40 lines by 120 columns."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], directory: Path) -> None:
        self.shown = ""
        """What it wrote, without the sequences that move the cursor and the like."""
        self._seen = 0
        self._bytes = b""
        self._controller, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        self._process = subprocess.Popen(
            command,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            env=dict(environment),
            cwd=directory,
            start_new_session=True,
        )
        os.close(terminal)

    def wait(self, pattern: str) -> None:
        """Until it shows this after what was waited for before. Raises: AssertionError."""
        while (found := re.compile(pattern).search(self.shown, self._seen)) is None:
            assert self._read(), f"it ended, and did not show {pattern!r}:\n{self.shown}"
        self._seen = found.end()

    def type(self, keys: str, pattern: str = "") -> None:
        """Type keys, and wait for `pattern`."""
        os.write(self._controller, keys.encode())
        if pattern:
            self.wait(pattern)

    def end(self) -> None:
        """It ends by itself, with status 0. Raises: AssertionError."""
        while self._read():
            pass
        assert self._process.wait(CLIENT_LIMIT) == 0, self.shown

    def _read(self) -> bool:
        """Some more of what it shows; False: it has no terminal any more. Raises: AssertionError."""
        ready = select.select([self._controller], [], [], CLIENT_LIMIT)[0]
        assert ready, f"it waits for an answer:\n{self.shown}"
        try:
            piece = os.read(self._controller, 65536)
        except OSError:
            return False  # how Linux says that the terminal has no user any more
        self._bytes += piece
        self.shown = _CONTROL.sub(" ", self._bytes.decode("utf-8", "replace"))
        return bool(piece)

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        os.close(self._controller)


@pytest.fixture
def client(tmp_path: Path) -> Client:
    return Client(tmp_path)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("needs"):
        for program in marker.args:
            if shutil.which(program) is None:
                pytest.skip(
                    f"{program} is not installed (Debian: apt-get install {marker.kwargs.get('package', program)})"
                )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(program, package=...): skip unless the program is installed")
