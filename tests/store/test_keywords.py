"""`dovecot-keywords`, read and written."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from mailstack.errors import Problem, Refused
from mailstack.ports import MAX_KEYWORDS
from mailstack.store.maildir import keywords


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "cur").mkdir()
    return tmp_path


def write(folder: Path, text: str) -> list[str]:
    (folder / keywords.FILE).write_text(text)
    return keywords.read(folder)


def message(folder: Path, letters: str) -> None:
    (folder / "cur" / f"{len(os.listdir(folder / 'cur'))}:2,{letters}").touch()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", []),
        ("0 $Forwarded\n1 NonJunk\n", ["$Forwarded", "NonJunk"]),
        ("0 a\n1 b", ["a", "b"]),
        ("2 c\n", ["", "", "c"]),
        ("1 b\n0 a\n", ["a", "b"]),
        ("0 a\nnonsense\n\n1 \n2\nx y\n-1 z\n1 b\n", ["a", "b"]),
        ("25 last\n26 beyond\n99 beyond\n", [*[""] * 25, "last"]),
        ("0 with space\n1 b\n", ["unknown-0", "b"]),
        ("0 \u00e9\n", ["unknown-0"]),
        *((f"0 a{special}b\n", ["unknown-0"]) for special in '(){%*"\\]\x7f\t'),
        *((f"0 a{char}b\n", [f"a{char}b"]) for char in "!#$&'+,-./:;<=>?@[^_`|}~"),
        ("\u0660 arabic\n0 a\n", ["a"]),
        ("0 first\n0 second\n", ["second"]),
        ("0 a\u2028b\n1 c\x0bd\n2 e\n", ["unknown-0", "unknown-1", "e"]),
    ],
)
def test_read(folder: Path, text: str, names: list[str]) -> None:
    assert write(folder, text) == names


def test_read_without_a_file_and_with_octets_that_are_no_utf_8(folder: Path) -> None:
    assert keywords.read(folder) == []
    (folder / keywords.FILE).write_bytes(b"0 \xff\xfe\n1 good\n")
    assert keywords.read(folder) == ["unknown-0", "good"]


@pytest.mark.parametrize(
    ("text", "wanted", "numbers", "after"),
    [
        ("", ["A"], [0], "0 A\n"),
        ("0 A\n", ["a"], [0], "0 A\n"),
        ("0 A\n", ["B", "a", "C"], [1, 0, 2], "0 A\n1 B\n2 C\n"),
        ("0 A\n", ["B", "b"], [1, 1], "0 A\n1 B\n"),
        ("1 B\n3 D\n", ["A", "C", "E"], [0, 2, 4], "0 A\n1 B\n2 C\n3 D\n4 E\n"),
        ("25 Z\n", ["A"], [0], "0 A\n25 Z\n"),
        ("0 A\n", [], [], "0 A\n"),
    ],
)
def test_numbers(folder: Path, text: str, wanted: list[str], numbers: list[int], after: str) -> None:
    names = write(folder, text)
    assert keywords.numbers(folder, names, wanted) == numbers
    assert (folder / keywords.FILE).read_text() == after
    assert keywords.read(folder) == names


def test_a_letter_whose_name_was_lost_is_not_given_another(folder: Path) -> None:
    message(folder, "Sac")
    message(folder, "Fb")
    names = write(folder, "1 Known\n")
    assert keywords.numbers(folder, names, ["New"]) == [3]
    assert names == ["unknown-0", "Known", "unknown-2", "New"]
    assert keywords.read(folder) == names


def test_when_all_are_used_one_more_is_refused_and_nothing_changes(folder: Path) -> None:
    text = "".join(f"{number} k{number}\n" for number in range(MAX_KEYWORDS - 1))
    names = write(folder, text)
    with pytest.raises(Refused) as info:
        keywords.numbers(folder, names, ["fits", "too-many"])
    assert info.value.problem is Problem.TOO_MANY_KEYWORDS
    assert (folder / keywords.FILE).read_text() == text
    assert len(names) == MAX_KEYWORDS - 1
    assert keywords.numbers(folder, names, ["fits", "K3"]) == [MAX_KEYWORDS - 1, 3]


def test_the_second_of_its_time_stamp_grows_each_time(folder: Path) -> None:
    """Dovecot reads the file again only when it does."""
    seconds: list[int] = []
    names: list[str] = []
    for number in range(3):
        keywords.numbers(folder, names, [f"k{number}"])
        seconds.append(int((folder / keywords.FILE).stat().st_mtime))
    assert seconds == sorted(set(seconds))
    assert seconds[0] >= int(time.time()) - 5


def test_no_file_is_written_when_nothing_is_new(folder: Path) -> None:
    names = write(folder, "0 A\n")
    before = (folder / keywords.FILE).stat()
    keywords.numbers(folder, names, ["A"])
    assert (folder / keywords.FILE).stat() == before
