"""Out and in again: octets, flags, keywords, dates and mailboxes are what they were, in every form."""

from __future__ import annotations

import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import PROGRAM, environment
from server_process import REPOSITORY
from transferred import Seen, exported, fill, imported, seen

FORMS = ("maildir", "mbox", "eml", "tar")


@pytest.fixture(scope="module")
def data(make_directory: Callable[[], Path]) -> Path:
    data = make_directory()
    fill(data)
    return data


def contents(mailboxes: dict[str, Seen]) -> dict[str, object]:
    return {name: mailbox.messages for name, mailbox in mailboxes.items()}


def piped(data: Path, form: str, target: Path) -> None:
    with target.open("wb") as file:
        done = subprocess.run(
            [*PROGRAM, "export", "alice", "-", "--format", form, "--data", data],
            stdout=file, stderr=subprocess.PIPE, cwd=REPOSITORY, env=environment(),
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("form", FORMS)
def test_out_and_in_again(form: str, data: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    assert "25 messages exported" in exported(data, target, "--format", form)
    assert "25 messages imported" in imported(tmp_path / "in", target)
    assert contents(seen(tmp_path / "in")) == contents(seen(data))
    assert "0 messages imported" in imported(tmp_path / "in", target), "the second run took something again"
    assert contents(seen(tmp_path / "in")) == contents(seen(data))


@pytest.mark.parametrize("form", ["mbox", "tar"])
def test_through_a_pipe(form: str, data: Path, tmp_path: Path) -> None:
    piped(data, form, tmp_path / "out.tar")
    imported(tmp_path / "in", tmp_path / "out.tar")
    assert contents(seen(tmp_path / "in")) == contents(seen(data))


def test_what_a_maildir_says_of_mailboxes(data: Path, tmp_path: Path) -> None:
    exported(data, tmp_path / "out")
    imported(tmp_path / "in", tmp_path / "out")
    assert seen(tmp_path / "in") == seen(data)
    assert (tmp_path / "out" / ".&ZeVnLIqe-.&MOEw,DDr-" / "cur").is_dir()


@pytest.mark.parametrize("form", FORMS[:3])
def test_a_second_export_adds_what_is_new_and_touches_nothing_else(form: str, data: Path, tmp_path: Path) -> None:
    mine, target = tmp_path / "mine", tmp_path / "out"
    subprocess.run(["cp", "-a", data, mine], check=True)
    exported(mine, target, "--format", form)
    before = {path: path.stat().st_mtime_ns for path in target.rglob("*.eml")}
    (tmp_path / "one.eml").write_bytes(b"Subject: late\n\nx\n")
    imported(mine, tmp_path / "one.eml", "--into", "Sent")
    assert "\n1 messages exported" in exported(mine, target, "--format", form)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    imported(tmp_path / "in", target)
    assert contents(seen(tmp_path / "in")) == contents(seen(mine))


def test_a_zip_of_it(data: Path, tmp_path: Path) -> None:
    exported(data, tmp_path / "out", "--format", "mbox")
    with zipfile.ZipFile(tmp_path / "out.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((tmp_path / "out").rglob("*.mbox")):
            archive.write(path, path.relative_to(tmp_path / "out"))
    imported(tmp_path / "in", tmp_path / "out.zip")
    assert contents(seen(tmp_path / "in")) == contents(seen(data))


@pytest.mark.parametrize(
    ("form", "path", "content"),
    [
        ("mbox", "INBOX.mbox", "From somebody else"),
        ("eml", "INBOX/00000001.eml", "Subject: somebody else's\n"),
    ],
)
def test_files_of_others_are_left_alone(form: str, path: str, content: str, data: Path, tmp_path: Path) -> None:
    place = tmp_path / "out" / path
    place.parent.mkdir(parents=True)
    place.write_text(content)
    said = exported(data, tmp_path / "out", "--format", form, status=1)
    assert "not taken: INBOX: " in said
    assert place.read_text() == content
    assert "Sent: 3 exported" in said, "the other mailboxes are exported"


def test_an_mbox_file_that_was_changed_is_left_alone(data: Path, tmp_path: Path) -> None:
    exported(data, tmp_path / "out", "--format", "mbox")
    place = tmp_path / "out" / "Sent.mbox"
    place.write_bytes(place.read_bytes() + b"\n")
    before = place.read_bytes()
    assert "was changed since" in exported(data, tmp_path / "out", "--format", "mbox", status=1)
    assert place.read_bytes() == before


def test_only_the_mailboxes_that_are_named(data: Path, tmp_path: Path) -> None:
    exported(data, tmp_path / "out", "--mailbox", "Sent")
    imported(tmp_path / "in", tmp_path / "out")
    assert seen(tmp_path / "in").keys() == {"Sent"}
    assert "there is no mailbox Nowhere" in exported(data, tmp_path / "out", "--mailbox", "Nowhere", status=1)


def test_a_tar_is_not_written_over(data: Path, tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_text("mine")
    assert "is there already" in exported(data, tmp_path / "x.tar", "--format", "tar", status=1)
    assert (tmp_path / "x.tar").read_text() == "mine"
