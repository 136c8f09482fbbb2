"""What other programs do to a Maildir is told to a client in IDLE at once."""

from __future__ import annotations

import os
import pty
import select
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from server_process import Dialogue, Server, send_message

pytestmark = pytest.mark.processes

USER = "alice@example.org"
LIMIT = 2.0
"""Seconds within which everything must be told; some milliseconds are usual."""
ROUNDS = 10
MUTT_LIMIT = 20.0
MUTTRC = """set folder="{home}" record="" move=no quit=yes delete=yes mark_old=no wait_key=no
push "<first-entry><flag-message><last-entry><delete-message><sync-mailbox><exit>"
"""


@pytest.fixture(scope="module")
def server(shared_directory: Path) -> Iterator[Server]:
    with Server(shared_directory) as server:
        yield server


class Idle:
    """A client in IDLE on INBOX, which has been emptied."""

    def __init__(self, server: Server) -> None:
        self.maildir = server.data / "mail" / USER
        self.wire: Dialogue = server.connect("imap")
        self.wire.send(b"a LOGIN %s x\r\nb SELECT INBOX\r\n" % USER.encode())
        self.wire.until(b"b OK")
        self.wire.send(b"c STORE 1:* +FLAGS.SILENT (\\Deleted)\r\nd EXPUNGE\r\n")
        self.wire.until(b"d OK")
        self.wire.send(b"e IDLE\r\n")
        self.wire.until(b"+")
        self.count = 0

    def told(self, what: bytes) -> tuple[bytes, float]:
        """The line that has this, and how long it took."""
        begun = time.monotonic()
        while what not in (line := self.wire.line()):
            assert line, "the connection ended"
        return line, time.monotonic() - begun

    def deliver(self) -> float:
        """As procmail does; seconds until EXISTS."""
        self.count += 1
        name = f"1790000000.{os.getpid()}_{self.count}.other"
        (self.maildir / "tmp" / name).write_text("Subject: x\n\nx\n")
        (self.maildir / "tmp" / name).rename(self.maildir / "new" / name)
        return self.told(b"EXISTS")[1]

    def files(self) -> list[Path]:
        return sorted((self.maildir / "cur").iterdir())

    def flag(self) -> float:
        (path,) = self.files()
        path.rename(path.with_name(path.name.partition(":2,")[0] + ":2,F"))
        line, seconds = self.told(b"FETCH")
        assert b"\\Flagged" in line
        return seconds

    def rm(self) -> float:
        (path,) = self.files()
        path.unlink()
        return self.told(b"EXPUNGE")[1]

    def run(self, command: list[str], **more: object) -> None:
        subprocess.run(command, check=True, timeout=20, **more)  # type: ignore[call-overload]


@pytest.fixture
def idle(server: Server) -> Iterator[Idle]:
    send_message(server, USER, b"Subject: first\r\n\r\nx\r\n")  # so that there is an account
    idle = Idle(server)
    idle.wire.sock.settimeout(10)
    yield idle
    idle.wire.close()


def test_delivery_flags_and_removal_are_told_at_once(idle: Idle) -> None:
    doings: list[Callable[[], float]] = [idle.deliver, idle.flag, idle.rm]
    times: dict[str, list[float]] = {doing.__name__: [] for doing in doings}
    for _ in range(ROUNDS):
        for doing in doings:
            times[doing.__name__].append(doing())
    for name, seconds in times.items():
        print(f"{name}: median {statistics.median(seconds) * 1000:.1f} ms, longest {max(seconds) * 1000:.1f} ms")
        assert max(seconds) < LIMIT, name


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


@needs("procmail")
def test_procmail_delivers(idle: Idle, tmp_path: Path) -> None:
    (tmp_path / "rc").write_text(f"DEFAULT={idle.maildir}/\n")
    idle.run(["procmail", str(tmp_path / "rc")], input=b"Subject: by procmail\n\nx\n")
    _, seconds = idle.told(b"1 EXISTS")
    assert seconds < LIMIT
    assert len(idle.files()) == 1


@needs("maildrop")
def test_maildrop_delivers(idle: Idle, tmp_path: Path) -> None:
    (tmp_path / "filter").write_text(f'to "{idle.maildir}"\n')
    (tmp_path / "filter").chmod(0o600)
    idle.run(["maildrop", str(tmp_path / "filter")], input=b"Subject: by maildrop\n\nx\n")
    _, seconds = idle.told(b"1 EXISTS")
    assert seconds < LIMIT
    idle.wire.send(b"DONE\r\nf UID FETCH * (RFC822.SIZE BODY.PEEK[])\r\n")
    size = len(b"Subject: by maildrop\r\n\r\nx\r\n")
    assert any(b"RFC822.SIZE %d BODY[] {%d}" % (size, size) in line for line in idle.wire.until(b"f OK"))


@needs("mutt")
def test_mutt_flags_one_and_deletes_another(idle: Idle, tmp_path: Path) -> None:
    for _ in range(3):
        idle.deliver()
    (tmp_path / "muttrc").write_text(MUTTRC.format(home=tmp_path))
    command = ["mutt", "-n", "-F", str(tmp_path / "muttrc"), "-f", str(idle.maildir)]
    controller, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "HOME": str(tmp_path)}
    mutt = subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal, env=environment)
    os.close(terminal)
    try:
        told = b"".join(line + b"\n" for line in wait_for(mutt, controller, idle))
    finally:
        mutt.kill()
        mutt.wait()
        os.close(controller)
    assert told.count(b"EXPUNGE") == told.count(b"\\Flagged") == 1  # in which order mutt has them is its own
    assert len(idle.files()) == 2
    idle.wire.send(b"DONE\r\nf UID SEARCH ALL\r\ng UID SEARCH FLAGGED\r\n")
    searched = [line for line in idle.wire.until(b"g OK") if b"SEARCH" in line and line.startswith(b"*")]
    assert [len(line.split()) for line in searched] == [4, 3], searched


def wait_for(mutt: subprocess.Popen[bytes], controller: int, idle: Idle) -> list[bytes]:
    """Read what mutt paints until the client has heard of both changes."""
    end = time.monotonic() + MUTT_LIMIT
    lines: list[bytes] = []
    while not (any(b"EXPUNGE" in line for line in lines) and any(b"Flagged" in line for line in lines)):
        assert time.monotonic() < end, lines
        if select.select([controller], [], [], 0.0)[0]:
            try:
                os.read(controller, 65536)
            except OSError:
                assert mutt.wait(MUTT_LIMIT) == 0  # it has closed its terminal
        if not idle.wire.silent(0.02):
            lines.append(idle.wire.line())
    return lines
