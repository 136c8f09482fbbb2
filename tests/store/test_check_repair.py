"""Each damage that a check knows: it is found, mended, and nothing else changes."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest
from command_line import invoke
from transcripts import result

from mailstack.mail.address import Address
from mailstack.ports import AccountName, Change, Delivery, Envelope, Flag, FlagAction, Flags
from mailstack.queue.content import Files
from mailstack.queue.database import COMPLETE, DATABASE, QueueDatabase
from mailstack.queue.items import Item, Placed
from mailstack.store.api import Store
from mailstack.store.check import data as data_module
from mailstack.store.check import folder as folder_module
from mailstack.store.check.account import check_account
from mailstack.store.check.findings import Finding, Kind, Mending
from mailstack.store.check.repair import repair_account, repair_data
from mailstack.store.index import FILE as INDEX
from mailstack.store.maildir import keywords, locks
from mailstack.store.workers import InlineWorkers
from mailstack.testing.log import RecordingLog

ALICE = AccountName("alice@example.org")
COUNT = 6
LONG_AGO = 1_600_000_000


class Quiet:
    def changed(self, change: Change) -> None:
        """It only has the mailbox open."""


def opened(data: Path, mailbox: str = "INBOX", settled: bool = False) -> dict[str, tuple[int, int]]:
    """A life of a server: digest of each message's octets → its UID and flags."""
    store = Store(data, InlineWorkers(), RecordingLog())
    found = result(result(store.account(ALICE)).open(mailbox, Quiet()))
    if settled:
        for directory in ("new", "cur"):
            os.utime(found.files.path / directory, (LONG_AGO, LONG_AGO))
        result(found.refresh())
        result(found.measure(found.uids))
    digests = result(found.examine(found.uids, lambda octets: hashlib.sha256(octets[:]).hexdigest()))
    seen = {digest or "": (uid, found.flags(uid) or 0) for uid, digest in zip(found.uids, digests, strict=True)}
    assert "" not in seen and len(seen) == len(found.uids)
    result(store.close())
    return seen


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """INBOX with six messages, UIDs 1 to 6, the second seen, flagged and with a keyword."""
    data = tmp_path_factory.mktemp("filled") / "data"
    store = Store(data, InlineWorkers(), RecordingLog())
    account = result(store.account(ALICE))
    for number in range(COUNT):
        sink = store.spool.sink()
        result(sink.write(b"Subject: %d\r\n\r\n" % number))
        assert result(store.deliver(result(sink.finish()), [Delivery(ALICE, "INBOX", b"")])) == [None]
    inbox = result(account.open("INBOX", Quiet()))
    result(inbox.store_flags([2], FlagAction.ADD, Flags(Flag.SEEN, frozenset({"Work"})), None))
    result(account.create("Lists/Py"))
    result(store.close())
    return data


@pytest.fixture(autouse=True)
def nobody_else_works_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_module, "PATIENCE", 0)


@pytest.fixture
def account(filled: Path, tmp_path: Path) -> Path:
    return shutil.copytree(filled, tmp_path / "data") / "mail" / ALICE


def look(account: Path, deep: bool = True) -> list[Finding]:
    return list(check_account(ALICE, account, deep=deep, progress=lambda what, messages: None))


def wrong(account: Path) -> list[Kind]:
    return [finding.kind for finding in look(account) if finding.wrong]


def files(account: Path) -> list[Path]:
    """The messages' files in the order of their UIDs."""
    return sorted((account / "cur").iterdir())


def edit_uidlist(account: Path, edit: Callable[[list[str]], list[str]]) -> None:
    path = account / "dovecot-uidlist"
    path.write_text("".join(edit(path.read_text().splitlines(keepends=True))))


# --- damages: what is done to the account, and which UIDs the messages have after the repair

Damage = Callable[[Path], None]
SAME = [1, 2, 3, 4, 5, 6]


def no_uidlist(account: Path) -> None:
    (account / "dovecot-uidlist").unlink()


def broken_header(account: Path) -> None:
    edit_uidlist(account, lambda lines: ["nothing\n", *lines[1:]])


