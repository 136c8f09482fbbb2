"""Everything that a production server puts into its data directory is in a backup, or is known not to matter."""

from __future__ import annotations

import imaplib
import os
import shutil
import ssl
from pathlib import Path

import pytest
from command_line import invoke
from production import DOMAIN, PASSWORD, configuration, plain, prepare, production, secured
from server_process import Server

from mailstack.auth.app_passwords import digest
from mailstack.auth.database import AccountDatabase
from mailstack.auth.sent import known_in
from mailstack.store.backup.data_files import DATA_FILES, Kept, found_in

pytestmark = pytest.mark.processes

ALICE, BOB = f"alice@{DOMAIN}", f"bob@{DOMAIN}"
TABLES = f'[auth]\nadministrators = ["{ALICE}"]\n'


def log_in(server: Server, user: str, password: str = PASSWORD) -> imaplib.IMAP4:
    context = ssl.create_default_context(cafile=str(server.ca))
    context.check_hostname = False
    client = imaplib.IMAP4(server.host("imap"), server.port("imap"))
    client.starttls(context)
    client.login(user, password)
    return client


def annotation(client: imaplib.IMAP4) -> bytes:
    client.xatom("GETMETADATA", '""', "/shared/comment")
    return client.response("METADATA")[1][0] or b""


def use_everything(server: Server) -> None:
    """Alice writes to somebody elsewhere, shares a mailbox, and says something of the server."""
    with secured(server, "submission") as client:
        client.smtp(b"AUTH PLAIN " + plain(), b"235")
        client.smtp(f"MAIL FROM:<{ALICE}>".encode(), b"250")
        client.smtp(b"RCPT TO:<carol@elsewhere.example>", b"250")
        client.smtp(f"RCPT TO:<{BOB}>".encode(), b"250")
        client.smtp(b"DATA", b"354")
        client.smtp(b"Subject: x\r\n\r\nx\r\n.", b"250")
    alice = log_in(server, ALICE)
    assert alice.create("Shared")[0] == "OK"
    assert alice.setacl("Shared", BOB, "lrs")[0] == "OK"
    assert alice.xatom("SETMETADATA", '""', '(/shared/comment "Our server")')[0] == "OK"
    alice.logout()


def test_what_a_server_keeps_is_in_its_backup(reachable: Path) -> None:
    config = prepare(reachable, configuration(reachable, tables=TABLES))
    made = invoke("account", "app-password", "add", ALICE, "phone", "--config", config)
    assert made.exit_code == 0, made.stderr
    secret = made.stdout.strip().splitlines()[-1].split()[-1]
    backups = reachable / "backups"
    backups.mkdir()
    with production(reachable) as server:
        use_everything(server)
        found = found_in(server.data)
        assert [name for name, known in found.items() if known is None] == [], "files that DATA_FILES does not have"
        saved = {row.pattern for row in DATA_FILES if row.kept is not Kept.NOT}
        assert saved <= found.keys(), "this test does not make them all"
        (waiting,) = (path.name for path in (server.data / "queue").glob("*.msg"))
        done = invoke("backup", backups, "--config", config)
        assert (done.exit_code, done.stderr) == (0, "")
        (backup,) = (path for path in backups.iterdir() if not path.name.startswith("."))
        assert saved <= set(os.listdir(backup))
        assert sorted(os.listdir(backup / "queue")) == sorted([waiting, "queue.sqlite3"])
        assert not [name for name in os.listdir(backup) if name.endswith(("-wal", "-shm"))]
        assert invoke("backup", "verify", backup).exit_code == 0

        assert [account for account, _ in known_in(backup / "sent.sqlite3")] == [ALICE, ALICE]
        # What is lost comes back while the server runs.
        (server.data / "server-attributes").unlink()
        assert invoke("account", "remove", ALICE, "--config", config).exit_code == 0
        shutil.rmtree(server.data / "mail" / ALICE)
        restored = invoke("restore", backups, ALICE, "--login", "--config", config)
        assert restored.exit_code == 0, restored.stderr
        assert f"{ALICE}: login restored, with 1 app password\n" in restored.stdout
        again = invoke("restore", backups, ALICE, "--login", "--config", config)
        assert again.stderr.startswith(f"{ALICE}: the login that is there stays")
        restored = invoke("restore", backups, "--server", "--config", config)
        assert restored.stdout == "1 annotation of the server restored\n0 known recipients restored\n"
        alice = log_in(server, ALICE, secret)
        assert b"Our server" in annotation(alice)
        alice.logout()
        bob = log_in(server, BOB)
        assert any(b"Shared" in (line or b"") for line in bob.list()[1])  # type: ignore[operator]
        bob.logout()

    # And a copy of the whole backup is a data directory.
    copy = AccountDatabase(backup / "accounts.sqlite3")
    assert copy.app_password(ALICE, digest(secret) or "") is not None
    copy.close()
    assert b"Our server" in (backup / "server-attributes").read_bytes()


def test_a_file_that_nobody_knows_is_noticed(tmp_path: Path) -> None:
    data, backups = tmp_path / "data", tmp_path / "backups"
    for directory in (data / "mail", backups):
        directory.mkdir(parents=True)
    (data / "new.sqlite3").touch()
    (data / "lost+found").mkdir()
    done = invoke("backup", backups, "--data", data)
    assert done.exit_code == 0
    assert done.stderr == f"{data}/new.sqlite3: not mailstack's, not in the backup\n"
