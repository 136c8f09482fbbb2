"""Several processes give UIDs in one mailbox: each tells them in ascending order, whatever it hears of first."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mailstack.store.maildir import layout
from mailstack.store.maildir import sync as sync_module
from mailstack.store.maildir.differences import Hints
from mailstack.store.maildir.folder import FolderFiles
from mailstack.store.maildir.names import UniqueNames
from mailstack.store.maildir.sync import sync
from mailstack.testing.log import RecordingLog

DELIVERIES = 60


def process(account: Path) -> FolderFiles:
    """A mailbox as a process of its own has it open."""
    place = layout.Folder("INBOX", account)
    layout.make(place)
    files = FolderFiles(account, place, RecordingLog())
    sync(files)
    return files


@pytest.fixture
def ours(tmp_path: Path) -> FolderFiles:
    return process(tmp_path)


@pytest.fixture
def theirs(ours: FolderFiles) -> FolderFiles:
    return process(ours.account)


def deliver(files: FolderFiles, base: str) -> None:
    (files.path / "new" / base).write_bytes(b"Subject: x\r\n\r\n")


def before_step(monkeypatch: pytest.MonkeyPatch, name: str, number: int, act: Callable[[], object]) -> None:
    """`act` before this step of a look is done for the n-th time."""
    real = getattr(sync_module._Sync, name)
    calls: list[int] = []

    def step(self: object, *arguments: object) -> object:
        calls.append(1)
        if len(calls) == number:
            act()
        return real(self, *arguments)

    monkeypatch.setattr(sync_module._Sync, name, step)


@pytest.mark.parametrize("hints", [None, Hints(new={"second": True})])
@pytest.mark.parametrize("taken_in", [False, True])
def test_a_uid_that_others_gave_after_we_looked_is_told_before_ours(
    ours: FolderFiles, theirs: FolderFiles, monkeypatch: pytest.MonkeyPatch, hints: Hints | None, taken_in: bool
) -> None:
    deliver(ours, "second")

    def they_are_quicker() -> None:
        deliver(theirs, "first")
        with theirs.lock():
            theirs.uidlist.load()
            theirs.uidlist.append(["first"])
        if taken_in:
            theirs.take_in("first")

    before_step(monkeypatch, "_give_uids", 1, they_are_quicker)
    found = sync(ours, hints, force=hints is None)
    assert ours.rows.name_of(1) == "first:2,"
    assert ours.rows.name_of(2) == "second:2,"
    assert list(found.added) == [1, 2]
    assert not ours.unseen
    assert not sync(ours, force=True).added


def test_a_message_that_a_reading_of_the_directory_misses_is_told_in_its_place(
    ours: FolderFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    for base in ("first", "second"):
        (ours.path / "cur" / f"{base}:2,").write_bytes(b"Subject: x\r\n\r\n")
    with ours.lock():
        ours.uidlist.load()
        ours.uidlist.append(["first", "second"])
        ours.uidlist.stamp = (0, 0, 0)
        ours.uidlist.read = 0
    listdir, missed = os.listdir, list[bool]()

    def missing_one(path: str | Path) -> list[str]:
        listed = listdir(path)
        if "first:2," in listed and not missed:
            missed.append(True)
            listed.remove("first:2,")
        return listed

    monkeypatch.setattr(os, "listdir", missing_one)
    found = sync(ours, force=True)
    assert missed
    assert list(found.added) == [1, 2]


def test_a_message_that_comes_back_below_others_gets_another_uid(ours: FolderFiles, theirs: FolderFiles) -> None:
    deliver(ours, "first")
    assert list(sync(ours, force=True).added) == [1]
    deliver(ours, "second")
    assert list(sync(ours, force=True).added) == [2]
    assert list(sync(theirs, force=True).added) == [1, 2]
    place = ours.path / "cur" / "first:2,"
    place.rename(ours.path / "away")
    assert sync(ours, force=True).vanished == [1]
    with theirs.lock():  # who knows the message writes the file anew
        theirs.uidlist.write(theirs.rows.items())
    (ours.path / "away").rename(place)
    assert list(sync(ours, force=True).added) == [3]
    found = sync(theirs, force=True)
    assert (found.vanished, list(found.added)) == ([1], [3])
    assert ours.rows.name_of(3) == theirs.rows.name_of(3) == "first:2,"
    assert list(sync(process(ours.account), force=True).added) == []
    assert list(process(ours.account).rows.uids) == [2, 3]


def test_two_processes_at_once(ours: FolderFiles, theirs: FolderFiles) -> None:
    told: dict[int, list[int]] = {0: [], 1: []}
    errors: list[BaseException] = []

    def work(number: int, files: FolderFiles) -> None:
        names = UniqueNames()
        try:
            for _ in range(DELIVERIES):
                deliver(files, names.new())
                found = sync(files, force=True)
                if found.error is not None:
                    raise found.error
                told[number] += found.added
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=pair) for pair in enumerate((ours, theirs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors
    for number, files in enumerate((ours, theirs)):
        told[number] += sync(files, force=True).added
        assert told[number] == list(range(1, 2 * DELIVERIES + 1))