def broken_line(account: Path) -> None:
    edit_uidlist(account, lambda lines: [*lines[:3], "\0\0\0\n", *lines[4:]])


def torn_line(account: Path) -> None:
    edit_uidlist(account, lambda lines: [*lines, "7 :179"])


def uid_twice(account: Path) -> None:
    edit_uidlist(account, lambda lines: [*lines[:6], lines[6].replace("6 :", "5 :")])


def uids_backwards(account: Path) -> None:
    edit_uidlist(account, lambda lines: [lines[0], *reversed(lines[1:])])


def no_record(account: Path) -> None:
    edit_uidlist(account, lambda lines: [*lines[:2], *lines[3:]])


def size_wrong(account: Path) -> None:
    path = files(account)[3]
    path.rename(path.with_name(path.name.replace(",S=", ",S=9")))
    edit_uidlist(
        account, lambda lines: [line.replace(",S=", ",S=9") if line.startswith("4 ") else line for line in lines]
    )


def crlf_size_wrong(account: Path) -> None:
    path = files(account)[3]
    path.rename(path.with_name(path.name.replace(",W=", ",W=9")))
    edit_uidlist(
        account, lambda lines: [line.replace(",W=", ",W=9") if line.startswith("4 ") else line for line in lines]
    )


def no_keyword(account: Path) -> None:
    (account / "dovecot-keywords").unlink()


def no_tmp(account: Path) -> None:
    shutil.rmtree(account / "tmp")


def no_mark(account: Path) -> None:
    (account / ".Lists.Py" / "maildirfolder").unlink()


def half_a_folder(account: Path) -> None:
    shutil.rmtree(account / ".Lists.Py" / "cur")


def dead_lock(account: Path) -> None:
    lock = account / "dovecot-uidlist.lock"
    lock.write_text(f"999999999:{os.uname().nodename}")
    os.utime(lock, (LONG_AGO, LONG_AGO))


def validity_file_wrong(account: Path) -> None:
    (account / "dovecot-uidvalidity").write_text("00000001")


def validity_files_two(account: Path) -> None:
    (account / "dovecot-uidvalidity.00000001").touch()


def id_twice(account: Path) -> None:
    shutil.copytree(account / ".Lists.Py", account / ".Copy")


def index_no_database(account: Path) -> None:
    (account / INDEX).write_bytes(b"nothing" * 1000)


def index_disagrees(account: Path) -> None:
    opened(account.parent.parent, settled=True)
    path = files(account)[0]
    path.rename(path.with_name(path.name + "T"))
    path.with_name(path.name + "T").rename(path.with_name(path.name.replace(":2,", ":2,F")))
    for directory in ("new", "cur"):
        os.utime(account / directory, (LONG_AGO, LONG_AGO))


DAMAGES: tuple[tuple[Damage, Kind, list[int]], ...] = (
    (no_uidlist, Kind.UIDLIST_MISSING, SAME),
    (broken_header, Kind.UIDLIST_BROKEN, SAME),
    (broken_line, Kind.UIDLIST_BROKEN, [1, 2, 7, 4, 5, 6]),
    (torn_line, Kind.UIDLIST_TORN, SAME),
    (uid_twice, Kind.UID_TWICE, [1, 2, 3, 4, 6, 7]),
    (uids_backwards, Kind.UID_ORDER, SAME),
    (no_record, Kind.UID_NONE, [1, 7, 3, 4, 5, 6]),
    (size_wrong, Kind.SIZE_WRONG, [1, 2, 3, 7, 5, 6]),
    (crlf_size_wrong, Kind.SIZE_WRONG, [1, 2, 3, 7, 5, 6]),
    (no_keyword, Kind.KEYWORD_UNKNOWN, SAME),
    (no_tmp, Kind.DIRECTORY_MISSING, SAME),
    (no_mark, Kind.DIRECTORY_MISSING, SAME),
    (half_a_folder, Kind.DIRECTORY_MISSING, SAME),
    (dead_lock, Kind.LOCK_LEFT, SAME),
    (validity_file_wrong, Kind.UIDVALIDITY, SAME),
    (validity_files_two, Kind.UIDVALIDITY, SAME),
    (id_twice, Kind.ID_TWICE, SAME),
    (index_no_database, Kind.INDEX_BROKEN, SAME),
    (index_disagrees, Kind.INDEX_WRONG, SAME),
)


