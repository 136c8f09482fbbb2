"""The file `maildirsize`: its form, its readers and writers in several processes, and when it is not believed."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from mailstack.quota import QuotaLimit
from mailstack.store.maildir import maildirsize
from mailstack.store.maildir.layout import Folder, folder, make
from mailstack.store.maildir.maildirsize import CONDENSE, STALE, SizeFile, SizeFiles, Usage, count, definition

LIMIT = QuotaLimit(10_000, 100)


class Account:
    """A Maildir with messages, and a clock that the test moves."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = 2_000_000_000.0
        make(Folder("INBOX", path))
        make(folder(path, "Trash"))
        self.number = 0

    def message(self, octets: int, mailbox: str = "", directory: str = "cur", sized: bool = True) -> Path:
        self.number += 1
        name = f"170000000{self.number}.M1.host" + (f",S={octets},W={octets}" if sized else "")
        place = self.path / mailbox / directory / (name + (":2,S" if directory == "cur" else ""))
        place.write_bytes(b"x" * (1 if sized else octets))
        return place

    def file(self) -> SizeFile:
        return SizeFile(self.path, lambda: self.now)

    @property
    def content(self) -> bytes:
        return (self.path / "maildirsize").read_bytes()

    @content.setter
    def content(self, octets: bytes) -> None:
        (self.path / "maildirsize").write_bytes(octets)


@pytest.fixture
def account(tmp_path: Path) -> Account:
    return Account(tmp_path / "alice@example.org")


def test_counted_are_all_mailboxes_by_the_octets_of_their_files(account: Account) -> None:
    account.message(1000)
    account.message(200, directory="new")
    account.message(30, mailbox=".Trash")
    account.message(4, sized=False)
    (account.path / "cur" / ".hidden").write_bytes(b"xx")
    assert count(account.path) == Usage(1234, 4)
    assert account.file().usage(LIMIT) == Usage(1234, 4)
    assert account.content == b"10000S,100C\n1234 4\n"


@pytest.mark.parametrize(
    ("limit", "line"),
    [
        (QuotaLimit(5, 0), b"5S"),
        (QuotaLimit(0, 7), b"7C"),
        (QuotaLimit(5, 7), b"5S,7C"),
        (QuotaLimit(), b"0S"),
    ],
)
def test_the_first_line(limit: QuotaLimit, line: bytes) -> None:
    assert definition(limit) == line


def test_each_change_is_a_line(account: Account) -> None:
    file = account.file()
    assert file.add(LIMIT, 5, 1) == Usage(0, 0), "counted anew, since there was no file: the message is not on disk"
    assert file.add(LIMIT, 700, 1) == Usage(700, 1)
    assert file.add(LIMIT, -700, -1) == Usage(0, 0)
    assert account.content == b"10000S,100C\n0 0\n700 1\n-700 -1\n"


def test_lines_of_another_process_count(account: Account) -> None:
    ours, theirs = account.file(), account.file()
    ours.usage(LIMIT)
    theirs.add(LIMIT, 100, 1)
    assert ours.usage(LIMIT) == Usage(100, 1)
    theirs.add(LIMIT, 50, 1)
    assert ours.add(LIMIT, 7, 1) == Usage(157, 3)
    assert theirs.usage(LIMIT) == Usage(157, 3)
    theirs.recalculate(LIMIT)  # another file in its place
    assert ours.usage(LIMIT) == Usage(0, 0)
    theirs.recalculate(LIMIT)
    assert ours.add(LIMIT, 9, 1) == Usage(9, 1)
    assert account.content == b"10000S,100C\n0 0\n9 1\n"


def test_a_line_that_is_written_at_the_same_time_is_not_lost(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    file = account.file()
    file.usage(LIMIT)
    write = os.write

    def write_after_another(fd: int, octets: bytes) -> int:
        with (account.path / "maildirsize").open("ab") as other:
            other.write(b"1000 1\n")
        return write(fd, octets)

    monkeypatch.setattr(maildirsize.os, "write", write_after_another)
    file.add(LIMIT, 5, 1)
    monkeypatch.undo()
    assert file.usage(LIMIT) == Usage(1005, 2)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nonsense\n1 1\n",
        b"10000S,100C\n",
        b"10000S,100C",
        b"10000S,100C\n12 1\nrubbish\n",
        b"10000S,100C\n12 1\n\0\0\0\n",
        b"10000S,100C\n5 1\n-600 -2\n",
        b"10000S,100C\n" + b"1 1\n" * 20_000,
    ],
)
def test_a_broken_file_is_counted_anew(account: Account, content: bytes) -> None:
    account.message(321)
    account.content = content
    assert account.file().usage(LIMIT) == Usage(321, 1)
    assert account.content == b"10000S,100C\n321 1\n"


def test_what_others_write_is_read(account: Account) -> None:
    # As sprintf("%d %d\n") of maildrop and the padded lines of older programs.
    account.content = b"10000S,100C\n  4120      1\n-120 0\n33 1\n4"
    assert account.file().usage(LIMIT) == Usage(4033, 2), "the last line is not whole yet"


def test_another_limit_changes_the_first_line_and_nothing_else(account: Account) -> None:
    file = account.file()
    file.usage(LIMIT)
    file.add(LIMIT, 5, 1)
    more = QuotaLimit(20_000, 0)
    assert file.usage(more) == Usage(5, 1)
    assert account.content == b"20000S\n5 1\n"


