"""Quotas and retention of a production server: taken up at SIGHUP, heard of by clients, in the log."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from production import DOMAIN, configuration, plain, production
from server_process import Dialogue, Server, send_message

from mailstack.app.development import DEFAULT_KEEP, DevelopmentOptions
from mailstack.app.development import configuration as development
from mailstack.config.sections import Retention

pytestmark = pytest.mark.processes
ALICE = f"alice@{DOMAIN}"
BODY = b"Subject: one\r\n\r\n" + b"x" * 1000 + b"\r\n"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    directory = Path(tempfile.mkdtemp(prefix="mailstack-test-"))
    with production(directory) as running:
        yield running
    shutil.rmtree(directory)


def change(server: Server, domain: str = "", tables: str = "") -> None:
    """Another configuration, and SIGHUP."""
    before = server.log.read_text().count(" reloaded ")
    path = server.directory / "mailstack.toml"
    text = configuration(server.directory, tables=tables)
    path.write_text(text.replace(f'name = "{DOMAIN}"', f'name = "{DOMAIN}"\n{domain}'))
    server.hang_up()
    end = time.monotonic() + 20
    while server.log.read_text().count(" reloaded ") == before:
        assert time.monotonic() < end, server.log.read_text()[-2000:]
        assert not server.exited_within(0.01)


def imap(server: Server) -> Dialogue:
    client = server.connect("imaps", greeting=False)
    client.start_tls()
    client.line()
    client.send(b"a AUTHENTICATE PLAIN %s\r\n" % plain(ALICE))
    client.until(b"a OK")
    return client


def offer(server: Server, *, size: int = 0) -> bytes:
    """The reply to RCPT for Alice."""
    with server.connect("smtp") as client:
        client.smtp(b"EHLO client.example", b"250")
        client.smtp(b"MAIL FROM:<a@example.net>" + (b" SIZE=%d" % size if size else b""), b"250")
        client.send(b"RCPT TO:<%s>\r\n" % ALICE.encode())
        return client.line()


def test_a_quota_comes_and_goes_with_the_configuration(server: Server) -> None:
    for _ in range(2):
        send_message(server, ALICE, BODY)
    book = server.data / "mail" / ALICE / "maildirsize"
    assert not book.exists()
    change(server, "quota_messages = 3", '[quota]\nbytes = "1 MiB"\nrefusal = "permanent"\n')
    assert offer(server, size=2_000_000) == b"552 5.2.2 Mailbox full"
    assert offer(server).startswith(b"250")
    send_message(server, ALICE, BODY)
    assert offer(server) == b"552 5.2.2 Mailbox full"
    assert book.read_text().startswith("1048576S,3C\n")
    assert "messages=3 max_messages=3" in server.wait_log("account nearly full")
    change(server)
    assert offer(server).startswith(b"250")


def test_messages_expire_and_an_idling_client_hears_of_it(server: Server) -> None:
    with imap(server) as client:
        for number, day in enumerate((b"01-Jan-2020", b"02-Jan-2020")):
            client.send(b'b%d APPEND Junk "%s 00:00:00 +0000" {%d+}\r\n%s\r\n' % (number, day, len(BODY), BODY))
            client.until(b"b%d OK" % number)
        client.send(b"c APPEND Junk (\\Flagged) {%d+}\r\n%s\r\n" % (len(BODY), BODY))
        client.until(b"c OK")
        client.send(b"d SELECT Junk\r\ne IDLE\r\n")
        client.until(b"+")
        change(server, tables='[[retention]]\nmailbox = "Junk"\ndays = 30\n')
        assert client.until(b"* 1 EXPUNGE") == [b"* 2 EXPUNGE", b"* 1 EXPUNGE"]
    assert f"account={ALICE} mailbox=Junk messages=2" in server.wait_log("mail expired")
    assert len(os.listdir(server.data / "mail" / ALICE / ".Junk" / "cur")) == 1


@pytest.mark.parametrize("keep", [0, DEFAULT_KEEP, 7])
def test_the_development_mode_keeps_the_newest(tmp_path: Path, keep: int) -> None:
    options = DevelopmentOptions(
        data=tmp_path,
        ephemeral=True,
        base_port=0,
        ready_file=None,
        domains=(),
        log_form="none",
        announce=False,
        keep=keep,
    )
    expected = (Retention("*", messages=keep),) if keep else ()
    assert development(options, tmp_path).retention == expected
