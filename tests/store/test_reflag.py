"""STORE of many messages goes a quicker way, and comes to the same."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from mailstack.ports import FIRST_KEYWORD, Flag, FlagAction, Flags
from mailstack.store.maildir import change, layout
from mailstack.store.maildir.folder import FolderFiles
from mailstack.store.maildir.sync import sync
from mailstack.testing.log import RecordingLog

COUNT = 40
LETTERS = ("", "S", "F", "FS", "a", "Sb", "PS")
"""`P` is of another program, and stays."""


@pytest.fixture(params=["quickly", "one by one"])
def files(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderFiles:
    monkeypatch.setattr(change, "MANY", 1 if request.param == "quickly" else COUNT + 1)
    place = layout.folder(tmp_path, "INBOX")
    layout.make(place)
    (tmp_path / "dovecot-keywords").write_text("0 $Work\n1 $Later\n")
    for number in range(COUNT):
        (tmp_path / "cur" / f"1700000000.M{number:06}.x:2,{LETTERS[number % len(LETTERS)]}").write_bytes(b"x")
    found = FolderFiles(tmp_path, place, RecordingLog())
    sync(found)
    return found


def letters(files: FolderFiles) -> list[str]:
    return [name.partition(":2,")[2] for name in sorted(os.listdir(files.cur))]


def agrees(files: FolderFiles) -> bool:
    return sorted(files.rows.all_names()) == sorted(os.listdir(os.fsencode(files.cur)))


@pytest.mark.parametrize("action", FlagAction)
@pytest.mark.parametrize("keyword", [frozenset[str](), frozenset({"$later"})], ids=["flag", "keyword"])
def test_each_file_gets_its_name(files: FolderFiles, action: FlagAction, keyword: frozenset[str]) -> None:
    flags = Flags(Flag.SEEN, keyword)
    operand = {"S"} | ({"b"} if keyword else set())
    done = change.store_flags(files, list(files.rows.uids), action, flags)
    before = [set(LETTERS[number % len(LETTERS)]) for number in range(COUNT)]
    after = [
        each | operand if action is FlagAction.ADD
        else each - operand if action is FlagAction.REMOVE
        else operand | (each & {"P"})
        for each in before
    ]  # fmt: skip
    assert letters(files) == ["".join(sorted(each)) for each in after]
    assert sorted(uid for uid, _ in done.changed) == [
        uid for uid, (one, other) in enumerate(zip(before, after, strict=True), 1) if one != other
    ]
    assert all(files.rows.flags[files.rows.row(uid)] == value for uid, value in done.changed)
    assert done.error is None and not done.failed and not done.others and agrees(files)


def test_messages_that_others_renamed_or_removed(files: FolderFiles) -> None:
    names = sorted(os.listdir(files.cur))
    os.rename(files.cur + names[0], files.cur + names[0] + "T")
    os.rename(files.cur + names[7], files.cur + names[7] + "S")  # what is wanted, done already
    os.unlink(files.cur + names[14])
    done = change.store_flags(files, [*files.rows.uids, 4711], FlagAction.ADD, Flags(Flag.SEEN))
    found = letters(files)
    assert found[0] == "ST" and found[7] == "S" and len(found) == COUNT - 1
    assert all("S" in each for each in found)
    changed = dict(done.changed)
    assert changed[1] == int(Flag.SEEN | Flag.DELETED) and changed[8] == int(Flag.SEEN) and 15 not in changed
    assert {1, 8} <= {*done.others, *changed} and done.error is None


def test_an_error_on_the_way_is_told_with_what_was_done(files: FolderFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = os.rename, [0]

    def failing(*arguments: Any, **named: Any) -> None:
        calls[0] += 1
        if calls[0] == 5:
            raise OSError(errno.EIO, "broken")
        real(*arguments, **named)

    monkeypatch.setattr(os, "rename", failing)
    done = change.store_flags(files, list(files.rows.uids), FlagAction.ADD, Flags(Flag.FLAGGED))
    assert isinstance(done.error, OSError) and len(done.changed) == 4
    assert agrees(files)


def test_a_flag_that_no_name_can_say_is_none(files: FolderFiles) -> None:
    """Keywords have the letters a to z."""
    files.keywords = [f"k{number}" for number in range(27)]
    (files.path / "dovecot-keywords").write_text("".join(f"{number} k{number}\n" for number in range(26)))
    done = change.store_flags(files, list(files.rows.uids), FlagAction.ADD, Flags(Flag(0), frozenset({"k25"})))
    assert len(done.changed) == COUNT
    assert all(each.endswith("z") for each in letters(files)) and agrees(files)
    assert all(value >> FIRST_KEYWORD & 1 << 25 for _, value in done.changed)


def test_who_listens_is_told_beforehand(files: FolderFiles) -> None:
    expected: list[tuple[str, str, bool]] = []

    class Listening:
        listens = True

        def expect(self, *what: Any) -> None:
            expected.append(what)

        def unexpect(self, *what: Any) -> None:
            expected.remove(what)

    files.watch = Listening()
    done = change.store_flags(files, list(files.rows.uids), FlagAction.ADD, Flags(Flag.SEEN))
    assert len(expected) == 2 * len(done.changed) > 0
