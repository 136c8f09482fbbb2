"""Folders on disk: their names, and which directories are mailboxes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstack.errors import Problem, Refused
from mailstack.store.maildir import layout
from mailstack.store.maildir.layout import Folder, check_new, directory_name, mailbox_name, normalise


def refusal(call: object, *arguments: object) -> Problem:
    with pytest.raises(Refused) as info:
        call(*arguments)  # type: ignore[operator]
    return info.value.problem


@pytest.mark.parametrize(
    ("name", "directory"),
    [
        ("INBOX", ""),
        ("inbox", ""),
        ("Sent", ".Sent"),
        ("Lists/Py/Dev", ".Lists.Py.Dev"),
        ("inbox/Inside", ".INBOX.Inside"),
        ("a/INBOX", ".a.INBOX"),
        ("Entw\u00fcrfe", ".Entw&APw-rfe"),
        ("\u65e5\u672c/\u5100", ".&ZeVnLA-.&UQA-"),
        ("R&D", ".R&-D"),
        ("two words", ".two words"),
        ('50%*"\\', '.50%*"\\'),
        ("a~b/~c", ".a~b.~c"),
        ("cur", ".cur"),
        (" ", ". "),
        ("\U0001f4ec", ".&2D3c7A-"),
    ],
)
def test_names_on_disk(name: str, directory: str) -> None:
    normal = normalise(name)
    check_new(normal)
    assert directory_name(normal) == directory
    if directory:
        assert mailbox_name(directory) == normal


@pytest.mark.parametrize("name", ["", "/", "a/", "/a", "a//b", "a.b", ".", "..", "../x", ".hidden", "a/..", "a\ud800"])
def test_names_that_no_folder_can_have(name: str) -> None:
    assert refusal(normalise, name) is Problem.BAD_MAILBOX_NAME


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("~", "a home directory"),
        ("~alice/x", "a home directory"),
        ("a\x01b", "a control character"),
        ("a\nb", "a control character"),
        ("a\x7fb", "a control character"),
        ("a\x85b", "a control character"),
        ("/".join("a" * 33), "too deep"),
        ("x" * 241, "too long"),
        ("\u00e4" * 91, "too long as modified UTF-7"),
    ],
)
def test_names_that_others_may_have_made_but_we_do_not(name: str, why: str) -> None:
    assert mailbox_name(directory_name(normalise(name))) == name
    assert refusal(check_new, name) is Problem.BAD_MAILBOX_NAME


def test_limits() -> None:
    check_new(normalise("/".join("a" * 32)))
    check_new(normalise("x" * 240))
    assert len(directory_name(normalise("x" * 254))) == 255
    assert refusal(normalise, "x" * 255) is Problem.BAD_MAILBOX_NAME
    assert refusal(normalise, "\u00e4" * 100) is Problem.BAD_MAILBOX_NAME


@pytest.mark.parametrize(
    "directory",
    ["", "cur", ".", "..", "..x", ".a..b", ".a.", ".caf\u00e9", ".bad&utf", ".&AGE-", ".a&Jjo", ".&2AA-", ".&", ".&-&",
     ".sl&AC8-x", ".INBOX", ".inbox", ".inbox.sub", ".InBox.Sub", ".tab\there", "\udcff", ".\udcff", "..."],
)  # fmt: skip
def test_directories_that_are_no_mailboxes(directory: str) -> None:
    assert mailbox_name(directory) is None


@given(st.text(max_size=12))
def test_a_name_comes_back(name: str) -> None:
    try:
        normal = normalise(name)
    except Refused:
        return
    directory = directory_name(normal)
    assert "/" not in directory and "\0" not in directory and directory.isascii()
    assert normal == "INBOX" or mailbox_name(directory) == normal


def inside(account: Path, directory: str, *names: str) -> Path:
    path = account / directory
    for name in names or ("cur", "new", "tmp"):
        (path / name).mkdir(parents=True, exist_ok=True)
    return path


@pytest.fixture
def account(tmp_path: Path) -> Path:
    account = tmp_path / "account"
    inside(account, "")
    return account


def listed(account: Path) -> list[str]:
    return [found.name for found in layout.folders(account)]


def test_which_are_listed(account: Path, tmp_path: Path) -> None:
    inside(account, ".b")
    inside(account, ".a.b")
    inside(account, ".only-cur", "cur")
    (account / ".marked").mkdir()
    (account / ".marked" / "maildirfolder").touch()
    (account / ".empty").mkdir()
    inside(account, ".new-only", "new")
    (account / ".file").touch()
    (account / ".inside").symlink_to(".b")
    inside(tmp_path, "elsewhere")
    (account / ".outside").symlink_to(tmp_path / "elsewhere")
    (account / ".broken").symlink_to("nowhere")
    (account / ".loop").symlink_to(".loop")
    assert listed(account) == ["INBOX", "a/b", "b", "inside", "marked", "only-cur"]


def test_a_link_that_leads_out_is_not_opened_either(account: Path, tmp_path: Path) -> None:
    inside(tmp_path, "elsewhere")
    (account / ".outside").symlink_to(tmp_path / "elsewhere")
    (account / ".up").symlink_to("..")
    inside(tmp_path, "", "cur")
    for name in ("outside", "up"):
        assert refusal(layout.existing, account, name) is Problem.NO_SUCH_MAILBOX


def test_the_account_may_be_a_link_itself(account: Path, tmp_path: Path) -> None:
    inside(account, ".b")
    (account / ".inside").symlink_to(".b")
    (tmp_path / "link").symlink_to(account)
    assert listed(tmp_path / "link") == ["INBOX", "b", "inside"]


def test_missing_directories_are_made_when_it_is_opened(account: Path) -> None:
    inside(account, ".half", "cur")
    found = layout.existing(account, "half")
    assert {path.name for path in found.path.iterdir()} == {"cur", "new", "tmp", "maildirfolder"}


def test_make(tmp_path: Path) -> None:
    for place in (Folder("INBOX", tmp_path / "a"), Folder("x", tmp_path / "a" / ".x")):
        layout.make(place)
        layout.make(place)
        assert place.exists
        assert (place.path / "maildirfolder").exists() == (place.name != "INBOX")
        assert place.path.stat().st_mode & 0o777 == 0o700


def test_replace_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    layout.replace_file(path, b"one")
    layout.replace_file(path, b"two", modified=1_000_000_000)
    assert path.read_bytes() == b"two"
    assert path.stat().st_mtime == 1_000_000_000
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["file"]
