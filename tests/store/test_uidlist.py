"""`dovecot-uidlist`: read whatever it has, written so that no UID ever means another message."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstack.store.maildir import uidlist_text
from mailstack.store.maildir.layout import replace_file
from mailstack.store.maildir.uidlist import Broken, UidList, next_validity
from mailstack.store.maildir.uidlist_text import MAX_UID, read_header, read_records

GUID = "0123456789abcdef0123456789abcdef"
HEADER = f"3 V1700000000 N1 G{GUID}\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "dovecot-uidlist"


def fresh(path: Path) -> tuple[UidList, dict[int, str]]:
    """As another process reads it."""
    uidlist = UidList(path)
    loaded = uidlist.load()
    assert loaded is not None and loaded.anew
    return uidlist, dict(loaded.records)


def written(path: Path, text: str | bytes) -> tuple[UidList, dict[int, str]]:
    path.write_bytes(os.fsencode(text) if isinstance(text, str) else text)
    return fresh(path)


# --- what is read


@pytest.mark.parametrize(
    ("line", "uid", "base", "extension"),
    [
        ("1 :a", 1, "a", ""),
        ("12 :1700000000.M1P2.host,S=3,W=4", 12, "1700000000.M1P2.host,S=3,W=4", ""),
        ("1 :a:2,FS", 1, "a", ""),
        ("1 W12 S10 :a", 1, "a", " W12 S10"),
        ("1 Pabc:def Gx :a", 1, "a", " Pabc:def Gx"),
        ("1   W12   :a", 1, "a", "   W12"),
        ("1 :a b", 1, "a b", ""),
        ("1 : a", 1, " a", ""),
        ("1 :W12", 1, "W12", ""),
        ("1 X\u00e9 :\u00e9", 1, "\u00e9", " X\u00e9"),
        (f"{MAX_UID - 1} :last", MAX_UID - 1, "last", ""),
        (f"7 :{'n' * 255}", 7, "n" * 255, ""),
    ],
)
def test_a_record(line: str, uid: int, base: str, extension: str) -> None:
    found = read_records(os.fsencode(line + "\n"), 3)
    assert found.records == [(uid, base)]
    assert found.extensions == ({uid: extension} if extension else {})
    assert (found.lost, found.unordered) == (0, False)


@pytest.mark.parametrize(
    "line",
    ["", " ", "1", "1 ", "1 a", "x :a", "-1 :a", "1:a", "1 :", "1 w12 :a", "1 :a/b", "1 :a\0b", "\0\0\0", "1 W\0 :a",
     "12345678901 :a", "+1 :a", " 1 :a", "\u0661 :a"],
)  # fmt: skip
def test_what_is_no_record_is_passed_over(line: str) -> None:
    found = read_records(os.fsencode(f"1 :one\n{line}\n3 :three\n"), 3)
    assert found.records == [(1, "one"), (3, "three")]
    assert found.lost == len(os.fsencode(line)) + 1
    assert found.lost_at_the_end == 0


@pytest.mark.parametrize("uid", ["0", str(MAX_UID), "9999999999", "000"])
def test_a_number_that_is_no_uid(uid: str) -> None:
    assert read_records(f"{uid} :a\n4 :d\n".encode(), 3).records == [(4, "d")]


@pytest.mark.parametrize(
    ("lines", "records"),
    [
        ("5 :e\n3 :c\n6 :f\n", [(3, "c"), (5, "e"), (6, "f")]),
        ("1 :a\n1 :b\n2 :c\n", [(2, "c")]),
        ("1 :a\n2 :b\n1 :a\n", [(1, "a"), (2, "b")]),
    ],
    ids=["backwards", "one UID for two", "twice the same"],
)
def test_order(lines: str, records: list[tuple[int, str]]) -> None:
    found = read_records(lines.encode(), 3)
    assert found.records == records
    assert found.unordered


@pytest.mark.parametrize(
    ("text", "values"),
    [
        (HEADER, (3, 1700000000, 1, GUID, [])),
        ("3 N7 V5\n", (3, 5, 7, "", [])),
        (f"3 V5 N7 G{GUID} X1 yfoo z\n", (3, 5, 7, GUID, ["X1", "yfoo", "z"])),
        ("3 V5  N7 \n", (3, 5, 7, "", [])),
        ("3 V5 N7 Gnothex\n", (3, 5, 7, "", [])),
        ("1 1234567890 42\n", (1, 1234567890, 42, "", [])),
    ],
)
def test_header(text: str, values: tuple[object, ...]) -> None:
    found = read_header(text.encode())
    assert found is not None
    assert (found.version, found.validity, found.next_uid, found.guid, found.others) == values
    assert found.octets == len(text)


@pytest.mark.parametrize(
    "text",
    ["", "\n", "3\n", "3 V5\n", "3 N5\n", "3 V0 N1\n", "3 V1 N0\n", "3 Vx N1\n", "3 V99999999999 N1\n", "2 5 1\n",
     "1 5\n", "1 x y\n", "3 V5 N7", "\0" * 50, "4 V5 N7\n", "V5 N7\n", "3 V5 N7\0\n", "1 :a\n"],
)  # fmt: skip
def test_what_is_no_header(text: str, path: Path) -> None:
    assert read_header(text.encode()) is None
    path.write_bytes(text.encode())
    with pytest.raises(Broken):
        UidList(path).load()


@given(st.binary(max_size=200))
def test_any_octets_are_read(octets: bytes) -> None:
    found = read_records(octets, 3)
    uids = [uid for uid, _ in found.records]
    assert uids == sorted(set(uids))
    assert found.end == octets.rfind(b"\n") + 1
    read_header(octets)


_BASE = st.text(st.characters(exclude_characters="/:\0\n\r", exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(st.dictionaries(st.integers(1, MAX_UID - 1), _BASE, max_size=8), st.integers(0, 40), st.integers(0, 200))
def test_what_a_torn_file_still_tells_is_true(records: dict[int, str], hole: int, at: int) -> None:
    """NULs where a block was not written, or the end missing: no record says what it did not say before."""
    lines = sorted(records.items())
    header = uidlist_text.Header(3, 5, 7, GUID, [], 0)
    content = uidlist_text.made(header, lines, {})
    assert read_records(content[content.index(b"\n") + 1 :], 3).records == lines
    found = read_header(content)
    assert found is not None
    cut = content[found.octets : found.octets + at] if hole == 0 else content[found.octets :]
    torn = cut[:at] + b"\0" * len(cut[at : at + hole]) + cut[at + hole :]
    assert set(read_records(torn, 3).records) <= set(lines)


# --- what is written


def test_begins_anew_and_goes_on(path: Path) -> None:
    mine = UidList(path)
    mine.create(path.parent)
    assert mine.append(["a", "b"]) == [1, 2]
    other, records = fresh(path)
    assert records == {1: "a", 2: "b"}
    assert (other.validity, other.next_uid, other.guid) == (mine.validity, 3, mine.guid)
    assert re.fullmatch(r"3 V\d+ N1 G[0-9a-f]{32}\n1 :a\n2 :b\n", path.read_text())
    assert other.append(["c"]) == [3]
    loaded = mine.load()
    assert loaded is not None and not loaded.anew
    assert loaded.records == [(3, "c")]
    assert mine.append(["d"]) == [4]
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_others_noted_is_kept(path: Path) -> None:
    text = f"3 V5 N9 G{GUID} X1 yz\n1 W10 S8 :a\n2 Puidl:1 :b\n3 :c\n"
    uidlist, records = written(path, text)
    uidlist.write([item for item in records.items() if item[0] != 3])
    assert path.read_text() == text.replace("3 :c\n", "")
    assert fresh(path)[0].next_uid == 9


def test_what_others_noted_is_kept_by_who_did_not_read_it(path: Path) -> None:
    text = f"3 V5 N4 G{GUID} X1 yz\n1 W10 S8 :a\n2 Puidl:1 :b\n3 :c\n"
    before, records = written(path, text)
    after = UidList(path)
    after.resume(GUID, 5, before.state())
    loaded = after.load()
    assert loaded is not None and not loaded.anew
    after.write(records.items())
    assert path.read_text() == text


def test_the_next_uid_never_goes_back(path: Path) -> None:
    uidlist, records = written(path, HEADER + "41 :a\n")
    assert uidlist.next_uid == 42
    uidlist.write([])
    assert fresh(path)[0].next_uid == 42
    path.write_text(HEADER)
    uidlist.load()
    assert uidlist.next_uid == 42


def test_when_no_uid_is_left(path: Path) -> None:
    uidlist, _ = written(path, HEADER + f"{MAX_UID - 2} :a\n")
    assert uidlist.append(["b"]) == [MAX_UID - 1]
    with pytest.raises(Broken):
        uidlist.append(["c"])
    assert fresh(path)[1] == {MAX_UID - 2: "a", MAX_UID - 1: "b"}


@pytest.mark.parametrize("torn", ["2", "2 ", "2 :", "2 :b", "2 :b,S=1", "\0\0\0\0"])
def test_a_torn_last_line_is_not_read_and_makes_room(path: Path, torn: str) -> None:
    uidlist, records = written(path, HEADER + "1 :a\n" + torn)
    assert records == {1: "a"}
    assert uidlist.append(["c"]) == [2]
    assert path.read_text() == HEADER + "1 :a\n2 :c\n"
    assert fresh(path)[1] == {1: "a", 2: "c"}


def test_a_line_that_is_being_written_is_read_when_it_is_whole(path: Path) -> None:
    uidlist, _ = written(path, HEADER + "1 :a\n2 :b")
    with path.open("a") as file:
        file.write("c\n3 :d\n")
    loaded = uidlist.load()
    assert loaded is not None
    assert loaded.records == [(2, "bc"), (3, "d")]


@pytest.mark.parametrize("name", ["a\nb", "a\n99 :victim", "\n", "a\rb", "\r\n"])
def test_a_name_with_a_line_end_makes_no_records(path: Path, name: str) -> None:
    uidlist, _ = written(path, HEADER)
    assert uidlist.append(["x", name, "y"]) == [1, 2, 3]
    other, records = fresh(path)
    assert records.keys() == {1, 2, 3}
    assert (records[1], records[3]) == ("x", "y")
    assert not other.damage


# --- damage


@pytest.mark.parametrize(
    ("text", "records", "following"),
    [
        (HEADER + "1 :a\ngarbage\n3 :c\n", {1: "a", 3: "c"}, 4),
        (HEADER + "1 :a\n\0\0\0\0\0\0\0\0\0\0\n9 :c\n", {1: "a", 9: "c"}, 10),
        (HEADER + "5 :e\n3 :c\n", {3: "c", 5: "e"}, 6),
        (HEADER + "1 :a\n2 :b\n2 :c\n", {1: "a"}, 3),
        (f"3 V5 N100 G{GUID}\n1 :a\nx\n", {1: "a"}, 100),
        ("1 1700000000 5\n1 a\n4 d:2,S\n", {1: "a", 4: "d"}, 5),
        ("3 V5 N7\n1 :a\n", {1: "a"}, 7),
    ],
    ids=["garbage", "zeros", "backwards", "one UID twice", "at the end", "version 1", "no id"],
)
def test_damage_is_mended_by_the_next_writer(path: Path, text: str, records: dict[int, str], following: int) -> None:
    uidlist, found = written(path, text)
    assert found == records
    assert uidlist.damage
    assert uidlist.next_uid >= following
    validity, guid = uidlist.validity, uidlist.guid
    assert fresh(path)[0].guid == guid
    (uid,) = uidlist.append(["new"])
    assert uid >= following
    other, after = fresh(path)
    assert after == {**records, uid: "new"}
    assert (other.damage, other.validity, other.guid) == ("", validity, guid)
    assert not uidlist.damage


def test_uids_that_a_lost_end_may_have_had_are_not_given_again(path: Path) -> None:
    lines = "".join(f"{uid} :m{uid}\n" for uid in range(1, 40))
    whole = (HEADER + lines).encode()
    keep = whole.index(b"21 :")
    uidlist, records = written(path, whole[:keep] + b"\0" * (len(whole) - keep - 1) + b"\n")
    assert max(records) == 20
    assert uidlist.append(["new"])[0] >= 40


def test_who_knew_the_header_keeps_it(path: Path) -> None:
    uidlist, _ = written(path, HEADER + "1 :a\n2 :b\n")
    path.write_text("\0" * 20 + "\n1 :a\n2 :b\n")
    loaded = uidlist.load()
    assert loaded is not None
    assert loaded.records == [(1, "a"), (2, "b")]
    assert uidlist.append(["c"])[0] >= 3
    assert fresh(path)[0].validity == 1700000000


def test_two_writers_that_both_had_the_lock(path: Path) -> None:
    """What a broken lock may lead to: one UID for two messages. Neither keeps it."""
    one, _ = written(path, HEADER)
    two, _ = fresh(path)
    assert one.append(["a"]) == [1]
    two.read = one.read
    assert two.append(["b"]) == [1]
    loaded = one.load()
    assert loaded is not None and loaded.anew
    assert loaded.records == []
    assert one.append(["a", "b"]) == [2, 3]
    assert fresh(path)[1] == {2: "a", 3: "b"}


# --- others write it anew


def test_written_anew_by_another_process(path: Path) -> None:
    mine, records = written(path, HEADER + "1 :a\n2 :b\n3 :c\n")
    other, _ = fresh(path)
    other.write([(2, "b")])
    other.append(["d"])
    loaded = mine.load()
    assert loaded is not None and loaded.anew
    assert dict(loaded.records) == {2: "b", 4: "d"}
    assert mine.append(["e"]) == [5]


def test_an_inode_that_is_used_again_is_another_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written anew twice, a file may have the number it had at first."""
    mine, _ = written(path, HEADER + "1 :a\n2 :b\n3 :c\n")
    replace_file(path, (HEADER + "3 :c\n4 :this is longer than before\n5 :e\n").encode())
    mine.stamp = (path.stat().st_ino, *mine.stamp[1:])
    loaded = mine.load()
    assert loaded is not None and loaded.anew
    assert dict(loaded.records) == {3: "c", 4: "this is longer than before", 5: "e"}


