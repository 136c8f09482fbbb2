"""What others do between two steps of one look, each made to happen at its worst moment."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mailstack.ports import FIRST_KEYWORD, Flag, FlagAction, Flags
from mailstack.store.maildir import change, layout
from mailstack.store.maildir import sync as sync_module
from mailstack.store.maildir.differences import Differences, Hints
from mailstack.store.maildir.folder import FolderFiles
from mailstack.store.maildir.sync import sync
from mailstack.testing.log import RecordingLog


@pytest.fixture
def files(tmp_path: Path) -> FolderFiles:
    place = layout.Folder("INBOX", tmp_path)
    layout.make(place)
    found = FolderFiles(tmp_path, place, RecordingLog())
    sync(found)
    return found


def put(files: FolderFiles, name: str) -> Path:
    path = files.path / "cur" / name
    path.write_bytes(b"Subject: x\r\n\r\n")
    return path


def others_give(files: FolderFiles, *bases: str) -> None:
    """Another process gives UIDs."""
    other = FolderFiles(files.account, files.folder, RecordingLog())
    with other.lock():
        other.uidlist.load()
        other.uidlist.append(list(bases))


def once_after(monkeypatch: pytest.MonkeyPatch, name: str, act: Callable[[], object]) -> None:
    """`act` the first time that this step of a look has ended."""
    real = getattr(sync_module._Sync, name)
    done: list[bool] = []

    def step(self: object, *arguments: object) -> object:
        result = real(self, *arguments)
        if not done:
            done.append(True)
            act()
        return result

    monkeypatch.setattr(sync_module._Sync, name, step)


def test_a_message_that_came_and_went_within_one_look(files: FolderFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    others_give(files, "first", "brief")
    put(files, "first:2,")
    brief = put(files, "brief:2,")
    once_after(monkeypatch, "_insert", brief.unlink)
    found = sync(files, Hints(cur={"brief:2,": True}))
    assert list(found.added) == list(files.rows.uids) == [1]
    assert len(found.added_flags) == 1


def test_messages_found_later_may_have_lower_uids(files: FolderFiles) -> None:
    others_give(files, "first")
    put(files, "first:2,")
    put(files, "second:2,S")
    found = sync(files, Hints(cur={"second:2,S": True}))
    assert list(found.added) == [1, 2]
    assert list(found.added_flags) == [0, Flag.SEEN]


def test_differences_stay_in_order() -> None:
    found = Differences()
    found.add([5, 9], [50, 90])
    found.add([], [])
    found.add([2, 7], [20, 70])
    assert (list(found.added), list(found.added_flags)) == ([2, 5, 7, 9], [20, 50, 70, 90])
    found.vanish([5, 100])
    assert (list(found.added), list(found.added_flags), found.vanished) == ([2, 7, 9], [20, 70, 90], [5, 100])


def test_hints_that_say_only_half_do_not_hide_that_a_message_is_gone(files: FolderFiles) -> None:
    path = put(files, "a:2,")
    sync(files, force=True)
    path.unlink()
    sync(files, Hints(cur={"a:2,": False, "a:2,S": True}))  # renamed, and removed before we looked
    found = sync(files, Hints(cur={"a:2,S": False}))
    assert found.vanished == [1]
    assert len(files.rows) == 0


def test_a_keyword_is_named_after_its_letter_was_used(files: FolderFiles) -> None:
    put(files, "a:2,a")
    sync(files, force=True)
    assert files.keywords == []
    (files.path / "dovecot-keywords").write_text("0 Named\n")
    assert files.changed()
    assert files.uidlist_changed()
    sync(files, Hints())
    assert files.keywords == ["Named"]
    assert not files.uidlist_changed()


@pytest.mark.parametrize(
    ("others", "told", "by_others"),
    [
        ("a:2,FS", [(1, Flag.SEEN | Flag.FLAGGED)], [1]),
        ("a:2,F", [(1, Flag.SEEN | Flag.FLAGGED)], [1]),
        ("a:2,", [(1, Flag.SEEN)], []),
    ],
)
def test_flags_that_others_set_meanwhile_are_told(
    files: FolderFiles, others: str, told: list[tuple[int, int]], by_others: list[int]
) -> None:
    path = put(files, "a:2,")
    sync(files, force=True)
    path.rename(path.with_name(others))
    done = change.store_flags(files, [1], FlagAction.ADD, Flags(Flag.SEEN))
    assert done.changed == told
    assert done.others == by_others
    assert [name.partition(":")[0] for name in os.listdir(files.path / "cur")] == ["a"]


def test_a_lost_line_is_written_back_by_who_knows_the_message(files: FolderFiles) -> None:
    for name in ("a", "b", "c"):
        put(files, f"{name}:2,")
        sync(files, force=True)
    path = files.uidlist.path
    text = path.read_text()
    layout.replace_file(path, text.replace("2 :b", "\0\0\0\0").encode())
    found = sync(files, force=True)
    assert not found
    assert path.read_text().replace("N4", "N1") == text
    assert list(files.rows.uids) == [1, 2, 3]


def test_of_two_messages_that_had_one_uid_neither_keeps_it(files: FolderFiles) -> None:
    put(files, "a:2,")
    sync(files, force=True)
    put(files, "b:2,")
    with files.uidlist.path.open("a") as file:
        file.write("1 :b\n")
    found = sync(files, force=True)
    assert found.vanished == [1]
    assert list(found.added) == list(files.rows.uids) == [2, 3]


def test_keywords_beyond_those_that_have_names(files: FolderFiles) -> None:
    put(files, "a:2,az")
    found = sync(files, force=True)
    assert list(found.added_flags) == [1 << FIRST_KEYWORD | 1 << FIRST_KEYWORD + 25]


def test_mail_that_another_process_takes_in_at_the_same_moment_is_seen_by_this_look(
    files: FolderFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        (files.path / "new" / name).write_bytes(b"Subject: x\r\n\r\n")
    rename = os.rename
    raced: list[str] = []

    def beaten(source: str | Path, target: str | Path) -> None:
        rename(source, target)
        if "/new/" in str(source) and not raced:
            raced.append(str(source))
            raise FileNotFoundError(errno.ENOENT, "somebody was quicker", source)

    monkeypatch.setattr(os, "rename", beaten)
    found = sync(files, Hints(everything=True))
    assert raced
    assert list(found.added) == [1, 2]
    assert list(sync(files, force=True).added) == []
