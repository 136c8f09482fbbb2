"""What crashes leave in a mailbox, and that the first look at it removes it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from promises import ALICE, Client
from transcripts import result

from mailstack.store.maildir import sweep
from mailstack.store.maildir.sweep import TMP_AGE


@pytest.fixture
def client(tmp_path: Path) -> Client:
    made = Client(tmp_path)
    assert made.account
    return made


@pytest.fixture
def path(client: Client) -> Path:
    return client.store.path_of(ALICE)


@pytest.fixture
def aged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Modification times are believed: nothing but waiting gives a file another time of its last change."""
    monkeypatch.setattr(sweep, "last_touched", lambda status: status.st_mtime)


def left(place: Path, *, age: float) -> Path:
    place.write_bytes(b"half a mess")
    os.utime(place, (time.time() - age,) * 2)
    return place


def events(client: Client) -> list[Any]:
    return [(line.what, line.fields.get("removed")) for line in client.log.lines]


@pytest.mark.usefixtures("aged")
def test_old_files_go_and_young_ones_stay(client: Client, path: Path) -> None:
    old = [
        left(path / "tmp" / "1.old", age=TMP_AGE + 60),
        left(path / "dovecot-uidlist.7.0011aabb.tmp", age=TMP_AGE + 60),
    ]
    young = [left(path / "tmp" / "2.young", age=TMP_AGE - 60), left(path / "subscriptions.7.0011aabb.tmp", age=60)]
    others = [left(path / "notes.tmp", age=TMP_AGE * 9), left(path / "new" / "3.message", age=TMP_AGE * 9)]
    client.open()
    assert not any(place.exists() for place in old)
    assert all(place.exists() for place in [*young, others[0]])
    assert list(client.open().uids) == [1], "the message was taken in"
    assert events(client) == [("mailbox swept", 2)]


@pytest.mark.usefixtures("aged")
def test_a_mailbox_is_swept_once_a_process(client: Client, path: Path) -> None:
    client.open()
    old = left(path / "tmp" / "1.old", age=TMP_AGE + 60)
    client.deliver()
    client.open()
    assert old.exists()
    Client(path.parents[1]).open()
    assert not old.exists()


def test_a_message_on_its_way_in_stays_whatever_its_internal_date(client: Client, path: Path) -> None:
    coming = left(path / "tmp" / "1.coming", age=TMP_AGE * 100)
    client.open()
    assert coming.exists()


def test_what_is_left_of_a_deleted_mailbox_goes(client: Client, path: Path) -> None:
    aside = path / "tmp" / "deleted.1.00ff"
    (aside / "cur").mkdir(parents=True)
    left(aside / "cur" / "1.message:2,", age=1)
    ours = path / "tmp" / "directory"
    ours.mkdir()
    client.open()
    assert not aside.exists()
    assert ours.exists()


def test_a_directory_that_cannot_be_swept_costs_a_line_of_the_log(
    client: Client, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Any = os.scandir

    def scandir(directory: Any) -> Any:
        if directory == path / "tmp":
            raise PermissionError("not yours")
        return real(directory)

    monkeypatch.setattr(os, "scandir", scandir)
    client.deliver()
    assert list(client.open().uids) == [1]
    assert [what for what, _ in events(client)] == ["mailbox not swept"]


def test_a_deletion_that_cannot_be_ended_is_one_all_the_same(
    client: Client, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result(client.account.create("Away"))
    client.append("Away")

    def refuse(*_: object, **options: object) -> None:
        raise OSError("busy")

    with monkeypatch.context() as patch:
        patch.setattr(os, "rmdir", refuse)
        result(client.account.delete("Away"))
    assert "Away" not in [entry.name for entry in result(client.account.mailboxes())]
    assert len(list((path / "tmp").iterdir())) == 1
    Client(path.parents[1]).open()
    assert not list((path / "tmp").iterdir())