def test_nothing_is_wrong_with_what_the_server_wrote(account: Path) -> None:
    assert look(account) == []


@pytest.mark.parametrize(("damage", "kind", "uids"), DAMAGES, ids=lambda value: getattr(value, "__name__", ""))
def test_damage_is_found_and_mended(
    account: Path, filled: Path, tmp_path: Path, damage: Damage, kind: Kind, uids: list[int]
) -> None:
    data = account.parent.parent
    pristine = opened(shutil.copytree(filled, tmp_path / "pristine"))
    damage(account)
    assert set(wrong(account)) - {Kind.UID_NONE} == {kind} - {Kind.UID_NONE} and kind in wrong(account)
    done = repair_account(ALICE, account, deep=True, progress=lambda what, messages: None)
    assert kind in {finding.kind for finding in done.mended}
    assert (done.left, done.reasons, wrong(account)) == ([], {}, [])
    after = opened(data)
    assert after.keys() == pristine.keys()
    assert [after[digest][0] for digest in pristine] == uids
    assert wrong(account) == []


def test_an_index_that_lacks_a_message(account: Path) -> None:
    opened(account.parent.parent, settled=True)
    assert wrong(account) == []
    (account / "cur" / "1700000000.M1P1.other:2,").write_bytes(b"x\n")
    for directory in ("new", "cur"):
        os.utime(account / directory, (LONG_AGO, LONG_AGO))
    (found,) = [finding for finding in look(account) if finding.kind is Kind.INDEX_WRONG]
    assert found.what == "the index has 0 messages that are gone, and lacks 1: 1700000000.M1P1.other"
    repair_account(ALICE, account, deep=True, progress=lambda what, messages: None)
    assert wrong(account) == [] and len(opened(account.parent.parent)) == COUNT + 1