def test_many_lines_become_one_before_others_count_anew(account: Account) -> None:
    file, reader = account.file(), account.file()
    file.usage(LIMIT)
    largest = 0
    for _ in range(2000):
        file.add(LIMIT, 1, 1)
        largest = max(largest, (account.path / "maildirsize").stat().st_size)
    assert reader.usage(LIMIT) == file.usage(LIMIT) == Usage(2000, 2000)
    assert CONDENSE / 2 < largest < 5120


def test_room_is_kept_until_the_message_is_there(account: Account) -> None:
    file = account.file()
    assert file.promise(LIMIT, 6000, 1)
    assert not file.promise(LIMIT, 6000, 1)
    assert file.promise(LIMIT, 4000, 1)
    file.withdraw(6000, 1)
    assert file.promise(LIMIT, 6000, 1)
    file.add(LIMIT, 4000, 1, promised=True)
    file.add(LIMIT, 6000, 1, promised=True)
    assert file.usage(LIMIT) == Usage(10_000, 2)
    assert not file.promise(LIMIT, 1, 1)


def test_the_number_of_messages_counts_too(account: Account) -> None:
    file = account.file()
    assert file.promise(QuotaLimit(0, 2), 10**12, 2)
    assert not file.promise(QuotaLimit(0, 2), 0, 1)


def test_grace_is_one_message_over(account: Account) -> None:
    file = account.file()
    assert file.promise(LIMIT, 9_999, 1)
    assert not file.promise(LIMIT, 50_000, 1)
    assert file.promise(LIMIT, 50_000, 1, grace=True)
    assert not file.promise(LIMIT, 1, 1, grace=True)


def test_many_threads_do_not_go_over(account: Account) -> None:
    file = account.file()
    taken: list[bool] = []

    def work() -> None:
        for _ in range(100):
            room = file.promise(LIMIT, 100, 1)
            if room:
                file.add(LIMIT, 100, 1, promised=True)
            taken.append(room)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (taken.count(True), len(taken)) == (100, 400)
    assert file.usage(LIMIT) == Usage(10_000, 100)


def test_an_old_count_refuses_nothing(account: Account) -> None:
    account.content = b"10000S,100C\n9000 1\n"
    os.utime(account.path / "maildirsize", (account.now, account.now))
    account.now += STALE - 1
    file = account.file()
    assert not file.promise(LIMIT, 2000, 1), "it is young, and one line"
    account.now += 2
    assert file.promise(LIMIT, 2000, 1)
    assert account.content == b"10000S,100C\n0 0\n"


def test_a_full_account_is_not_counted_each_time(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[Path] = []

    def counted(path: Path) -> Usage:
        counts.append(path)
        return Usage(9_999, 1)

    monkeypatch.setattr(maildirsize, "count", counted)
    account.content = b"10000S,100C\n9990 1\n9 0\n"
    file = account.file()
    for _ in range(5):
        assert not file.promise(LIMIT, 2000, 1)
        file.add(LIMIT, 0, 0)
    assert len(counts) == 1
    account.now += STALE
    assert not file.promise(LIMIT, 2000, 1)
    assert len(counts) == 2


def test_nobody_waits_for_a_count_and_what_comes_meanwhile_counts(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = account.file()
    file.usage(LIMIT)
    calls: list[Usage] = []

    def meanwhile(path: Path) -> Usage:
        found = count(path)
        if not calls:
            account.message(100)
            assert file.promise(LIMIT, 100, 1)
            file.add(LIMIT, 100, 1, promised=True)
        calls.append(found)
        return found

    monkeypatch.setattr(maildirsize, "count", meanwhile)
    assert file.recalculate(LIMIT) == Usage(100, 1)
    assert calls == [Usage(0, 0), Usage(100, 1)]
    assert account.content == b"10000S,100C\n100 1\n"


def test_while_mail_is_on_its_way_it_is_counted_under_the_lock(account: Account) -> None:
    file = account.file()
    assert file.promise(LIMIT, 100, 1)
    account.message(50)
    assert file.recalculate(LIMIT) == Usage(50, 1)


def test_what_is_at_hand_needs_no_count(account: Account) -> None:
    file = account.file()
    assert file.at_hand(LIMIT) is None
    assert not (account.path / "maildirsize").exists()
    file.usage(LIMIT)
    file.promise(LIMIT, 300, 1)
    assert file.at_hand(LIMIT) == Usage(300, 1)
    (account.path / "maildirsize").unlink()
    assert file.at_hand(LIMIT) is None


def test_an_account_without_directory_uses_nothing(tmp_path: Path) -> None:
    file = SizeFile(tmp_path / "nobody")
    assert file.usage(LIMIT) == Usage()
    assert file.promise(LIMIT, 10_000, 1)
    assert not file.promise(LIMIT, 10_000, 1)


def test_few_files_are_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maildirsize, "MAX_OPEN", 3)
    files = SizeFiles()
    before = len(os.listdir("/proc/self/fd"))
    for number in range(10):
        made = Account(tmp_path / str(number))
        files.get(made.path).usage(LIMIT)
    assert len(os.listdir("/proc/self/fd")) == before + 3
    assert files.get(made.path) is files.get(made.path)
    files.forget()
    assert len(os.listdir("/proc/self/fd")) == before
