"""`mailstack import` and `mailstack export`: whose mail it is, passwords, and who owns what is written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from command_line import command, invoke, on_terminal
from transferred import fill, octets_of

ONE = b"Subject: one\n\nx\n"


def test_an_account_of_a_configuration(config: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.eml"
    path.write_bytes(ONE)
    result = invoke("import", "carol@example.org", path, "--config", config)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "there is no account carol@example.org" in result.stderr
    assert invoke("import", "Alice@Example.org", path, "--config", config).exit_code == 0
    assert octets_of(config.parent / "data", account="alice@example.org") == [ONE.replace(b"\n", b"\r\n")]


def test_a_quota_ends_it_and_more_room_continues_it(config: Path, tmp_path: Path) -> None:
    (tmp_path / "x.mbox").write_bytes(
        b"".join(b"From a Mon Jan  1 10:00:00 2024\nSubject: %d\n\nx\n\n" % number for number in range(250))
    )
    invoke("account", "quota", "alice@example.org", "--messages", "120", "--config", config)
    words = ("import", "alice@example.org", tmp_path / "x.mbox", "--config", config)
    result = invoke(*words)
    assert result.exit_code == 1
    assert "Error: INBOX: quota exceeded" in result.stderr
    assert "INBOX: 100 imported" in result.stdout
    invoke("account", "quota", "alice@example.org", "--messages", "1000", "--config", config)
    assert "INBOX: 150 imported, 100 there already" in invoke(*words).stdout
    assert len(octets_of(config.parent / "data", account="alice@example.org")) == 250


@pytest.mark.skipif(os.getuid() != 0, reason="only root becomes another account")
def test_root_becomes_the_owner_of_the_data(place: Path) -> None:
    (place / "data" / "mail").mkdir(parents=True)
    (place / "a.eml").write_bytes(ONE)
    for path in (place / "data", place / "data" / "mail"):
        os.chown(path, 65534, 65534)
    ended = command("import", "alice", str(place / "a.eml"), "--data", str(place / "data"))
    # An interpreter in root's own directory, which the other account may not enter, is told before anything is done.
    assert ended.status == 0 or "may not read the program itself" in ended.err, ended.err
    assert {path.stat().st_uid for path in (place / "data").rglob("*")} == {65534}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["import", "alice", "imaps://alice:secret@mail.example.net"],
            "can be read by everybody",
        ),
        (["import", "alice", "imaps://mail.example.net"], "expected imaps://user@host"),
        (
            ["import", "alice", "imaps://alice@mail.example.net"],
            "no terminal to ask for the password",
        ),
        (
            ["export", "alice", "imaps://alice:secret@mail.example.net"],
            "can be read by everybody",
        ),
        (["export", "alice", "-", "--json"], "an archive cannot go there"),
    ],
)
def test_what_is_refused_before_anything_is_done(words: list[str], said: str, tmp_path: Path) -> None:
    (tmp_path / "mail").mkdir()
    result = invoke(*words, "--data", tmp_path)
    assert result.exit_code in (1, 2)
    assert said in result.stderr
    assert "secret@" not in result.stderr
    assert list((tmp_path / "mail").iterdir()) == []


def test_progress_on_a_terminal(tmp_path: Path) -> None:
    fill(tmp_path / "data")
    words = ("export", "alice", str(tmp_path / "out"), "--data", str(tmp_path / "data"))
    status, shown = on_terminal(*words, answer=lambda shown, terminal: True)
    assert status == 0
    assert b"\r1 messages, " in shown or b" %, " in shown
    assert shown.endswith(b"25 messages exported, 0.3 MB in " + shown.rpartition(b" in ")[2])