def test_a_disk_that_cannot_be_written_is_the_reason(account: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_keyword(account)

    def refuse(path: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(keywords, "name_letters", refuse)
    (account / "maildirsize").touch()
    done = repair_account(ALICE, account, deep=False, progress=lambda what, messages: None)
    assert [done.reasons[finding] for finding in done.left] == ["Read-only file system"]
    assert (account / "maildirsize").exists()  # nothing was changed, so nothing need be counted anew


def test_a_lock_that_is_not_given_back(account: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "PATIENCE", 0.01)
    no_record(account)
    lock = account / "dovecot-uidlist.lock"
    lock.write_text(f"{os.getpid()}:{os.uname().nodename}")
    assert wrong(account) == [Kind.UID_NONE]
    done = repair_account(ALICE, account, deep=False, progress=lambda what, messages: None)
    assert [finding.kind for finding in done.left] == [Kind.UID_NONE]
    assert "is held by another program" in done.reasons[done.left[0]]
    lock.unlink()
    assert repair_account(ALICE, account, deep=False, progress=lambda what, messages: None).left == []


def test_two_files_of_one_name_are_two_messages(account: Path) -> None:
    path = files(account)[1]
    twin = path.with_name(path.name.replace(":2,", ":2,F"))
    twin.write_bytes(b"Subject: another\r\n\r\n")
    assert wrong(account) == [Kind.TWINS, Kind.SIZE_WRONG]
    done = repair_account(ALICE, account, deep=True, progress=lambda what, messages: None)
    assert done.left == [] and wrong(account) == []
    after = opened(account.parent.parent)
    assert sorted(uid for uid, _ in after.values()) == [1, 2, 3, 4, 5, 6, 7]
    assert sorted(flags & 31 for _, flags in after.values()) == [0, 0, 0, 0, 0, Flag.SEEN, Flag.SEEN | Flag.FLAGGED]


@pytest.mark.parametrize(
    ("directory", "name"),
    [
        (".Entwürfe", "Entwürfe"),
        (".a..b", "a/_/b"),
        (".&AOQ", "&AOQ"),
        (".INBOX", "INBOX 2"),
        (".\udcff", "_"),
    ],
)
def test_a_folder_that_no_mailbox_can_be(account: Path, directory: str, name: str) -> None:
    shutil.copytree(account / "cur", account / directory / "cur")
    assert wrong(account) == [Kind.BAD_NAME]
    done = repair_account(ALICE, account, deep=False, progress=lambda what, messages: None)
    assert done.left == [] and wrong(account) == []
    assert len(opened(account.parent.parent, name)) == COUNT


def test_what_is_old_in_tmp_is_removed(account: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = account.parent.parent
    (account / "tmp" / "1.half").write_text("half")
    (account / "tmp" / "restore.1.ab.host").mkdir()
    (account / "tmp" / "restore.1.ab.host" / "0").write_text("a copy")
    (account / "tmp" / "somebody's").mkdir()
    (account / "dovecot-keywords.1.ab.tmp").write_text("half")
    (data / "spool" / "half").write_text("half")
    (data / "queue" / "tmp").mkdir(parents=True)
    (data / "queue" / "1.eml").write_text("nobody's")
    (data / "queue" / "4.json").write_text("nobody's")
    (data / "queue" / "2.eml").write_text("waits")
    (data / "queue" / "2.json").write_text("{}")
    (data / "queue" / "tmp" / "3.eml").write_text("half")
    assert wrong(account) == [] and list(data_module.check_data(data)) == []  # it may be under way
    monkeypatch.setattr(folder_module, "TMP_AGE", -1)
    monkeypatch.setattr(data_module, "TMP_AGE", -1)
    assert wrong(account) == [Kind.FILE_LEFT, Kind.TMP_OLD, Kind.TMP_OLD, Kind.TMP_DIRECTORY]
    kinds = [finding.kind for finding in data_module.check_data(data)]
    assert kinds == [Kind.QUEUE_ORPHAN] * 3 + [Kind.SPOOL_OLD]
    repair_account(ALICE, account, deep=False, progress=lambda what, messages: None)
    repair_data(data)
    assert wrong(account) == [Kind.TMP_DIRECTORY] and list(data_module.check_data(data)) == []
    assert sorted(path.name for path in (data / "queue").rglob("*.*")) == ["2.eml", "2.json"]


def test_the_queue_is_compared_with_its_database(account: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = account.parent.parent
    queue = data / "queue"
    files = Files(queue)
    found = Envelope(None, (Address("bob", "example.net"),))
    database = QueueDatabase(queue / DATABASE)

    def add() -> None:
        for name in ("1a", "1b"):
            database.add(Item(name, found, 0.0, 9e9, 0, 1), [Placed("x", (0,), 0.0)], None)

    database.transaction(add)
    for name in ("1a", "1c"):
        files.write(name, found, 0.0, (b"x",))
    monkeypatch.setattr(data_module, "TMP_AGE", -1)
    assert list(data_module.check_data(data)) == [], "until the database speaks of all files, none is nobody's"
    database.transaction(lambda: database.set_note(COMPLETE, "yes"))
    (queue / "1d.damaged").write_text("for people")
    kinds = [(finding.kind, finding.path.name) for finding in data_module.check_data(data)]
    assert kinds == [
        (Kind.QUEUE_ASIDE, "1d.damaged"), (Kind.QUEUE_ORPHAN, "1c.msg"), (Kind.QUEUE_MESSAGE, "1b.msg"),
    ]  # fmt: skip
    repair_data(data)
    assert sorted(files.names()) == ["1a"] and (queue / "1d.damaged").exists()
    database.close()
    (queue / DATABASE).write_bytes(b"this is no database\n" * 500)
    kinds = [(finding.kind, finding.path.name) for finding in data_module.check_data(data)]
    assert kinds == [(Kind.QUEUE_ASIDE, "1d.damaged"), (Kind.QUEUE_DATABASE, DATABASE)]
    (queue / DATABASE).unlink()
    assert [finding.kind for finding in data_module.check_data(data)] == [Kind.QUEUE_ASIDE]
    files.close()


def test_what_only_the_administrator_can_decide_is_left(account: Path, tmp_path: Path) -> None:
    data = account.parent.parent
    elsewhere = shutil.copytree(account / ".Lists.Py", tmp_path / "elsewhere")
    (account / ".Out").symlink_to(elsewhere)
    (account / "cur" / "1.link").symlink_to(files(account)[0])
    (account / "cur" / "1.directory").mkdir()
    (data / "mail" / "notes").write_text("x")
    repair_account(ALICE, account, deep=True, progress=lambda what, messages: None)
    repair_data(data)
    assert sorted(kind.name for kind in wrong(account)) == ["LINK_OUT", "LINK_OUT", "NO_MESSAGE"]
    assert [finding.kind for finding in data_module.check_data(data)] == [Kind.STRANGER]
    assert all(kind.mending is Mending.HAND for kind in wrong(account))
    assert elsewhere.is_dir() and (account / "cur" / "1.directory").is_dir()


def test_what_is_not_wrong_is_for_information(account: Path) -> None:
    files(account)[0].unlink()
    (account / "cur" / "1700000000.M1P1.other:2,").write_bytes(b"x\n")
    opened(account.parent.parent)
    shutil.rmtree(account / ".Junk")
    kinds = [finding.kind for finding in look(account)]
    assert kinds == [Kind.RECORD_GONE, Kind.SIZE_NONE, Kind.SUBSCRIPTION, Kind.SPECIAL_USE]
    assert wrong(account) == []


def test_new_mail_is_nothing_wrong(account: Path) -> None:
    (account / "new" / "1700000000.M1P1.other").write_bytes(b"x\n")
    assert wrong(account) == []
    no_record(account)
    repair_account(ALICE, account, deep=False, progress=lambda what, messages: None)
    assert len(list((account / "new").iterdir())) == 1  # it is still new to its reader


def test_the_index_is_not_opened_for_writing(account: Path) -> None:
    opened(account.parent.parent)
    database = apsw.Connection(str(account / INDEX))
    database.pragma("user_version", 1)
    database.close()
    before = (account / INDEX).read_bytes()
    assert wrong(account) == []  # an older version's is no damage
    assert (account / INDEX).read_bytes() == before


def test_a_bare_cr_and_lf_are_counted_as_imap_does(tmp_path: Path) -> None:
    from mailstack.store.measure import WINDOW, read_sizes

    path = tmp_path / "x"
    for octets, with_crlf in (
        (b"", 0),
        (b"a\nb\r\nc\rd\n", 11),
        (b"\n", 2),
        (b"x" * (WINDOW - 1) + b"\r\ny\n", WINDOW + 4),
    ):
        path.write_bytes(octets)
        assert read_sizes(path).octets == len(octets)
        assert read_sizes(path).with_crlf == with_crlf


def test_the_command_says_all_of_it(account: Path) -> None:
    import json

    where = ("--data", account.parent.parent)
    broken_line(account)
    found = invoke("store", "check", ALICE, *where)
    assert found.exit_code == 1
    assert f"{ALICE} INBOX uidlist-broken: 4 octets of it are no records (repair keeps the UIDs" in found.stdout
    assert found.stdout.splitlines()[-1] == "1 account, 2 things wrong"
    document = json.loads(invoke("store", "check", "--all", "--json", *where).stdout)
    assert [finding["kind"] for finding in document["findings"]] == ["uidlist-broken", "uid-none"]
    assert document["summary"] == {"accounts": 1, "found": 2, "mended": 0, "left": 0, "information": 0}
    mended = invoke("store", "repair", "--all", *where)
    assert (mended.exit_code, mended.stdout.splitlines()[-1]) == (0, "1 account, 2 mended, nothing wrong")
    assert invoke("store", "check", "--all", "--deep", *where).stdout == "1 account, nothing wrong\n"


def test_the_index_is_made_and_dropped(account: Path) -> None:
    where = ("--data", account.parent.parent)
    invoke("store", "index", "--all", "--drop", *where)
    assert not list(account.glob(f"{INDEX}*"))
    made = invoke("store", "index", ALICE, *where)
    assert (made.exit_code, made.stderr) == (0, "")
    assert f"{ALICE} INBOX: 6 messages\n" in made.stdout and f"{ALICE} Lists/Py: 0 messages\n" in made.stdout
    assert (account / INDEX).exists() and look(account) == []
