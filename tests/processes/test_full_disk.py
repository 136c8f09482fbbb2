"""A disk that is full or read-only: what is refused, what still works, and that nothing half-written
stays."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from production import DOMAIN, NOBODY, PASSWORD, configuration, plain, prepare, production, secured
from server_process import Dialogue, Server, send_message

pytestmark = pytest.mark.processes

ALICE = f"alice@{DOMAIN}"
DISK = 4 * 1024 * 1024
LEFT = 16 * 1024
"""Octets that are free: a message may be begun and not ended."""
SMALL = b"Subject: small\r\n\r\nThe body.\r\n"
MIDDLE = b"Subject: middle\r\n\r\n" + b"In memory on its way in.\r\n" * 2000
LARGE = b"Subject: large\r\n\r\n" + b"Past 128 KiB it is in the spool's file.\r\n" * 10_000


class Disk:
    """A file system of DISK octets."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    @contextlib.contextmanager
    def read_only(self) -> Iterator[None]:
        """As a kernel makes it that met an error."""
        subprocess.run(["mount", "-o", "remount,ro", str(self.path)], check=True)
        try:
            yield
        finally:
            subprocess.run(["mount", "-o", "remount,rw", str(self.path)], check=True)

    @contextlib.contextmanager
    def filled(self, *, left: int = 0) -> Iterator[None]:
        """So many octets are left to others."""
        with self._filler.open("ab", buffering=0) as file:
            try:
                while True:
                    file.write(b"\0" * 4096)
            except OSError:
                file.truncate(max(0, file.tell() - left))
            try:
                yield
            finally:
                self._filler.unlink()


@pytest.fixture(scope="module")
def disk(shared_directory: Path) -> Iterator[Disk]:
    if os.getuid() != 0:
        pytest.skip("only root can mount a small file system")
    path = shared_directory / "disk"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=0700", "mailstack-test", str(path)],
        capture_output=True,
        text=True,
    )
    if mounted.returncode:
        pytest.skip(f"mounting is not permitted here: {mounted.stderr.strip()}")
    try:
        shutil.chown(path, NOBODY)
        yield Disk(path)
    finally:
        subprocess.run(["umount", str(path)], check=True)


@pytest.fixture(scope="module")
def server(shared_directory: Path, disk: Disk) -> Iterator[Server]:
    """Its mail is on the disk; accounts and log are not."""
    top = f'accounts = "{shared_directory}/data/accounts.sqlite3"'
    text = configuration(shared_directory, top=top, tables="[auth]\nrequire_tls = false")
    prepare(shared_directory, text.replace(f'"{shared_directory}/data"', f'"{disk.path}"'))
    # Files that are open for writing keep mount(8) from making the disk read-only, as a kernel does that met an error.
    (disk.path / "queue" / "tmp").mkdir(parents=True)
    for name in ("queue/queue.sqlite3", "journal.sqlite3", "tls.sqlite3"):
        elsewhere = shared_directory / "data" / Path(name).name
        elsewhere.touch()
        (disk.path / name).symlink_to(elsewhere)
    for path in disk.path.rglob("*"):
        if path.is_dir():
            shutil.chown(path, NOBODY)
    with production(shared_directory) as running:
        yield running


def send(server: Server, message: bytes) -> bytes:
    """One message for alice; the reply to its end, whatever it is."""
    with server.connect("smtp") as client:
        client.smtp(b"EHLO client.example", b"250")
        client.smtp(b"MAIL FROM:<stranger@example.net>", b"250")
        client.smtp(b"RCPT TO:<%s>" % ALICE.encode(), b"250")
        client.smtp(b"DATA", b"354")
        client.send(message + b".\r\n")
        reply = client.line()
        client.smtp(b"NOOP", b"250")
        return reply


def imap(server: Server) -> Dialogue:
    client = server.connect("imap")
    client.send(b'a LOGIN %s "%s"\r\n' % (ALICE.encode(), PASSWORD.encode()))
    client.until(b"a OK")
    return client


def append(client: Dialogue, message: bytes) -> bytes:
    """The tagged response."""
    client.send(b"b APPEND INBOX {%d+}\r\n%s\r\n" % (len(message), message))
    return client.until(b"b ")[-1]


def subjects(server: Server) -> list[bytes]:
    """By IMAP."""
    with imap(server) as client:
        client.send(b"c SELECT INBOX\r\nd FETCH 1:* BODY.PEEK[HEADER.FIELDS (SUBJECT)]\r\n")
        lines = client.until(b"d ")
        assert lines[-1].startswith(b"d OK"), lines
        return [line.removeprefix(b"Subject: ") for line in lines if line.startswith(b"Subject: ")]


