"""`mailstack store` beside a server that runs, and for accounts whose files are another's."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
from command_line import command, invoke
from production import NOBODY, NOT_ROOT, given_to_nobody
from server_process import Dialogue, Server, send_message

USER = "alice@example.org"
MANY = 120
"""Messages of a mailbox that is worth deriving."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("store")) as server:
        for number in range(4):
            send_message(server, USER, b"Subject: %d\r\n\r\nx\r\n" % number)
        yield server


def session(server: Server) -> Dialogue:
    client = server.connect("imap")
    client.send(b"a LOGIN %s x\r\nb SELECT INBOX\r\n" % USER.encode())
    assert client.until(b"b ")[-1].startswith(b"b OK")
    return client


def uids(client: Dialogue) -> list[int]:
    client.send(b"u UID FETCH 1:* (UID)\r\n")
    lines = client.until(b"u ")
    assert lines[-1].startswith(b"u OK"), lines
    return [int(found[1]) for line in lines if (found := re.search(rb"UID (\d+)", line))]


def test_nothing_is_wrong_beside_a_running_server(running: Server) -> None:
    send_message(running, USER, b"Subject: new\r\n\r\nx\r\n")
    with session(running):
        ended = invoke("store", "check", "--all", "--deep", "--data", str(running.data))
    assert (ended.exit_code, ended.stdout, ended.stderr) == (0, "1 account, nothing wrong\n", "")


def test_a_repair_is_seen_by_who_has_the_mailbox_open(running: Server) -> None:
    account, where = running.data / "mail" / USER, ("--data", str(running.data))
    with session(running) as client:
        before = uids(client)
        path = sorted((account / "cur").iterdir())[0]
        octets = path.read_bytes()
        path.unlink()
        path.write_bytes(octets[:-1])  # by a program that has no respect for it
        assert invoke("store", "check", USER, *where).exit_code == 1
        ended = invoke("store", "repair", USER, *where)
        assert ended.exit_code == 0, ended.stdout
        assert "size-wrong: cur/" in ended.stdout and ended.stdout.endswith("nothing wrong\n")
        client.send(b"n NOOP\r\n")
        client.until(b"n OK")
        after = uids(client)
        assert after[:-1] == before[1:] and after[-1] > before[-1]
    assert invoke("store", "check", "--all", "--deep", *where).exit_code == 0


def test_what_fetch_and_search_keep_is_derived_ahead(running: Server) -> None:
    account = running.data / "mail" / "many@example.org"
    for name in ("tmp", "new", "cur"):
        (account / name).mkdir(parents=True)
    for number in range(MANY):
        (account / "new" / f"{1_700_000_000 + number}.M1P1.other").write_bytes(b"Subject: %d\n\nx\n" % number)
    ended = invoke("store", "index", "many@example.org", "--derive", "--data", str(running.data))
    assert (ended.exit_code, ended.stderr) == (0, "")
    assert f"many@example.org INBOX: {MANY} messages, {MANY} derived\n" in ended.stdout
    database = apsw.Connection(str(account / "mailstack-index"), flags=apsw.SQLITE_OPEN_READONLY)
    kept = dict(database.execute("SELECT item, count(*) FROM derived GROUP BY item").fetchall())
    database.close()
    from mailstack.imap import sort_keys, summary
    from mailstack.imap.fetch import plan
    from mailstack.imap.wire.values import FetchAtt

    # The names under which they look for them, whatever these are.
    names = [name for name, _ in plan([FetchAtt.BODYSTRUCTURE, FetchAtt.ENVELOPE]).kept]
    assert kept == dict.fromkeys([*names, summary.ITEM, sort_keys.ITEM], MANY)
    assert invoke("store", "index", "many@example.org", "--drop", "--data", running.data).exit_code == 0
    assert not (account / "mailstack-index").exists()
    shutil.rmtree(account)


@pytest.mark.skipif(not NOT_ROOT, reason="only root can give files to others")
def test_root_works_as_the_owner_of_the_mail(place: Path) -> None:
    account, where = place / "data" / "mail" / USER, ("--data", str(place / "data"))
    for name in ("tmp", "new", "cur"):
        (account / name).mkdir(parents=True)
    for number in (1, 2):
        (account / "cur" / f"{number}.M1P1.other:2,").write_bytes(b"x\r\n")
    given_to_nobody(place)
    foreign = account / "cur" / "1.M1P1.other:2,"
    os.chown(foreign, 0, 0)
    foreign.chmod(0o600)
    found = command("store", "check", USER, *where)
    assert found.status == 1 and "unreadable: cur/1.M1P1.other:2,: mode 600, owner 0" in found.out
    mended = command("store", "repair", USER, *where)
    assert mended.status == 0, mended.out
    assert command("store", "index", USER, *where).status == 0
    assert command("backup", str(place), *where).status == 0
    assert command("restore", str(place), USER, "--into", "b@example.org", *where).status == 0
    mail = [account.parent, *account.parent.rglob("*")]
    assert len(mail) > 20 and {path.owner() for path in mail} == {NOBODY}


def test_only_what_belongs_to_the_user_can_be_mended_by_the_user(place: Path) -> None:
    account, where = place / "data" / "mail" / USER, ("--data", str(place / "data"))
    for name in ("tmp", "new", "cur"):
        (account / name).mkdir(parents=True)
    own = account / "cur" / "1.M1P1.other:2,"
    own.write_bytes(b"x\r\n")
    given_to_nobody(place)
    own.chmod(0)
    words = ("store", "repair", USER, *where)
    prefix = [word for word in NOT_ROOT if "dac_read_search" not in word]
    ended = command(*words, prefix=prefix) if not NOT_ROOT else command(*words)
    assert ended.status == 0, ended.out
    assert own.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        ("store check --data {data}", 2, "name accounts, or say --all"),
        ("store check alice@example.org --all --data {data}", 2, "name accounts, or say --all"),
        ("store repair nobody@example.org --data {data}", 1, "there is no account nobody@example.org"),
        ("store index --all --derive --drop --data {data}", 2, "exclude each other"),
        ("store check --all --data {data}/none", 1, "there is no data directory"),
        ("store check --all --data {data} --config x.toml", 2, "--config and --data exclude each other"),
        ("store check --all --config {data}/none.toml", 1, "none.toml"),
    ],
)
def test_wrong_usage_is_told(running: Server, words: str, status: int, says: str) -> None:
    ended = invoke(*(word.format(data=running.data) for word in words.split()))
    assert (ended.exit_code, says in ended.stderr) == (status, True), ended.stderr


def test_a_login_without_mail_is_nothing_wrong(config: Path) -> None:
    (config.parent / "data" / "mail").mkdir()
    ended = invoke("store", "check", "bob@example.org", "--config", config)
    assert (ended.exit_code, ended.stderr) == (0, "bob@example.org: no mail yet\n")
