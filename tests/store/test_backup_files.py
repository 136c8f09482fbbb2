"""Backups and what happens meanwhile: names that change, files that go, disks that are others or full."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from transcripts import result

from mailstack.auth.database import AccountDatabase
from mailstack.mail.address import Address
from mailstack.ports import AccountName, Change, Delivery, Envelope, Flag, FlagAction, Flags
from mailstack.queue.content import Files
from mailstack.queue.database import DATABASE, QueueDatabase
from mailstack.queue.items import Item, Placed
from mailstack.store.api import Store
from mailstack.store.backup import folder as folder_module
from mailstack.store.backup import places
from mailstack.store.backup.make import Made, Sources, make
from mailstack.store.backup.places import BackupError
from mailstack.store.backup.restore import LEAST_GAP, Restored, restore
from mailstack.store.backup.verify import verify
from mailstack.store.maildir import locks
from mailstack.store.workers import InlineWorkers
from mailstack.testing.log import RecordingLog

ALICE = AccountName("alice@example.org")
COUNT = 5

Seen = dict[int, tuple[bytes, int, frozenset[str], float]]
"""UID → octets, system flags, keywords, internal date."""


class Quiet:
    def changed(self, change: Change) -> None:
        """It only has the mailbox open."""


def ignore(what: str, messages: int) -> None:
    """Nobody looks at the progress."""


class Life:
    """One life of a server on the data."""

    def __init__(self, data: Path, account: AccountName = ALICE) -> None:
        self.store = Store(data, InlineWorkers(), RecordingLog())
        self.account = result(self.store.account(account))
        self.name = account

    def deliver(self, count: int) -> None:
        for number in range(count):
            sink = self.store.spool.sink()
            result(sink.write(b"Subject: %d\r\n\r\n" % number))
            assert result(self.store.deliver(result(sink.finish()), [Delivery(self.name, "INBOX", b"")])) == [None]

    def flag(self, uid: int, keyword: str) -> None:
        inbox = result(self.account.open("INBOX", Quiet()))
        result(inbox.store_flags([uid], FlagAction.ADD, Flags(Flag.SEEN, frozenset({keyword})), None))

    def see(self, mailbox: str = "INBOX") -> Seen:
        found = result(self.account.open(mailbox, Quiet()))
        uids = list(found.uids)
        result(found.measure(uids))
        octets = result(found.examine(uids, lambda octets: octets[:]))
        keywords = list(enumerate(found.keywords))
        seen: Seen = {}
        for uid, content in zip(uids, octets, strict=True):
            flags, date = found.flags(uid), found.internal_date(uid)
            assert flags is not None and date is not None and content is not None
            names = frozenset(name for number, name in keywords if flags >> 6 + number & 1)
            seen[uid] = (content, flags & 31, names, date)
        return seen

    def end(self) -> None:
        result(self.store.close())


def live(data: Path, *acts: Callable[[Life], object], account: AccountName = ALICE) -> None:
    life = Life(data, account)
    for act in acts:
        act(life)
    life.end()


def seen(data: Path, mailbox: str = "INBOX", account: AccountName = ALICE) -> Seen:
    life = Life(data, account)
    try:
        return life.see(mailbox)
    finally:
        life.end()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("filled") / "data"
    live(data, lambda life: life.deliver(COUNT), lambda life: life.flag(2, "Work"), lambda life: life.flag(3, "Play"))
    for number, path in enumerate(sorted((data / "mail" / ALICE / "cur").iterdir())):
        os.utime(path, (1_000_000_000 + number, 1_000_000_000 + number))
    (data / "mail" / ALICE / "mailstack-index").unlink()
    return data


@pytest.fixture
def data(filled: Path, tmp_path: Path) -> Path:
    return shutil.copytree(filled, tmp_path / "data")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "backups").mkdir()
    return tmp_path / "backups"


def back_up(data: Path, target: Path, *, verify: bool = False) -> Made:
    accounts = {path.name: path for path in (data / "mail").iterdir()}
    return make(target, Sources(accounts, whole=True, queue=None), verify=verify, progress=ignore)


def put_back(made: Made, data: Path, account: AccountName = ALICE) -> list[Restored]:
    source = made.path / "mail" / ALICE
    return list(restore(source, data / "mail" / account, mailbox=None, other_account=account != ALICE, age=0))


def before_link(monkeypatch: pytest.MonkeyPatch, act: Callable[[str], None]) -> None:
    """`act` gets the path of each file just before it is taken."""
    link = os.link

    def slower(source: Path, target: Path, **options: bool) -> None:
        act(os.fspath(source))
        link(source, target, **options)

    monkeypatch.setattr(folder_module.os, "link", slower)


# --- meanwhile


def test_a_message_that_is_renamed_meanwhile_is_found(
    data: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    renamed: list[str] = []

    def act(path: str) -> None:
        if len(renamed) < 2 and path.endswith(":2,"):
            renamed.append(path)
            os.rename(path, path + "F")

    before_link(monkeypatch, act)
    made = back_up(data, target)
    assert len(renamed) == 2 and made.manifest.messages == COUNT and made.totals.gone == 0
    copied = seen(shutil.copytree(made.path, target.parent / "copy"))
    assert list(copied) == [1, 2, 3, 4, 5]
    assert sum(bool(flags & Flag.FLAGGED) for _, flags, _, _ in copied.values()) == 2


def test_a_message_that_goes_meanwhile_has_no_record(data: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone: list[str] = []

    def act(path: str) -> None:
        if not gone:
            gone.append(path)
            os.unlink(path)

    before_link(monkeypatch, act)
    made = back_up(data, target, verify=True)
    assert (made.manifest.messages, made.totals.gone, made.problems) == (COUNT - 1, 1, [])
    records = (made.path / "mail" / ALICE / "dovecot-uidlist").read_text().splitlines()[1:]
    assert len(records) == COUNT - 1
    assert os.path.basename(gone[0]).partition(":")[0] not in "".join(records)


def test_a_message_that_comes_meanwhile_is_not_half_there(
    data: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    came: list[str] = []

    def act(path: str) -> None:
        if not came:
            came.append(path)
            live(data, lambda life: life.deliver(1), lambda life: life.see())

    before_link(monkeypatch, act)
    made = back_up(data, target)
    assert verify(made.path, made.manifest, ignore) == []
    assert list(seen(shutil.copytree(made.path, target.parent / "copy"))) == [1, 2, 3, 4, 5]


def test_a_mailbox_that_is_renamed_meanwhile_is_there_once(
    data: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live(data, lambda life: result(life.account.create("Before")), lambda life: life.see("Before"))
    moved: list[str] = []

    def act(path: str) -> None:
        if not moved:
            moved.append(path)
            live(data, lambda life: result(life.account.rename("Before", "After")))

    before_link(monkeypatch, act)
    made = back_up(data, target)
    names = {path.name for path in (made.path / "mail" / ALICE).iterdir()}
    assert ".After" in names and ".Before" not in names
    assert made.totals.notes == [f"{data / 'mail' / ALICE / '.Before'}: removed meanwhile"]


def test_an_account_that_goes_meanwhile_is_left_out(data: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    live(data, lambda life: life.deliver(1), account=AccountName("bob@example.org"))
    bob = data / "mail" / "bob@example.org"
    before_link(monkeypatch, lambda path: shutil.rmtree(bob, ignore_errors=True))
    accounts = {ALICE: data / "mail" / ALICE, "bob@example.org": bob}
    made = make(target, Sources(accounts, whole=True), verify=False, progress=ignore)
    assert list(made.manifest.accounts) == [ALICE]
    assert made.totals.notes == ["bob@example.org: removed meanwhile"]
    assert not (made.path / "mail" / "bob@example.org").exists()


def test_a_lock_that_is_not_given_back_keeps_no_backup_from_being_made(
    data: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data / "mail" / ALICE / "dovecot-uidlist.lock").write_text(f"{os.getpid()}:{os.uname().nodename}")
    monkeypatch.setattr(locks, "PATIENCE", 0.01)
    made = back_up(data, target)
    assert ["read without it" in note for note in made.totals.notes] == [True]
    assert seen(shutil.copytree(made.path, target.parent / "copy")) != {}
    assert verify(made.path, made.manifest, ignore) == []


def test_what_is_no_mailbox_is_copied_and_links_are_told(data: Path, target: Path, tmp_path: Path) -> None:
    account = data / "mail" / ALICE
    (account / "sieve" / "tmp").mkdir(parents=True)
    (account / "sieve" / "main.sieve").write_text("keep;")
    (account / ".dovecot.sieve").write_text("keep;")
    (account / ".Out").symlink_to(tmp_path)
    (account / ".half" / "new").mkdir(parents=True)
    (account / ".half" / "new" / "1.message").write_text("x")
    made = back_up(data, target)
    copy = made.path / "mail" / ALICE
    assert [(copy / name).read_text() for name in ("sieve/main.sieve", ".dovecot.sieve")] == ["keep;"] * 2
    assert (copy / ".half" / "new" / "1.message").exists()
    assert made.totals.notes == [f"{account / '.Out'}: a symbolic link; what it leads to is not in the backup"]
    assert not list(copy.glob("mailstack-index*")) and not list(copy.glob("*.lock"))


# --- disks


def other_device(monkeypatch: pytest.MonkeyPatch, data: Path) -> None:
    def refuse(path: str) -> None:
        if path.startswith(os.fspath(data)):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)

    before_link(monkeypatch, refuse)


def test_on_another_device_what_the_last_backup_has_is_linked(
    data: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other_device(monkeypatch, data)
    first = back_up(data, target)
    live(data, lambda life: life.deliver(1), lambda life: life.flag(1, "New"), lambda life: life.see())
    second = back_up(data, target)
    assert [(made.totals.linked, made.totals.copied) for made in (first, second)] == [(0, COUNT), (COUNT, 1)]
    inodes = [
        {path.stat().st_ino for path in (made.path / "mail" / ALICE / "cur").iterdir()} for made in (first, second)
    ]
    assert inodes[0] < inodes[1]
    shutil.rmtree(first.path)
    assert verify(second.path, second.manifest, ignore) == []
    assert seen(shutil.copytree(second.path, target.parent / "copy")) == seen(data)


def test_a_full_disk_leaves_nothing(data: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other_device(monkeypatch, data)

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(folder_module.os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device"):
        back_up(data, target)
    assert places.places(target) == []
    monkeypatch.undo()
    assert back_up(data, target).cleaned == 0


def test_a_message_that_cannot_be_read_is_told(data: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = str(sorted((data / "mail" / ALICE / "cur").iterdir())[0])

    def bad_sector(path: str) -> None:
        if path == broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)

    before_link(monkeypatch, bad_sector)
    made = back_up(data, target)
    assert made.manifest.missing == (broken,)
    assert places.read(made.path) == made.manifest
    assert made.manifest.messages == COUNT - 1 and verify(made.path, made.manifest, ignore) == []


def test_the_accounts_are_copied_while_they_are_written(data: Path, target: Path) -> None:
    database = AccountDatabase(data / "accounts.sqlite3")
    database.add_accounts([f"a{number}@example.org" for number in range(500)], "x")
    writing = sqlite3.connect(data / "accounts.sqlite3", isolation_level=None)
    writing.execute("BEGIN IMMEDIATE")
    writing.execute("DELETE FROM accounts")
    sources = Sources({}, whole=True, database=data / "accounts.sqlite3")
    made = make(target, sources, verify=False, progress=ignore)
    writing.execute("ROLLBACK")
    writing.close()
    database.close()
    copy = AccountDatabase(made.path / places.ACCOUNTS)
    assert len(copy.accounts()) == 500
    copy.close()


def test_the_queue_is_copied_with_its_database(data: Path, target: Path) -> None:
    """ "gone" left while the files were copied, "new" came after the database was; "half" is being written."""
    queue = data / "queue"
    files, database = Files(queue), QueueDatabase(queue / DATABASE)
    envelope = Envelope(None, (Address("carol", "example.net"),))

    def add(name: str) -> None:
        offset = files.write(name, envelope, 1.0, [b"Subject: x\r\n\r\n"])
        if name != "new":
            item = Item(name, envelope, 1.0, 2.0, offset, 14)
            place = Placed("example.net", (0,), 1.0)
            database.transaction(lambda: database.add(item, [place], None))

    for name in ("gone", "new", "waits"):
        add(name)
    files.remove("gone")
    (queue / "tmp" / "half").touch()
    made = make(target, Sources({}, whole=True, queue=queue), verify=False, progress=ignore)
    database.close()
    files.close()
    assert made.manifest.queued == 1
    assert sorted(path.name for path in (made.path / "queue").iterdir()) == ["queue.sqlite3", "waits.msg"]
    copy = QueueDatabase(made.path / "queue" / DATABASE)
    assert set(copy.ids()) == {"waits"}
    copy.close()
    assert verify(made.path, made.manifest, ignore) == []


def test_a_queue_whose_database_is_lost_is_copied_as_well(data: Path, target: Path) -> None:
    (data / "queue").mkdir()
    (data / "queue" / "1.msg").write_text("mailstack-queue {}")
    made = make(target, Sources({}, whole=True, queue=data / "queue"), verify=False, progress=ignore)
    assert made.manifest.queued == 1
    assert [path.name for path in (made.path / "queue").iterdir()] == ["1.msg"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "cannot be read"),
        ('{"format": 9}', "has format 9"),
        ("[]", "is not what"),
        ('{"format": 1}', "is not what"),
    ],
)
def test_a_manifest_that_is_none(target: Path, content: str, says: str) -> None:
    (target / places.MANIFEST).write_text(content)
    with pytest.raises(BackupError, match=says):
        places.read(target)


# --- back again


def test_into_nothing_all_is_the_same(data: Path, target: Path) -> None:
    before, made = seen(data), back_up(data, target)
    shutil.rmtree(data / "mail" / ALICE)
    left = data / "mail" / ALICE / "tmp" / f"restore.999999999.ab.{os.uname().nodename}"  # by one that was killed
    left.mkdir(parents=True)
    assert all(done.same_uids for done in put_back(made, data))
    assert seen(data) == before and not left.exists()
    uidlist = (data / "mail" / ALICE / "dovecot-uidlist").read_text()
    assert f" N{COUNT + 1 + LEAST_GAP} " in uidlist  # UIDs that may have been given after the backup stay unused
    assert seen(shutil.copytree(made.path, target.parent / "copy")) == before


def test_what_is_missing_comes_with_new_uids_and_its_keywords(data: Path, target: Path) -> None:
    books = data / "mail" / ALICE / "maildirsize"
    books.write_text("100S\n0 0\n")
    before, made = seen(data), back_up(data, target)
    assert not (made.path / "mail" / ALICE / books.name).exists()
    (data / "mail" / ALICE / "dovecot-keywords").write_text("0 Other\n1 Play\n")
    for name in os.listdir(data / "mail" / ALICE / "cur"):
        os.unlink(data / "mail" / ALICE / "cur" / name)
    live(data, lambda life: life.deliver(1), lambda life: life.see())
    done = put_back(made, data)[0]
    assert (done.added, done.there, done.same_uids) == (COUNT, 0, False)
    assert not books.exists()  # what is used is counted anew
    after = seen(data)
    assert list(after) == [6, 7, 8, 9, 10, 11]
    records = (data / "mail" / ALICE / "dovecot-uidlist").read_text().splitlines()[1:]
    old = {os.path.basename(path).partition(":")[0] for path in (made.path / "mail" / ALICE / "cur").iterdir()}
    given = [line.partition(":")[2] for line in records if int(line.split()[0]) > COUNT]
    assert not old & set(given)  # who knows the old names knows UIDs that must not come back
    assert [after[uid + 6] for uid in before] == list(before.values())
    assert [(again.added, again.there) for again in put_back(made, data)][0] == (0, COUNT)
    assert seen(data) == after


def test_a_keyword_without_room_is_told(data: Path, target: Path) -> None:
    made = back_up(data, target)
    live(data, lambda life: life.see(), account=AccountName("bob@example.org"))
    bob = data / "mail" / "bob@example.org"
    (bob / "dovecot-keywords").write_text("".join(f"{number} k{number}\n" for number in range(25)))
    live(data, lambda life: life.deliver(1), lambda life: life.see(), account=AccountName("bob@example.org"))
    done = put_back(made, data, AccountName("bob@example.org"))[0]
    assert (done.added, len(done.notes)) == (COUNT, 1)
    assert "no room for the keyword" in done.notes[0]


def test_an_interrupted_restoration_is_finished_by_the_next(
    data: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, made = seen(data), back_up(data, target)
    shutil.rmtree(data / "mail" / ALICE)
    rename, renamed = Path.rename, []

    def interrupted(self: Path, place: Path) -> Path:
        if self.parent.name.startswith("restore."):
            if len(renamed) == 2:
                raise KeyboardInterrupt
            renamed.append(place)
        return rename(self, place)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        put_back(made, data)
    monkeypatch.undo()
    account = data / "mail" / ALICE
    assert list((account / "tmp").iterdir()) == [] and not (account / "dovecot-uidlist.lock").exists()
    put_back(made, data)
    after = seen(data)
    assert sorted(after.values()) == sorted(before.values())
    assert sum(uid in before for uid in after) == 2  # the others are new messages: no UID is given twice


def test_two_mailboxes_with_one_id_never_are(data: Path, target: Path) -> None:
    live(data, lambda life: life.see("Junk"))
    made = back_up(data, target)
    live(data, lambda life: result(life.account.rename("Junk", "Old junk")))
    assert all(done.same_uids for done in put_back(made, data)[1:])
    ids = [(data / "mail" / ALICE / name / "dovecot-uidlist").read_text().split()[3] for name in (".Junk", ".Old junk")]
    assert len(set(ids)) == 2