def retrieved(server: Server) -> bytes:
    """The first message by POP3."""
    with server.connect("pop3") as client:
        client.send(b"USER %s\r\nPASS %s\r\nRETR 1\r\n" % (ALICE.encode(), PASSWORD.encode()))
        for _ in range(3):
            line = client.line()
            assert line.startswith(b"+OK"), line
        return b"\n".join(client.until(b"."))


def submitted_elsewhere(server: Server) -> bytes:
    """The reply to a message for the queue."""
    with secured(server, "submission") as client:
        client.smtp(b"AUTH PLAIN " + plain(ALICE), b"235")
        client.smtp(b"MAIL FROM:<%s>" % ALICE.encode(), b"250")
        client.smtp(b"RCPT TO:<somebody@example.com>", b"250")
        client.smtp(b"DATA", b"354")
        client.send(MIDDLE + b".\r\n")
        return client.line()


def files(disk: Disk) -> set[Path]:
    """Everything on it that is not the filler."""
    return {path for path in disk.path.rglob("*") if path.is_file() and path.name != "filler"}


@pytest.mark.parametrize("left", [0, LEFT], ids=["nothing left", "too little left"])
@pytest.mark.parametrize("message", [MIDDLE, LARGE], ids=["in memory", "in a file"])
def test_mail_is_refused_for_now_and_nothing_half_written_stays(
    server: Server, disk: Disk, message: bytes, left: int
) -> None:
    send_message(server, ALICE, SMALL)
    subjects_before, files_before = subjects(server), files(disk)
    with disk.filled(left=left):
        assert send(server, message).startswith(b"452 4.3.1 ")
        assert submitted_elsewhere(server).startswith(b"452 4.3.1 ")
        with imap(server) as client:
            assert append(client, message).startswith(b"b NO [OVERQUOTA]")
            client.send(b"e NOOP\r\n")
            client.until(b"e OK")
        assert b"The body." in retrieved(server)
        assert subjects(server) == subjects_before
        assert files(disk) == files_before
    line = server.wait_log("delivery failed" if message is MIDDLE else "message not kept")
    assert "No space left" in line, line
    assert "452 4.3.1" in server.wait_log("mail refused")
    assert send(server, message).startswith(b"250 ")
    assert submitted_elsewhere(server).startswith(b"250 ")
    with imap(server) as client:
        assert append(client, message).startswith(b"b OK [APPENDUID")
    assert len(subjects(server)) == len(subjects_before) + 2


def test_on_a_read_only_disk_mail_that_was_seen_before_is_still_read(server: Server, disk: Disk) -> None:
    send_message(server, ALICE, SMALL)
    before = subjects(server)
    with disk.read_only():
        assert subjects(server) == before
        assert b"The body." in retrieved(server)
        assert send(server, MIDDLE).startswith(b"451 4.3.0 ")
        assert send(server, LARGE).startswith(b"451 4.3.0 ")
        assert submitted_elsewhere(server).startswith(b"451 4.3.0 ")
        with imap(server) as client:
            assert append(client, SMALL).startswith(b"b NO [UNAVAILABLE]")
        assert "Read-only file system" in server.wait_log("Read-only file system")
    assert send(server, MIDDLE).startswith(b"250 ")
    assert subjects(server) == [*before, b"middle"]


def test_on_a_read_only_disk_a_body_is_read_though_it_cannot_be_marked(server: Server, disk: Disk) -> None:
    send_message(server, ALICE, SMALL)
    count = len(subjects(server))
    with disk.read_only(), imap(server) as client:
        client.send(b"c SELECT INBOX\r\nd FETCH %d BODY[TEXT]\r\n" % count)
        lines = client.until(b"d ")
        assert lines[-1].startswith(b"d OK"), lines
        assert any(b"The body." in line for line in lines)
        server.wait_log("messages not marked as seen")


def test_on_a_read_only_disk_what_nobody_saw_yet_waits(server: Server, disk: Disk) -> None:
    before = subjects(server)
    send_message(server, ALICE, SMALL)  # it lies in new/ and has no UID
    with disk.read_only():
        assert subjects(server) == before
        assert "count" in server.wait_log("mailbox is read-only")
        if before:
            assert b"The body." in retrieved(server)
    assert subjects(server) == [*before, b"small"]


def test_mail_that_came_before_is_readable_as_soon_as_there_is_room(server: Server, disk: Disk) -> None:
    send_message(server, ALICE, SMALL)  # nobody looked yet: it has no UID
    with disk.filled(), imap(server) as client:
        client.send(b"c SELECT INBOX\r\nd NOOP\r\n")
        client.until(b"d OK")
    assert subjects(server)[-1] == b"small"
    assert not list((disk.path / "mail").rglob("*.lock"))
