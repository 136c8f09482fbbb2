"""One server for all clients, and how to run them."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from server_process import Server

CLIENT_LIMIT = 30


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("interop"), ("dev", "--ephemeral", "--ports", "0")) as running:
        yield running


class Client:
    """Runs a program in a home directory of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
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
        controller, terminal = pty.openpty()
        process = subprocess.Popen(
            command,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            env=self.environment,
            cwd=self.home,
            start_new_session=True,
        )
        os.close(terminal)
        try:
            output = b""
            while select.select([controller], [], [], CLIENT_LIMIT)[0]:
                try:
                    piece = os.read(controller, 65536)
                except OSError:
                    break  # how Linux says that the terminal has no user any more
                if not piece:
                    break
                output += piece
            else:
                raise AssertionError("it waits for an answer:\n" + output.decode("utf-8", "replace"))
            assert process.wait(CLIENT_LIMIT) == 0, output.decode("utf-8", "replace")
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            os.close(controller)


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
