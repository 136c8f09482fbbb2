"""Killed or interrupted at any moment, then run again: nothing is lost, nothing is there twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
from command_line import LIMIT, PROGRAM, environment
from server_process import POLL, REPOSITORY, Server
from transferred import exported, imported, octets_of

pytestmark = pytest.mark.processes
COUNT = 900


def source(path: Path) -> list[bytes]:
    """An mbox file of many messages, one of them twice."""
    bodies = [b"Subject: %d\n\n%s\n" % (number, os.urandom(40).hex().encode()) for number in range(COUNT - 1)]
    bodies.append(bodies[0])
    path.write_bytes(b"".join(b"From a Mon Jan  1 10:00:00 2024\n" + body + b"\n" for body in bodies))
    return [body.replace(b"\n", b"\r\n") for body in bodies]


def messages_in(path: Path) -> int:
    """Files that are there, in any state."""
    return sum(len(files) for where, _, files in os.walk(path) if os.path.basename(where) in ("cur", "INBOX"))


def stopped(words: list[str], place: Path, after: int, number: signal.Signals) -> int:
    """Start a command, and stop it when `place` has so many messages; its status."""
    process = subprocess.Popen(
        [*PROGRAM, *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=REPOSITORY,
        env=environment(),
    )
    while process.poll() is None and messages_in(place) < after:
        time.sleep(POLL)
    process.send_signal(number)
    return process.wait(LIMIT)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_import(number: signal.Signals, tmp_path: Path) -> None:
    expected = source(tmp_path / "x.mbox")
    data = tmp_path / "data"
    (data / "mail").mkdir(parents=True)
    words = ["import", "alice", str(tmp_path / "x.mbox"), "--data", str(data)]
    chance = random.Random(number)
    for _ in range(2 if number is signal.SIGKILL else 1):
        there = messages_in(data)
        status = stopped(words, data, there + chance.randrange(1, 250), number)
        assert status == (-signal.SIGKILL if number is signal.SIGKILL else 130)
    taken = messages_in(data)
    assert 0 < taken < COUNT
    imported(data, tmp_path / "x.mbox")
    assert Counter(octets_of(data)) == Counter(expected)
    assert "\n0 messages imported" in imported(data, tmp_path / "x.mbox")


def test_what_was_placed_but_not_noted_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mailstack.transfer.state import State

    expected = source(tmp_path / "x.mbox")
    done = State.done
    calls: list[int] = []

    def interrupted(self: State, place: int, messages: object) -> None:
        calls.append(place)
        if len(calls) == 3:
            raise KeyboardInterrupt
        done(self, place, messages)  # type: ignore[arg-type]

    monkeypatch.setattr(State, "done", interrupted)
    imported(tmp_path / "data", tmp_path / "x.mbox", status=1)
    monkeypatch.setattr(State, "done", done)
    assert len(octets_of(tmp_path / "data")) == 300
    assert f"{COUNT - 300} imported, 300 there already" in imported(tmp_path / "data", tmp_path / "x.mbox")
    assert Counter(octets_of(tmp_path / "data")) == Counter(expected)


@pytest.mark.parametrize("form", ["maildir", "mbox", "eml"])
def test_export(form: str, tmp_path: Path) -> None:
    expected = source(tmp_path / "x.mbox")
    data, out = tmp_path / "data", tmp_path / "out"
    imported(data, tmp_path / "x.mbox")
    words = [
        "export",
        "alice",
        str(out),
        "--format",
        form,
        "--mailbox",
        "INBOX",
        "--data",
        str(data),
    ]
    if form == "mbox":
        process = subprocess.Popen(
            [*PROGRAM, *words],
            cwd=REPOSITORY,
            env=environment(),
            stdout=subprocess.DEVNULL,
        )
        while not (out / "INBOX.mbox").exists() or (out / "INBOX.mbox").stat().st_size < 30_000:
            assert process.poll() is None
            time.sleep(POLL)
        process.kill()
        process.wait(LIMIT)
    else:
        stopped(words, out, 300, signal.SIGKILL)
    exported(data, out, "--format", form, "--mailbox", "INBOX")
    imported(tmp_path / "again", out)
    assert Counter(octets_of(tmp_path / "again")) == Counter(expected)


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    from mailstack.transfer.state import State

    source(tmp_path / "x.mbox")
    imported(tmp_path / "data", tmp_path / "x.mbox")
    state = State(tmp_path / "data" / "mail" / "alice@localhost")
    assert "another import or export works on" in imported(tmp_path / "data", tmp_path / "x.mbox", status=1)
    state.close()


def test_a_running_server_tells_an_idle_client(tmp_path: Path) -> None:
    source(tmp_path / "x.mbox")
    with Server(tmp_path) as server, server.connect("imap") as client:
        client.send(b"a LOGIN alice@localhost x\r\nb SELECT INBOX\r\nc IDLE\r\n")
        client.until(b"+ ")
        imported(server.data, tmp_path / "x.mbox")
        assert client.until(b"* %d EXISTS" % COUNT)
        client.send(b"DONE\r\nd UID FETCH %d (RFC822.SIZE)\r\n" % COUNT)
        assert any(b"* %d FETCH" % COUNT in line for line in client.until(b"d OK"))
