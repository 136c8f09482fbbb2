"""Subscriptions and special uses on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstack.errors import Problem, Refused
from mailstack.store.maildir import account as files
from mailstack.store.maildir import layout


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", []),
        ("V\t2\n\n", []),
        ("V\t2\n\nINBOX\nLists\tPy\n", ["INBOX", "Lists/Py"]),
        ("V\t2\n\nEntw&APw-rfe\ta&-b\n", ["Entw\u00fcrfe/a&b"]),
        ("V\t2\n\nno line end", ["no line end"]),
        ("V\t2\n\nwith.dot\n", ["with/dot"]),
        ("INBOX\nLists.Py\nEntw&APw-rfe\n", ["INBOX", "Lists/Py", "Entw\u00fcrfe"]),
        ("\n\nSent\n\n", ["Sent"]),
        ("Entw\u00fcrfe.x\n", ["Entw\u00fcrfe/x"]),
        ("bad&utf\nSent\n", ["bad&utf", "Sent"]),
        ("V\t2\n\nbad&utf\tx\n", ["bad&utf/x"]),
        ("V\t2\n\nx\u2028y\n", ["x\u2028y"]),
        ("V\t2\n\nINBOX\r\n", ["INBOX"]),
    ],
)
def test_subscriptions(tmp_path: Path, text: str, names: list[str]) -> None:
    (tmp_path / "subscriptions").write_bytes(text.encode())
    assert files.subscriptions(tmp_path) == names


def test_subscriptions_without_a_file(tmp_path: Path) -> None:
    assert files.subscriptions(tmp_path) == []


def test_subscriptions_are_written_as_dovecot_does(tmp_path: Path) -> None:
    files.write_subscriptions(tmp_path, ["INBOX", "Lists/Py", "Entw\u00fcrfe"])
    assert (tmp_path / "subscriptions").read_bytes() == b"V\t2\n\nINBOX\nLists\tPy\nEntw&APw-rfe\n"


_LEVEL = st.text(st.characters(exclude_characters="/.", exclude_categories=["Cs"]), min_size=1, max_size=6)


@given(st.lists(st.lists(_LEVEL, min_size=1, max_size=3).map("/".join), max_size=5))
def test_subscriptions_come_back(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    path = tmp_path_factory.getbasetemp()
    files.write_subscriptions(path, names)
    assert files.subscriptions(path) == names


def test_names_that_cannot_be_decoded_survive_another_subscription(tmp_path: Path) -> None:
    """What others wrote is not ours to lose."""
    (tmp_path / "subscriptions").write_bytes(b"V\t2\n\nbad&utf\nlatin\xe9\nSent\n")
    assert files.subscriptions(tmp_path) == ["bad&utf", "Sent"]
    files.write_subscriptions(tmp_path, ["bad&utf", "Sent", "New"])
    assert (tmp_path / "subscriptions").read_bytes() == b"V\t2\n\nbad&-utf\nSent\nNew\nlatin\xe9\n"


@given(st.dictionaries(_LEVEL.filter(lambda name: "\n" not in name), st.sampled_from(["\\Sent", "\\Junk"]), max_size=4))
def test_special_uses_come_back(tmp_path_factory: pytest.TempPathFactory, uses: dict[str, str]) -> None:
    path = tmp_path_factory.getbasetemp()
    files.write_special_uses(path, uses)
    assert files.special_uses(path) == uses


@pytest.mark.parametrize(
    ("text", "uses"),
    [
        ("\\Sent Sent\n\\Junk Entw&APw-rfe/x y\n", {"Sent": "\\Sent", "Entw\u00fcrfe/x y": "\\Junk"}),
        ("\n\nnonsense\n\\Sent bad&utf\n\\Sent ok\n", {"ok": "\\Sent"}),
    ],
)
def test_special_uses(tmp_path: Path, text: str, uses: dict[str, str]) -> None:
    (tmp_path / "special-use").write_text(text)
    assert files.special_uses(tmp_path) == uses


@pytest.fixture
def account(tmp_path: Path) -> Path:
    files.prepare(tmp_path)
    return tmp_path


def names(account: Path) -> list[str]:
    return [place.name for place in layout.folders(account)]


def test_an_account_of_dovecots_keeps_its_subscriptions(tmp_path: Path) -> None:
    (tmp_path / "subscriptions").write_text("V\t2\n\nOnly\tThis\n")
    files.prepare(tmp_path)
    assert files.subscriptions(tmp_path) == ["Only/This"]
    assert "Sent" in names(tmp_path)
    files.delete(tmp_path, "Sent")
    files.prepare(tmp_path)
    assert "Sent" not in names(tmp_path)


def test_rename_takes_inferiors_and_uses_along(account: Path) -> None:
    files.create(account, "A/B/C", "\\Flagged")
    files.create(account, "A-not", "")
    assert sorted(files.rename(account, "A", "X/Y")) == [("A", "X/Y"), ("A/B", "X/Y/B"), ("A/B/C", "X/Y/B/C")]
    assert {"X", "X/Y", "X/Y/B", "X/Y/B/C", "A-not"} <= set(names(account))
    assert not {"A", "A/B", "A/B/C"} & set(names(account))
    assert files.special_uses(account)["X/Y/B/C"] == "\\Flagged"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("INBOX", "x", Problem.CANNOT),
        ("none", "x", Problem.NO_SUCH_MAILBOX),
        ("A", "Sent", Problem.MAILBOX_EXISTS),
        ("A", "inbox", Problem.MAILBOX_EXISTS),
        ("A", "A", Problem.MAILBOX_EXISTS),
        ("A", "A/B/C", Problem.CANNOT),
        ("A", "~x", Problem.BAD_MAILBOX_NAME),
        ("A", "/".join("x" * 32), Problem.BAD_MAILBOX_NAME),
        ("A", "Taken", Problem.MAILBOX_EXISTS),
    ],
)
def test_renames_that_are_refused_change_nothing(account: Path, old: str, new: str, problem: Problem) -> None:
    files.create(account, "A/B", "")
    files.create(account, "Taken/B", "")
    if new == "Taken":
        (account / ".Taken").rename(account / "aside")  # only the inferior is in the way
    before = names(account)
    with pytest.raises(Refused) as info:
        files.rename(account, old, new)
    assert info.value.problem is problem
    assert names(account) == before


def test_delete(account: Path) -> None:
    files.create(account, "A/B", "\\Flagged")
    assert files.delete(account, "A") == "A"
    assert "A/B" in names(account)
    with pytest.raises(Refused) as info:
        files.delete(account, "A")
    assert info.value.problem is Problem.MAILBOX_HAS_CHILDREN
    files.delete(account, "A/B")
    assert "A/B" not in files.special_uses(account)
    assert list((account / "tmp").iterdir()) == []
