"""Backup and restore of a server that runs: what a client sees afterwards is what it saw before."""

from __future__ import annotations

import hashlib
import imaplib
import json
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import PROGRAM, command, environment, invoke
from server_process import REPOSITORY, Server, send_message

USER = "alice@example.org"
FOLDER = '"Entw&APw-rfe/&ZeVnLIqe-"'
"""Entwürfe/日本語."""
DATE = '"17-Jul-1996 02:44:25 -0700"'
ODD = {
    "nothing": b"\r\n",
    "eight bits": b"Subject: \xff\xfe\r\n\r\n\x80\x81 \xe2\x82\xac",
    "no line end": b"Subject: x\r\n\r\nends here",
    "dots": b"Subject: x\r\n\r\n.\r\n..\r\n",
    "long": b"Subject: x\r\n\r\n" + b"y" * 200_000 + b"\r\n",
}

State = dict[str, tuple[str, list[tuple[str, ...]]]]
"""Mailbox → UIDVALIDITY, and of each message UID, flags, internal date, and a digest of its octets."""


class Client:
    """An IMAP client that looks at everything."""

    def __init__(self, server: Server, user: str = USER) -> None:
        self.imap = imaplib.IMAP4(server.host("imap"), server.port("imap"))
        self.imap.login(user, "x")

    def do(self, name: str, *arguments: str) -> list[bytes]:
        kind, found = getattr(self.imap, name)(*arguments)
        assert kind == "OK", found
        return [item for item in found if item is not None]

    def messages(self, mailbox: str) -> tuple[str, list[tuple[str, ...]]]:
        self.do("select", mailbox, True)  # type: ignore[arg-type]
        validity = self.imap.response("UIDVALIDITY")[1][0].decode()
        found = []
        for item in self.do("uid", "FETCH", "1:*", "(FLAGS INTERNALDATE BODY.PEEK[])"):
            if isinstance(item, tuple):
                head = item[0].decode()
                uid = re.search(r"UID (\d+)", head)
                flags = re.search(r"FLAGS \(([^)]*)\)", head)
                date = re.search(r'INTERNALDATE "([^"]*)"', head)
                assert uid and flags and date, head
                kept = " ".join(sorted(flags[1].replace("\\Recent", "").split()))
                found.append((uid[1], kept, date[1], hashlib.sha256(item[1]).hexdigest()))
        return validity, found

    def state(self) -> State:
        names = [line.decode().rpartition(' "/" ')[2] for line in self.do("list")]
        return {name.strip('"'): self.messages(name) for name in names}

    def subscribed(self) -> list[str]:
        return sorted(line.decode() for line in self.do("lsub"))

    def remove_all(self, mailbox: str) -> None:
        self.do("select", mailbox)
        self.do("uid", "STORE", "1:*", "+FLAGS.SILENT", "(\\Deleted)")
        self.do("expunge")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self.imap.logout()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("backup")) as server:
        with Client(server) as client:
            client.do("create", FOLDER)
            client.do("subscribe", FOLDER)
            client.do("unsubscribe", "Junk")
            client.do("create", "Empty")
            for number, octets in enumerate(ODD.values()):
                keyword = f"$Label{number}"
                client.do("append", FOLDER, f"(\\Seen {keyword})", DATE, octets)  # type: ignore[arg-type]
                client.do("append", "INBOX", "(\\Flagged)", DATE, octets)  # type: ignore[arg-type]
            client.do("select", FOLDER)
            client.do("uid", "STORE", "2", "+FLAGS", "(\\Deleted)")
            client.do("expunge")
        (server.data / "mail" / USER / "new" / "1700000000.M1P1.other").write_bytes(b"Subject: LF\n\nlines\n")
        with Client(server) as client:
            client.messages("INBOX")
        yield server


@pytest.fixture
def saved(running: Server, tmp_path: Path) -> Path:
    """A backup of the server as it is."""
    ended = invoke("backup", str(tmp_path), "--data", str(running.data))
    assert (ended.exit_code, ended.stderr) == (0, "")
    return Path(ended.stdout.partition(":")[0])