def test_no_file(path: Path) -> None:
    assert UidList(path).load() is None


# --- UIDVALIDITY


def hexes(account: Path) -> list[str]:
    return sorted(path.name for path in account.iterdir())


def test_validities_grow(tmp_path: Path) -> None:
    first = next_validity(tmp_path)
    assert abs(first - time.time()) < 5
    assert hexes(tmp_path) == ["dovecot-uidvalidity", f"dovecot-uidvalidity.{first:08x}"]
    second = next_validity(tmp_path)
    assert second > first
    assert hexes(tmp_path) == ["dovecot-uidvalidity", f"dovecot-uidvalidity.{second:08x}"]
    assert (tmp_path / "dovecot-uidvalidity").read_text() == f"{second:08x}"


@pytest.mark.parametrize(
    ("files", "above", "expected"),
    [
        ({"dovecot-uidvalidity.f0000000": ""}, 0, 0xF0000001),
        ({"dovecot-uidvalidity": "f0000000"}, 0, 0xF0000001),
        ({"dovecot-uidvalidity.zzzzzzzz": "", "dovecot-uidvalidity.f0000000": ""}, 0, 0xF0000001),
        ({"dovecot-uidvalidity.12345678.x": "", "dovecot-uidvalidity": "nonsense"}, 0xF0000000, 0xF0000001),
    ],
)
def test_above_what_was(tmp_path: Path, files: dict[str, str], above: int, expected: int) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert next_validity(tmp_path, above) == expected
    assert next_validity(tmp_path) == expected + 1


def test_when_no_validity_is_left(tmp_path: Path) -> None:
    (tmp_path / "dovecot-uidvalidity.ffffffff").touch()
    with pytest.raises(Broken):
        next_validity(tmp_path)
