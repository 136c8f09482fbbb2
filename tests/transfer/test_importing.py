"""Import from files: whose mailbox is which, what cannot be taken, and that nothing comes twice."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
import zipfile
from pathlib import Path

import pytest
from command_line import invoke
from transferred import imported, octets_of, seen

from mailstack.ports import Flag
from mailstack.transfer import tree
from mailstack.transfer.tree import Directory
from mailstack.transfer.tree_source import TreeSource
from mailstack.transfer.values import Message, Unreadable

ONE = b"Subject: one\n\nx\n"


def message(path: Path, octets: bytes = ONE, date: int = 1_000_000_000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(octets)
    os.utime(path, (date, date))
    return path


def maildir(path: Path, *names: str) -> Path:
    for below in ("cur", "new", "tmp"):
        (path / below).mkdir(parents=True, exist_ok=True)
    for name in names:
        message(path / name)
    return path


# --- Maildirs


def test_a_maildir_of_dovecot(tmp_path: Path) -> None:
    root = maildir(tmp_path / "Maildir", "cur/1.M1.h,S=16:2,FSa", "new/2.M2.h", "tmp/3.M3.h")
    (root / "dovecot-keywords").write_text("0 $Forwarded\n1 NonJunk\n")
    maildir(root / ".Entw&APw-rfe.A &- B", "cur/4.M4.h:2,PRTDb")
    (root / ".Entw&APw-rfe.A &- B" / "dovecot-keywords").write_text("1 work\n")
    (root / "subscriptions").write_text("V\t2\n\nEntw&APw-rfe\tA &- B\n")
    for name in (
        "dovecot-uidlist",
        "dovecot.index.log",
        ".Entw&APw-rfe.A &- B/maildirfolder",
    ):
        (root / name).write_text("3 V1 N1\n")
    imported(tmp_path / "data", root)
    found = seen(tmp_path / "data")
    assert {name: len(box.messages) for name, box in found.items()} == {
        "INBOX": 2,
        "Entwürfe/A & B": 1,
    }
    assert {row[1:3] for row in found["INBOX"].messages} == {
        (int(Flag.FLAGGED | Flag.SEEN), frozenset({"$Forwarded"})), (0, frozenset()),
    }  # fmt: skip
    below = found["Entwürfe/A & B"]
    assert below.messages[0][1:] == (
        int(Flag.ANSWERED | Flag.DELETED | Flag.DRAFT), frozenset({"$Forwarded", "work"}), 1_000_000_000,
    )  # fmt: skip
    assert below.subscribed


def test_a_maildir_of_courier(tmp_path: Path) -> None:
    root = maildir(tmp_path / "Maildir", "cur/1.M1.h:2,S")
    (root / "courierimapkeywords").mkdir()
    (root / "courierimapkeywords" / ":list").write_text("$Label1\n$Label2\n\n1.M1.h:1 0\n")
    (root / "courierimapsubscribed").write_text("INBOX\nINBOX.Sent\n")
    maildir(root / ".Sent", "cur/2.M2.h:2,")
    imported(tmp_path / "data", root)
    found = seen(tmp_path / "data")
    assert found["INBOX"].messages[0][2] == {"$Label1", "$Label2"}
    assert found["Sent"].subscribed
    assert found["Sent"].special_use == "\\Sent"


def test_maildirs_within_directories_as_isync_makes_them(tmp_path: Path) -> None:
    for name in ("INBOX", "Lists/Py", "example.org", "~home"):
        maildir(tmp_path / "Mail" / name, "cur/1.h:2,")
    imported(tmp_path / "data", tmp_path / "Mail")
    assert seen(tmp_path / "data").keys() == {
        "INBOX",
        "Lists/Py",
        "example_org",
        "_home",
    }


def test_equal_messages_of_a_source_are_two_and_stay_two(tmp_path: Path) -> None:
    root = maildir(tmp_path / "Maildir", "cur/1.h:2,", "cur/2.h:2,")
    for expected in (
        "2 messages imported",
        "\n0 messages imported",
        "\n0 messages imported",
    ):
        assert expected in imported(tmp_path / "data", root)
    message(root / "cur/3.h:2,")
    assert "\n1 messages imported" in imported(tmp_path / "data", root)
    assert len(octets_of(tmp_path / "data")) == 3


def test_the_same_mail_in_another_form_is_known(tmp_path: Path) -> None:
    root = maildir(tmp_path / "Maildir", "cur/1.h:2,", "cur/2.h:2,S")
    imported(tmp_path / "data", root)
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as archive:
        archive.add(root, "home/alice/Maildir")
    assert "\n0 messages imported" in imported(tmp_path / "data", tmp_path / "x.tar.gz")


def test_symbolic_links_and_what_is_no_file(tmp_path: Path) -> None:
    root = maildir(tmp_path / "Maildir", "cur/1.h:2,")
    message(tmp_path / "secret", b"Subject: secret\n\nx\n")
    (root / "cur/2.h:2,").symlink_to(tmp_path / "secret")
    (root / ".Linked").symlink_to(maildir(tmp_path / "Other", "cur/3.h:2,"))
    os.mkfifo(root / "cur/4.h:2,")
    said = imported(tmp_path / "data", root, status=1)
    assert said.count("symbolic link, which is not followed") == 2
    assert "cur/4.h:2,: not a regular file" in said
    assert octets_of(tmp_path / "data") == [ONE.replace(b"\n", b"\r\n")]
    assert seen(tmp_path / "data").keys() == {"INBOX"}


def test_a_file_that_cannot_be_read_does_not_stop_the_others(tmp_path: Path) -> None:
    root = maildir(tmp_path / "Maildir", "cur/1.h:2,", "cur/2.h:2,", "cur/3.h:2,")
    message(root / "cur/2.h:2,", b"x" * (51 * 1024 * 1024))
    said = imported(tmp_path / "data", root, status=1)
    assert "cur/2.h:2,: larger than" in said
    assert "INBOX: 2 imported, 1 not taken" in said


def test_messages_that_are_renamed_meanwhile(tmp_path: Path) -> None:
    root = maildir(tmp_path / "Maildir", "cur/1.h:2,", "new/2.h", "cur/3.h:2,")
    found = list(TreeSource(Directory(root)).messages(lambda folder, validity: ()))
    (root / "cur/1.h:2,").rename(root / "cur/1.h:2,S")
    (root / "new/2.h").rename(root / "cur/2.h:2,")
    (root / "cur/3.h:2,").unlink()
    assert [b"".join(each.pieces) for each in found if isinstance(each, Message) and "3.h" not in each.place] == [
        ONE
    ] * 2
    with pytest.raises(Unreadable, match="No such file"):
        next(iter(next(each for each in found if isinstance(each, Message) and "3.h" in each.place).pieces))


# --- names


def test_into_map_exclude_and_mailbox(tmp_path: Path) -> None:
    root = maildir(tmp_path / "Maildir", "cur/1.h:2,")
    for name in ("Sent Items", "Lists.Py", "Lists.C", "Spam"):
        maildir(root / f".{name}", "cur/2.h:2,")
    words = (
        root,
        "--map",
        "Sent Items=Sent",
        "--map",
        "Lists=Old",
        "--exclude",
        "Spam",
    )
    imported(tmp_path / "data", *words)
    assert seen(tmp_path / "data").keys() == {"INBOX", "Sent", "Old/Py", "Old/C"}
    imported(
        tmp_path / "data",
        root,
        "--into",
        "Before",
        "--mailbox",
        "INBOX",
        "--mailbox",
        "Spam",
        account="bob@localhost",
    )
    assert seen(tmp_path / "data", "bob@localhost").keys() == {"Before", "Before/Spam"}


@pytest.mark.parametrize("words", [["--map", "x"], ["--map", "=x"]])
def test_a_map_that_is_none(words: list[str], tmp_path: Path) -> None:
    assert "OLD=NEW" in imported(tmp_path / "data", tmp_path, *words, status=2)


def test_more_keywords_than_a_mailbox_has_room_for(tmp_path: Path) -> None:
    lines = [f"From a Mon Jan  1 10:00:{n:02d} 2024\nX-Keywords: k{n}\nSubject: {n}\n\nx\n\n" for n in range(30)]
    message(tmp_path / "x.mbox", "".join(lines).encode())
    said = imported(tmp_path / "data", tmp_path / "x.mbox", status=1)
    assert said.count("is left out: a mailbox has room for 26") == 4
    assert sum(len(row[2]) for row in seen(tmp_path / "data")["INBOX"].messages) == 26
    assert len(octets_of(tmp_path / "data")) == 30


# --- mbox and .eml files


def test_a_directory_of_mbox_files(tmp_path: Path) -> None:
    octets = b"From a Mon Jan  1 10:00:00 2024\nStatus: RO\nX-Status: F\n" + ONE
    for name in ("Inbox", "Archive.sbd/2023", "Apple.mbox/mbox", "Lists/py.mbox"):
        message(tmp_path / "Mail" / name, octets)
    message(tmp_path / "Mail" / "Inbox.msf", b"// <!-- <mdb:mork:z v=1.4/> -->")
    imported(tmp_path / "data", tmp_path / "Mail")
    found = seen(tmp_path / "data")
    assert found.keys() == {"INBOX", "Archive/2023", "Apple", "Lists/py"}
    expected = (
        ONE.replace(b"\n", b"\r\n"),
        int(Flag.SEEN | Flag.FLAGGED),
        frozenset(),
        1704103200,
    )
    assert all(box.messages == (expected,) for box in found.values())


def test_what_is_wrong_in_an_mbox_file_is_told_with_its_place(tmp_path: Path) -> None:
    octets = b"From a Mon Jan  1 10:00:00 2024\n" + ONE + b"\nFrom a@b\nDate: Tue, 02 Jan 2024 10:00:00 +0000\n" + ONE
    path = message(tmp_path / "x.mbox", octets)
    assert f"note: {path}, octet 49: its From_ line has no date" in imported(tmp_path / "data", path, status=1)
    assert [row[3] for row in seen(tmp_path / "data")["INBOX"].messages] == [
        1704103200,
        1704189600,
    ]
    assert "\n0 messages imported" in imported(tmp_path / "data", path, status=1)


def test_mboxo_and_gzip(tmp_path: Path) -> None:
    octets = b"From a Mon Jan  1 10:00:00 2024\nSubject: x\n\n>From x\n>>From y\n"
    (tmp_path / "x.mbox.gz").write_bytes(gzip.compress(octets))
    imported(tmp_path / "data", tmp_path / "x.mbox.gz")
    imported(tmp_path / "data", tmp_path / "x.mbox.gz", "--mboxo", "--into", "O")
    assert octets_of(tmp_path / "data")[0].endswith(b"\r\nFrom x\r\n>From y\r\n")
    assert octets_of(tmp_path / "data", "O")[0].endswith(b"\r\nFrom x\r\n>>From y\r\n")


def test_several_eml_files_and_one_without_the_ending(tmp_path: Path) -> None:
    paths = [
        message(tmp_path / "a.eml"),
        message(tmp_path / "b.EML", b"Subject: two\r\n\r\nx\r\n"),
        message(tmp_path / "c"),
    ]
    assert "INBOX: 2 imported, 1 there already" in imported(tmp_path / "data", *paths)


@pytest.mark.parametrize("content", [b"\x00\x01\x02" * 100, b"", b"just a text\n", b"\x1f\x8b not gzip"])
def test_a_source_that_is_no_mail(content: bytes, tmp_path: Path) -> None:
    path = message(tmp_path / "what", content)
    said = imported(tmp_path / "data", path, status=1)
    assert "no mail is there" in said
    assert len(said.splitlines()) <= 4


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    assert "No such file or directory" in imported(tmp_path / "data", tmp_path / "nowhere", status=1)


# --- archives


def test_hard_links_in_a_tar(tmp_path: Path) -> None:
    root = maildir(tmp_path / "Maildir", "cur/1.h:2,")
    maildir(root / ".Copy")
    os.link(root / "cur/1.h:2,", root / ".Copy/cur/5.h:2,S")
    with tarfile.open(tmp_path / "x.tgz", "w:gz") as archive:
        archive.add(root, ".")
        assert any(member.islnk() for member in archive.getmembers())
    imported(tmp_path / "data", tmp_path / "x.tgz")
    assert octets_of(tmp_path / "data") == octets_of(tmp_path / "data", "Copy") == [ONE.replace(b"\n", b"\r\n")]


@pytest.mark.parametrize("name", ["../../../etc/evil.eml", "/etc/evil.eml", "a/../../b/evil.eml"])
def test_paths_that_lead_out_of_an_archive(name: str, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(ONE)
        archive.addfile(member, io.BytesIO(ONE))
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as zipped:
        zipped.writestr(name, ONE)
    before = sorted(path for path in tmp_path.rglob("*"))
    for archive_path in (tmp_path / "x.tar", tmp_path / "x.zip"):
        imported(tmp_path / "data", archive_path)
    outside = sorted(path for path in tmp_path.rglob("*") if not path.is_relative_to(tmp_path / "data"))
    assert outside == before
    for name_here in seen(tmp_path / "data"):
        assert ".." not in name_here


def test_a_truncated_archive_gives_what_is_whole(tmp_path: Path) -> None:
    root = maildir(tmp_path / "Maildir")
    for number in range(40):
        message(root / f"cur/{number}.h:2,", b"Subject: %d\n\n" % number + os.urandom(2000))
    with tarfile.open(tmp_path / "x.tgz", "w:gz") as archive:
        archive.add(root, "Maildir")
    whole = (tmp_path / "x.tgz").read_bytes()
    (tmp_path / "x.tgz").write_bytes(whole[: len(whole) // 2])
    said = imported(tmp_path / "data", tmp_path / "x.tgz", status=1)
    assert "damaged after" in said
    taken = len(octets_of(tmp_path / "data"))
    assert 5 < taken < 35
    (tmp_path / "x.tgz").write_bytes(whole)
    assert f"\n{40 - taken} messages imported" in imported(tmp_path / "data", tmp_path / "x.tgz")
    assert len(octets_of(tmp_path / "data")) == 40


def test_archives_that_become_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "ALWAYS_ALLOWED", 1024 * 1024)
    zeros = bytes(20 * 1024 * 1024)
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("a.eml", zeros)
    with tarfile.open(tmp_path / "x.tgz", "w:gz") as archive:
        member = tarfile.TarInfo("a.eml")
        member.size = len(zeros)
        archive.addfile(member, io.BytesIO(zeros))
    (tmp_path / "x.mbox.gz").write_bytes(gzip.compress(b"From a\n" + zeros))
    for name in ("x.zip", "x.tgz", "x.mbox.gz"):
        assert "decompresses to more than" in imported(tmp_path / "data", tmp_path / name, status=1)


def test_an_encrypted_member_is_told(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as zipped:
        zipped.writestr("a.eml", ONE)
        zipped.writestr("b.eml", ONE)
    octets = bytearray((tmp_path / "x.zip").read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        octets[octets.index(signature) + offset] |= 1
    (tmp_path / "x.zip").write_bytes(octets)
    said = imported(tmp_path / "data", tmp_path / "x.zip", status=1)
    assert "x.zip: a.eml: " in said
    assert "is encrypted" in said
    assert len(octets_of(tmp_path / "data")) == 1


# --- the command


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    root = maildir(tmp_path / "Maildir", "cur/1.h:2,", "cur/2.h:2,")
    maildir(root / ".New", "cur/1.h:2,")
    assert "3 messages would be imported" in imported(tmp_path / "data", root, "--dry-run")
    assert list((tmp_path / "data" / "mail").iterdir()) == []
    imported(tmp_path / "data", root / ".New")
    before = set((tmp_path / "data" / "mail").rglob("*"))
    assert "New: 1 would be imported" in imported(tmp_path / "data", root, "--dry-run")
    assert set((tmp_path / "data" / "mail").rglob("*")) == before


def test_the_summary_as_json(tmp_path: Path) -> None:
    root = maildir(tmp_path / "Maildir", "cur/1.h:2,", "cur/2.h:2,")
    (root / "cur/3.h:2,").symlink_to(root)
    (tmp_path / "data" / "mail").mkdir(parents=True)
    result = invoke("import", "alice", root, "--data", tmp_path / "data", "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["mailboxes"] == {"INBOX": {"imported": 2, "octets": 38, "known": 0, "failed": 0}}
    assert (document["imported"], document["complete"], document["dry_run"]) == (
        2,
        True,
        False,
    )
    assert document["troubles"][0]["place"] == str(root / "cur/3.h:2,")


def test_a_directory_that_holds_no_data(tmp_path: Path) -> None:
    result = invoke("import", "alice", tmp_path, "--data", tmp_path)
    assert result.exit_code == 1
    assert "is no data directory" in result.stderr