def test_what_was_lost_comes_back_as_it_was(running: Server, tmp_path: Path) -> None:
    data, enough = str(running.data), threading.Event()

    def deliver() -> None:
        while not enough.is_set():
            send_message(running, USER, b"Subject: meanwhile\r\n\r\nx\r\n")

    with Client(running) as client:
        before, subscribed = client.state(), client.subscribed()
        delivering = threading.Thread(target=deliver)
        delivering.start()
        try:
            ended = command("backup", str(tmp_path), "--verify", "--data", data)
        finally:
            enough.set()
            delivering.join()
        assert (ended.status, ended.err) == (0, "")
        client.do("delete", FOLDER)
        client.do("unsubscribe", FOLDER)
        client.remove_all("INBOX")
        client.do("delete", "Empty")

    restored = invoke("restore", str(tmp_path), USER, "--data", data)
    assert restored.exit_code == 0, restored.stderr
    assert f"{USER} Entwürfe/日本語: 4 messages restored with the UIDs that they had" in restored.stdout
    with Client(running) as client:
        after = client.state()
        assert client.subscribed() == subscribed
        assert after.keys() == before.keys()
        name = FOLDER.strip('"')
        assert after[name] == before[name]
        # INBOX was emptied: its UIDs were used, and must not come back.
        assert after["INBOX"][0] == before["INBOX"][0]
        highest = max(int(uid) for uid, *_ in before["INBOX"][1])
        assert min(int(uid) for uid, *_ in after["INBOX"][1]) > highest
        seen = [rest for _, *rest in after["INBOX"][1]]
        assert [rest for rest in seen if rest in [before_rest for _, *before_rest in before["INBOX"][1]]] == [
            rest for _, *rest in before["INBOX"][1]
        ]
        again = invoke("restore", str(tmp_path), USER, "--data", data)
        assert "0 messages restored" in again.stdout and " 4 messages" not in again.stdout
        assert client.state() == after
        # The UIDs between are not given to anybody else.
        client.do("append", FOLDER, "", DATE, b"x\r\n")  # type: ignore[arg-type]
        assert int(client.messages(FOLDER)[1][-1][0]) > 1000


def test_an_account_that_is_gone_is_the_same_again(running: Server, saved: Path) -> None:
    data = str(running.data)
    with Client(running) as client:
        before, subscribed = client.state(), client.subscribed()
    ended = invoke("restore", str(saved), USER, "--into", "other@example.org", "--data", data)
    assert ended.exit_code == 0, ended.stderr
    with Client(running, "other@example.org") as client:
        assert client.state() == before
        assert client.subscribed() == subscribed
    shutil.rmtree(running.data / "mail" / "other@example.org")


def test_one_mailbox_alone(running: Server, saved: Path) -> None:
    words = ("restore", str(saved), USER, "--into", "one@example.org", "--data", str(running.data))
    ended = invoke(*words, "--mailbox", "Entwürfe/日本語")
    assert ended.exit_code == 0, ended.stderr
    with Client(running, "one@example.org") as client:
        assert [name for name, (_, found) in client.state().items() if found] == [FOLDER.strip('"')]
    ended = invoke(*words, "--mailbox", "Nowhere")
    assert ended.exit_code == 1
    assert "the backup has no mailbox Nowhere; it has INBOX" in ended.stderr
    shutil.rmtree(running.data / "mail" / "one@example.org")


def test_the_second_backup_is_links(running: Server, saved: Path) -> None:
    ended = invoke("backup", str(saved.parent), "--data", str(running.data))
    assert "linked, 0 copied" in ended.stdout
    second = Path(ended.stdout.partition(":")[0])
    name = next(iter(os.listdir(saved / "mail" / USER / "cur")))
    places = [path / "mail" / USER / "cur" / name for path in (saved, second)]
    assert places[0].stat().st_ino == places[1].stat().st_ino
    listed = invoke("backup", "list", saved.parent)
    assert [line.partition("  ")[0] for line in listed.stdout.splitlines()] == [str(saved), str(second)]
    assert [found["complete"] for found in json.loads(invoke("backup", "list", saved.parent, "--json").stdout)] == [
        True, True,
    ]  # fmt: skip
    kept = invoke("backup", str(saved.parent), "--keep", "1", "--data", str(running.data))
    assert f"removed {saved}" in kept.stdout and f"removed {second}" in kept.stdout
    assert not saved.exists() and len(invoke("backup", "list", saved.parent).stdout.splitlines()) == 1


