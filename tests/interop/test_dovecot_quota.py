"""`maildirsize` kept by Dovecot's quota backend `maildir` and by mailstack, each on what the other has written."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from dovecot_process import MASTER, PASSWORD, Dovecot
from production import DOMAIN, configuration, prepare, production
from server_process import Dialogue, Server, send_message

from mailstack.store.maildir.maildirsize import Usage, count

PLUGIN = Path("/usr/lib/dovecot/modules/lib10_quota_plugin.so")
pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(
        not os.access(MASTER, os.X_OK) or not PLUGIN.exists(),
        reason="Dovecot with its quota plugin is not installed (Debian: apt-get install dovecot-imapd)",
    ),
]

ALICE, BOB = f"alice@{DOMAIN}", f"bob@{DOMAIN}"
QUOTA = '[quota]\nbytes = "20 KiB"\nmessages = 6\n'
PLUGINS = """
mail_plugins = quota
protocol imap {
  mail_plugins = quota imap_quota
}
plugin {
  quota = maildir:User quota
  %s
}
"""
SAME_LIMITS = "quota_rule = *:storage=20K:messages=6"
MESSAGE = b"Subject: one\r\n\r\n" + b"x" * 4000 + b"\r\n"


class Both:
    """Dovecot and mailstack on the same accounts."""

    def __init__(self, base: Path, rule: str, stack: ExitStack) -> None:
        self.base = base
        prepare(base, configuration(base, tables=QUOTA))
        self.mail = base / "data" / "mail"
        self.mailstack: Server = stack.enter_context(production(base))
        self.dovecot = stack.enter_context(Dovecot(base, self.mail, more=PLUGINS % rule))

    def imap(self, user: str) -> Dialogue:
        """A session of Dovecot's."""
        client = Dialogue(socket.create_connection(("127.0.0.1", self.dovecot.port), timeout=10))
        client.line()
        client.send(b"a LOGIN %s %s\r\n" % (user.encode(), PASSWORD.encode()))
        client.until(b"a OK")
        return client

    def dovecot_says(self, user: str) -> bytes:
        """The resources of Dovecot's QUOTA response, STORAGE in KiB."""
        with self.imap(user) as client:
            client.send(b"b GETQUOTAROOT INBOX\r\n")
            lines = client.until(b"b ")
        (line,) = [line for line in lines if line.startswith(b"* QUOTA ")]
        return line.partition(b"(")[2].rstrip(b")")

    def book(self, user: str) -> bytes:
        return (self.mail / user / "maildirsize").read_bytes()

    def offer(self, user: str) -> bytes:
        """mailstack's reply to RCPT."""
        with self.mailstack.connect("smtp") as client:
            client.smtp(b"EHLO client.example", b"250")
            client.smtp(b"MAIL FROM:<a@example.net>", b"250")
            client.send(b"RCPT TO:<%s>\r\n" % user.encode())
            return client.line()


def kibibytes(used: Usage) -> int:
    """As Dovecot rounds them."""
    return -(-used.octets // 1024)


@pytest.fixture(scope="module", params=[SAME_LIMITS, ""], ids=["same limits", "limits of the file"])
def both(request: pytest.FixtureRequest) -> Iterator[Both]:
    base = Path(tempfile.mkdtemp(prefix="quota-"))
    try:
        base.chmod(0o755)
        with ExitStack() as stack:
            yield Both(base, request.param, stack)
    finally:
        shutil.rmtree(base)


def test_dovecot_reads_what_mailstack_kept(both: Both) -> None:
    for _ in range(2):
        send_message(both.mailstack, ALICE, MESSAGE)
    lines = both.book(ALICE).split(b"\n")
    assert lines[0] == b"20480S,6C"
    used = count(both.mail / ALICE)
    assert used.messages == 2
    assert both.dovecot_says(ALICE) == b"STORAGE %d 20 MESSAGE 2 6" % kibibytes(used)
    assert both.book(ALICE).split(b"\n") == lines, "it believed the file, and left it as it was"


def test_mailstack_reads_what_dovecot_kept(both: Both) -> None:
    send_message(both.mailstack, BOB, MESSAGE)
    with both.imap(BOB) as client:
        for _ in range(2):
            client.send(b"b APPEND INBOX {%d+}\r\n%s\r\n" % (len(MESSAGE), MESSAGE))
            client.until(b"b OK")
    on_disk = len(MESSAGE.replace(b"\r\n", b"\n"))  # Dovecot's own choice of line ends
    assert both.book(BOB).endswith(b"\n%d 1\n%d 1\n" % (on_disk, on_disk))
    assert both.offer(BOB).startswith(b"250")
    for _ in range(2):
        send_message(both.mailstack, BOB, b"Subject: small\r\n\r\n")
    with both.imap(BOB) as client:
        client.send(b"b APPEND INBOX {5+}\r\nx: y\n\r\n")
        client.until(b"b OK")
        assert both.offer(BOB) == b"452 4.2.2 Mailbox full"
        client.send(b"c APPEND INBOX {5+}\r\nx: y\n\r\n")
        assert client.until(b"c ")[-1].startswith(b"c NO [OVERQUOTA]")
        client.send(b"d SELECT INBOX\r\ne STORE 1:2 +FLAGS.SILENT \\Deleted\r\nf EXPUNGE\r\n")
        client.until(b"f OK")
    assert both.offer(BOB).startswith(b"250")
    used = count(both.mail / BOB)
    assert used.messages == 4
    assert both.dovecot_says(BOB) == b"STORAGE %d 20 MESSAGE 4 6" % kibibytes(used)
    assert both.dovecot.complaints() == []
