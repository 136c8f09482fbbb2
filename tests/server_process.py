"""A real server process for tests, started and stopped without guessing at times."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

START_LIMIT = 20.0
STOP_LIMIT = 40.0
POLL = 0.01
REPOSITORY = Path(__file__).parents[1]


class NotStarted(AssertionError):
    """The process ended, or was not ready in time. Has what it wrote."""


class Server:
    """`mailstack dev` (or other arguments) as a process. A context manager."""

    def __init__(
        self, directory: Path, arguments: Sequence[str] = (), prefix: Sequence[str] = (), **environment: str
    ) -> None:
        self.directory = directory
        self.log = directory / "server.log"
        self.ready_file = directory / "ready.json"
        self.ready_file.unlink(missing_ok=True)
        standard = ("dev", "--data", str(directory / "data"), "--ports", "0")
        program = [*prefix, sys.executable, "-m", "mailstack"]
        command = [*program, *(arguments or standard), "--ready-file", str(self.ready_file)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=REPOSITORY, env={**os.environ, **environment}
            )
        self.services: dict[str, Any] = {}

    def wait_ready(self) -> Server:
        """Raises: NotStarted."""
        end = time.monotonic() + START_LIMIT
        while not self.ready_file.exists():
            if self.exited_within(POLL) or time.monotonic() > end:
                self.kill()
                raise NotStarted(f"exit status {self.process.returncode}:\n{self.log.read_text()}")
        self.services = json.loads(self.ready_file.read_text())
        return self

    def exited_within(self, seconds: float) -> bool:
        """Wait for the end of the process, at most so long."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def wait_log(self, text: str, log: Path | None = None) -> str:
        """The first line of the log that has `text`, once it is there. Raises: AssertionError."""
        end = time.monotonic() + START_LIMIT
        while True:
            path = log or self.log
            lines = path.read_text().splitlines() if path.exists() else []
            if found := [line for line in lines if text in line]:
                return found[0]
            if self.exited_within(POLL) or time.monotonic() > end:
                raise AssertionError(f"no {text!r} in the log:\n" + "\n".join(lines[-30:]))

    def hang_up(self) -> None:
        """SIGHUP."""
        self.process.send_signal(signal.SIGHUP)

    @property
    def data(self) -> Path:
        return Path(self.services["data"])

    @property
    def ca(self) -> Path:
        """The certificate that clients have to trust."""
        return Path(self.services["ca"])

    def port(self, service: str) -> int:
        return int(self.services[service]["port"])

    def host(self, service: str) -> str:
        return str(self.services[service]["host"])

    def connect(self, service: str, *, greeting: bool = True) -> Dialogue:
        dialogue = Dialogue(socket.create_connection((self.host(service), self.port(service)), timeout=10))
        if greeting:
            dialogue.line()
        return dialogue

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        self.process.send_signal(signal.SIGTERM)
        if not self.exited_within(STOP_LIMIT):
            self.kill()
            raise AssertionError(f"did not stop within {STOP_LIMIT} s:\n{self.log.read_text()[-4000:]}")
        return int(self.process.returncode)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def rss(self) -> int:
        """Resident octets of the process."""
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def __enter__(self) -> Server:
        return self.wait_ready()

    def __exit__(self, *error: object) -> None:
        if self.process.poll() is None:
            if error[0] is None:
                self.stop()
            else:
                self.kill()


class Dialogue:
    """A raw connection with lines."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.buffer = b""
        self.ended = False

    def send(self, octets: bytes) -> None:
        self.sock.sendall(octets)

    def line(self) -> bytes:
        """The next line without CRLF; b"" at the end of the connection."""
        while b"\n" not in self.buffer:
            data = self.sock.recv(65536)
            if not data:
                self.ended = True
                rest, self.buffer = self.buffer, b""
                return rest
            self.buffer += data
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line.removesuffix(b"\r")

    def exactly(self, count: int) -> bytes:
        """So many octets."""
        pieces = [self.buffer]
        have = len(self.buffer)
        while have < count:
            data = self.sock.recv(1 << 20)
            assert data, f"the connection ended after {have} of {count} octets"
            pieces.append(data)
            have += len(data)
        octets = b"".join(pieces)
        self.buffer = octets[count:]
        return octets[:count]

    def until(self, prefix: bytes) -> list[bytes]:
        """Lines up to one that starts so."""
        lines = []
        while True:
            line = self.line()
            lines.append(line)
            if line.startswith(prefix):
                return lines
            assert line or self.buffer or not self.at_end(), f"ended before {prefix!r}: {lines[-5:]}"

    def smtp(self, command: bytes, code: bytes) -> list[bytes]:
        """One command and its reply, which must have this code."""
        self.send(command + b"\r\n")
        return self.reply(code)

    def reply(self, code: bytes) -> list[bytes]:
        lines = [self.line()]
        while lines[-1][3:4] == b"-":
            lines.append(self.line())
        assert lines[-1].startswith(code), lines
        return lines

    def silent(self, seconds: float = 0.0) -> bool:
        """Whether nothing comes for so long."""
        return not self.buffer and not select.select([self.sock], [], [], seconds)[0]

    def at_end(self) -> bool:
        """Waits for the next octets or the end."""
        if self.buffer:
            return False
        try:
            self.buffer = self.sock.recv(65536)
        except ConnectionResetError:
            return True
        return not self.buffer

    def start_tls(self) -> None:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        assert not self.buffer, self.buffer
        self.sock = context.wrap_socket(self.sock)

    def close(self) -> None:
        self.sock.close()

    def __enter__(self) -> Dialogue:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def send_message(server: Server, recipient: str, octets: bytes, sender: str = "sender@example.net") -> None:
    """One message by SMTP; returns after the 250 to its data. The octets are sent as they are, with
    dots stuffed."""
    with server.connect("smtp") as client:
        client.smtp(b"EHLO client.example", b"250")
        client.smtp(b"MAIL FROM:<%s>" % sender.encode(), b"250")
        client.smtp(b"RCPT TO:<%s>" % recipient.encode(), b"250")
        client.smtp(b"DATA", b"354")
        stuffed = octets.replace(b"\r\n.", b"\r\n..")
        if stuffed.startswith(b"."):
            stuffed = b"." + stuffed
        client.send(stuffed + (b"" if not stuffed or stuffed.endswith(b"\r\n") else b"\r\n") + b".\r\n")
        client.reply(b"250")
        client.smtp(b"QUIT", b"221")
