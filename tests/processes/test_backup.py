"""The backup of docs/operation.md, made while the server runs, is a store with the same mail in it."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from server_process import REPOSITORY, Server, send_message

pytestmark = pytest.mark.processes

USER = "alice@example.org"


def documented_options() -> list[str]:
    """What `rsync` is told in the document."""
    text = (REPOSITORY / "docs/operation.md").read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("rsync ")]
    return [word for word in shlex.split(line)[1:] if word.startswith("-")]


def seen(server: Server) -> list[bytes]:
    """UIDVALIDITY, UIDs, flags, and mailboxes, as a client sees them."""
    with server.connect("imap") as client:
        client.send(b"a LOGIN %s x\r\n" % USER.encode())
        client.until(b"a OK")
        client.send(b'b EXAMINE INBOX\r\nc UID FETCH 1:* (FLAGS RFC822.SIZE)\r\nd LIST (SUBSCRIBED) "" *\r\n')
        lines = client.until(b"d ")
        assert lines[-1].startswith(b"d OK"), lines
        wanted = (b"UIDVALIDITY", b" FETCH ", b"LIST ")
        return [line for line in lines if line.startswith(b"* ") and any(word in line for word in wanted)]


@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")
def test_a_copy_of_a_running_server_is_the_same_to_a_client(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    with Server(first) as server:
        for number in range(4):
            send_message(server, USER, b"Subject: %d\r\n\r\nx\r\n" % number)
        with server.connect("imap") as client:
            client.send(
                b"a LOGIN %s x\r\nb SELECT INBOX\r\nc STORE 2 +FLAGS.SILENT (\\Flagged work)\r\n" % USER.encode()
            )
            client.send(
                b"d STORE 1 +FLAGS.SILENT (\\Deleted)\r\ne EXPUNGE\r\nf CREATE Lists/Py\r\ng SUBSCRIBE Lists/Py\r\n"
            )
            client.until(b"g OK")
        (server.data / "mail" / USER / "tmp" / "half").write_text("being delivered")
        command = ["rsync", *documented_options(), f"{server.data}/", f"{second}/data/"]
        for _ in range(2):
            subprocess.run(command, check=True, timeout=30)
        before = seen(server)
    assert [b"UID %d " % number in line for number, line in zip((2, 3, 4), before[1:4], strict=True)] == [True] * 3
    assert not (second / "data" / "mail" / USER / "tmp" / "half").exists()
    with Server(second) as server:
        assert seen(server) == before
        send_message(server, USER, b"Subject: new\r\n\r\nx\r\n")
        assert b"UID 5" in seen(server)[4]