def test_a_backup_can_be_served(running: Server, saved: Path, tmp_path: Path) -> None:
    """It is a data directory itself: who has lost everything copies it back."""
    with Client(running) as client:
        before = client.state()
    directory = tmp_path / "second"
    directory.mkdir()
    shutil.copytree(saved, directory / "data")
    with Server(directory) as server, Client(server) as client:
        assert client.state() == before


def test_damage_is_found(running: Server, saved: Path) -> None:
    assert invoke("backup", "verify", saved).exit_code == 0
    directory = saved / "mail" / USER / "cur"
    damaged, lost = [name for name in sorted(os.listdir(directory)) if ",S=" in name][:2]
    octets = (directory / damaged).read_bytes()
    (directory / damaged).unlink()  # it is the server's own file
    (directory / damaged).write_bytes(octets[:-1])
    (directory / lost).unlink()
    result = invoke("backup", "verify", saved.parent)
    assert result.exit_code == 1
    assert f"{damaged}: " in result.stdout and "not as in its name" in result.stdout
    assert "dovecot-uidlist: no message for UID" in result.stdout


def test_changed_octets_are_found_by_their_checksum(running: Server, tmp_path: Path) -> None:
    made = Path(invoke("backup", str(tmp_path), USER, "--verify", "--data", str(running.data)).stdout.partition(":")[0])
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=made, check=True)
    path = max((made / "mail" / USER / "cur").iterdir(), key=lambda path: path.stat().st_size)
    octets = bytearray(path.read_bytes())
    octets[-5] ^= 1
    path.unlink()
    path.write_bytes(octets)
    result = invoke("backup", "verify", made)
    assert (result.exit_code, "not the octets that were copied" in result.stdout) == (1, True)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("backup {tmp}/none --data {data}", "is no directory: make it first"),
        ("backup {tmp} nobody@example.org --data {data}", "there is no account nobody@example.org"),
        ("backup {data}/mail/x --data {data}", "is inside of what is to be backed up"),
        ("backup {tmp} --data {tmp}/none", "there is no data directory"),
        ("backup list {tmp}/none", "No such file or directory"),
        ("backup verify {tmp}", "is no complete backup, and has none in it"),
        ("restore {tmp} alice@example.org --data {data}", "is no complete backup, and has none in it"),
        ("restore {tmp}/none alice@example.org --data {data}", "No such file or directory"),
        ("restore {half} alice@example.org --data {data}", "is no complete backup"),
    ],
)
def test_what_cannot_be_done_is_one_line(running: Server, tmp_path: Path, words: str, says: str) -> None:
    half = tmp_path / "20200101T000000Z"
    (half / "mail").mkdir(parents=True)
    places = {"tmp": tmp_path, "data": running.data, "half": half}
    ended = invoke(*(word.format(**places) for word in words.split()))
    assert ended.exit_code == 1
    assert says in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_an_account_that_the_backup_lacks(running: Server, saved: Path) -> None:
    result = invoke("restore", saved, "bob@example.org", "--data", running.data)
    assert (result.exit_code, result.stderr) == (1, f"Error: {saved} has no account bob@example.org\n")


def test_ctrl_c_leaves_no_backup_and_the_next_run_cleans(running: Server, tmp_path: Path) -> None:
    lock = running.data / "mail" / USER / "dovecot-uidlist.lock"
    lock.write_text(f"{os.getpid()}:{os.uname().nodename}")  # it waits here
    process = subprocess.Popen(
        [*PROGRAM, "backup", str(tmp_path), "--data", str(running.data)],
        cwd=REPOSITORY, env=environment(), stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        while not list(tmp_path.glob("*/mail/*")):
            assert process.poll() is None
        concurrent = invoke("backup", tmp_path, "--data", running.data)
        assert f"another backup into {tmp_path} is under way" in concurrent.stderr
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    finally:
        process.kill()
        process.communicate()
        lock.unlink()
    (left,) = tmp_path.glob("2*")
    assert not (left / "manifest.json").exists()
    assert "incomplete" in invoke("backup", "list", tmp_path).stdout
    ended = invoke("backup", str(tmp_path), "--data", str(running.data))
    assert "1 interrupted run cleaned" in ended.stdout
    assert "incomplete" not in invoke("backup", "list", tmp_path).stdout
    assert invoke("backup", "verify", tmp_path).exit_code == 0
