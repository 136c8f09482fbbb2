"""The index is a cache: whatever happens to its file, every column and every value is right."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from maildir_world import SHM, World, got

from mailstack.imap.fetch import plan
from mailstack.imap.wire.values import FetchAtt
from mailstack.ports import Flag, FlagAction, Flags, FlagsChanged, Wanted
from mailstack.store import index as index_module
from mailstack.store.index import FILE, SCHEMA, AccountIndex
from mailstack.store.mailbox import WORTH_KEEPING
from mailstack.store.maildir.folder import SETTLED
from mailstack.store.maildir.uidlist import UidList
from mailstack.testing.log import RecordingLog

PAGE = 4096
COUNT = WORTH_KEEPING + 20
PLAN = plan((FetchAtt.ENVELOPE, FetchAtt.BODYSTRUCTURE), utf8=False)
ITEMS = [name for name, _ in PLAN.kept]


def directory() -> Path:
    return Path(tempfile.mkdtemp(prefix="mailstack-", dir=SHM if SHM.is_dir() else None))


def octets(number: int) -> bytes:
    lines = (
        f"Message-ID: <{number}@example.org>", f"Subject: number {number}", f"From: <u{number}@example.org>",
        f"Date: Tue, 24 Nov 2026 10:00:{number % 60:02} +0000", "", "body " * (number % 7), "",
    )  # fmt: skip
    return "\r\n".join(lines).encode()


def subject(octets: Any) -> bytes:
    return b"S" + bytes(octets[octets.find(b"number") : octets.find(b"\r\nFrom")])


Everything = tuple[int, str, list[tuple[int, int, int | None, float | None, list[bytes | None]]]]


def everything(world: World) -> Everything:
    """Every column, and everything that is derived."""
    mailbox = world.mailbox
    uids = list(mailbox.uids)
    got(mailbox.measure(uids))
    made: list[list[bytes | None]] = []
    for number, item in enumerate(ITEMS):
        values: list[bytes | None] = []
        for start in range(0, len(uids), 50):
            batch = uids[start : start + 50]
            values += got(mailbox.derive(batch, item, PLAN.kept[number].make))
        made.append(values)
    for wanted in (Wanted(b"number 1"), Wanted(b"number 1"), Wanted(b"n", b"S", b"S", lambda value: b"7" in value)):
        hits = got(mailbox.grep(uids, "subject 1", subject, wanted))
        made.append([b"hit" if uid in hits else None for uid in uids])
    rows = [
        (uid, mailbox.flags(uid) or 0, mailbox.size(uid), mailbox.internal_date(uid), list(values))
        for uid, *values in zip(uids, *made, strict=True)
    ]
    return mailbox.uid_next, mailbox.mailbox_id, rows


class Saved:
    """A data directory whose index is full, what is true of it, and the index files' octets."""

    def __init__(self) -> None:
        self.data = directory()
        world = World(self.data, "inotify")
        for number in range(COUNT):
            world.append(octets=octets(number))
        got(world.mailbox.store_flags([3, 5], FlagAction.ADD, Flags(Flag.FLAGGED), None))
        got(world.mailbox.expunge([7], None))
        self.path = world.path / FILE
        self.true = everything(world)
        got(world.mailbox.save())
        self.with_wal = {name: Path(f"{self.path}{name}").read_bytes() for name in ("", "-wal")}
        world.stop()
        self.closed = {"": self.path.read_bytes()}
        assert len(self.with_wal["-wal"]) > 2 * PAGE
        assert len(self.closed[""]) > 4 * PAGE

    def put(self, files: dict[str, bytes]) -> None:
        for suffix in ("", "-wal", "-shm", "-journal"):
            Path(f"{self.path}{suffix}").unlink(missing_ok=True)
        for suffix, content in files.items():
            Path(f"{self.path}{suffix}").write_bytes(content)

    def opened(self) -> World:
        return World(self.data)

    def check(self) -> RecordingLog:
        """Open it as a new process that does not end in good order; what it logs."""
        world = self.opened()
        assert everything(world) == self.true
        assert everything(world) == self.true, "and again, with what was kept meanwhile"
        world.store.indexes.close()
        return world.log


@pytest.fixture(scope="module")
def filled() -> Iterator[Saved]:
    saved = Saved()
    yield saved
    shutil.rmtree(saved.data)


@pytest.fixture
def saved(filled: Saved) -> Iterator[Saved]:
    filled.put(filled.closed)
    yield filled
    if filled.path.is_dir():
        filled.path.rmdir()


def test_what_is_kept_is_used(saved: Saved, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the other tests here would test nothing."""

    def not_read(*_: object) -> Any:
        raise AssertionError("a directory or a message is read")

    monkeypatch.setattr("mailstack.store.contents.open_octets", not_read)
    monkeypatch.setattr(os, "listdir", not_read)
    assert saved.check().lines == []


def damages(content: bytes, start: int) -> Iterator[bytes]:
    chance = random.Random(start)
    page = content[start : start + PAGE]
    places = [chance.randrange(len(page)) for _ in range(6)]
    few = bytearray(page)
    for place in places:
        few[place] ^= 1 << chance.randrange(8)
    one = bytearray(page)
    one[places[0]] ^= 0xFF
    for damaged in (bytes(octet ^ 0xFF for octet in page), bytes(len(page)), few, one):
        yield content[:start] + bytes(damaged) + content[start + len(page) :]


@pytest.mark.parametrize("wal", [False, True], ids=["closed", "killed"])
def test_damage_of_each_page(saved: Saved, wal: bool) -> None:
    files = saved.with_wal if wal else saved.closed
    begun_anew = 0
    for suffix, content in files.items():
        for start in range(0, len(content), PAGE):
            for damaged in damages(content, start):
                saved.put({**files, suffix: damaged})
                lines = saved.check().lines
                assert [line.what for line in lines] in ([], ["index begun anew"]), (suffix, start, lines)
                begun_anew += len(lines)
    assert wal or begun_anew > 0, "what is in the -wal has checksums of SQLite's own"


def test_damage_of_what_leads_to_the_values(saved: Saved) -> None:
    """A value under another message's UID, another item, or another mailbox is not taken for its own."""
    database = apsw.Connection(str(saved.path))
    with database:
        database.execute("UPDATE derived SET uid = uid + 1000")
        database.execute("UPDATE derived SET uid = ? - uid", (COUNT + 1 + 1000,))
        database.execute("UPDATE mailbox SET guid = guid || 'x'")
    database.close()
    assert saved.check().lines == []


def test_values_of_another_type_are_damage(saved: Saved) -> None:
    for change in ("derived SET value = 7", "derived SET value = 'text'", "mailbox SET state = 'x', columns = 7"):
        saved.put(saved.closed)
        database = apsw.Connection(str(saved.path))
        database.execute("UPDATE " + change)
        database.close()
        assert saved.check().whats() in ([], ["index begun anew"])


@pytest.mark.parametrize("length", [0, 1, 50, 100, 1000, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE, 4 * PAGE + 5])
def test_truncated(saved: Saved, length: int) -> None:
    saved.put({"": saved.closed[""][:length]})
    assert saved.check().whats() in ([], ["index begun anew"])


@pytest.mark.parametrize("version", [1, SCHEMA - 1, SCHEMA + 1, 2**31 - 1])
def test_another_version(saved: Saved, version: int) -> None:
    database = apsw.Connection(str(saved.path))
    database.pragma("user_version", version)
    database.close()
    (line,) = saved.check().lines
    assert line.what == "index begun anew"
    assert str(version) in str(line.fields["reason"])
    database = apsw.Connection(str(saved.path))
    assert database.pragma("user_version") == SCHEMA
    database.close()


def test_not_a_database(saved: Saved) -> None:
    saved.put({"": b"From: somebody\n" * 1000})
    assert saved.check().whats() == ["index begun anew"]
    assert saved.check().whats() == []


def test_deleted(saved: Saved) -> None:
    saved.put({})
    assert saved.check().whats() == []
    assert saved.path.exists()


def test_a_directory_in_its_place(saved: Saved) -> None:
    saved.put({})
    saved.path.mkdir()
    assert saved.check().whats() == ["index not used"], "once, not at each use"


def test_read_only(saved: Saved, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is root may write anywhere, so the file is opened for reading only."""
    real = apsw.Connection
    monkeypatch.setattr(index_module.apsw, "Connection", lambda path: real(path, flags=apsw.SQLITE_OPEN_READONLY))
    assert saved.check().whats() in ([], ["index not used"])
    saved.put({"": saved.closed[""][: 2 * PAGE]})
    assert set(saved.check().whats()) <= {"index not used", "index begun anew"}


def test_full_disk(saved: Saved, monkeypatch: pytest.MonkeyPatch) -> None:
    real = apsw.Connection

    def small(path: str) -> apsw.Connection:
        made = real(path)
        made.pragma("max_page_count", 5)
        return made

    saved.put({})
    monkeypatch.setattr(index_module.apsw, "Connection", small)
    assert saved.check().whats() == ["index not used"]


def test_another_process_holds_it(saved: Saved, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "BUSY", 1)
    other = apsw.Connection(str(saved.path))
    other.execute("BEGIN IMMEDIATE; DELETE FROM derived WHERE uid < 50")
    assert set(saved.check().whats()) <= {"index not used"}
    other.execute("ROLLBACK")
    other.close()
    assert saved.check().whats() == []


def test_two_processes_at_once(saved: Saved) -> None:
    """One finds the file damaged and begins it anew while the other uses it."""
    one = saved.opened()
    assert everything(one) == saved.true
    content = saved.closed[""]
    saved.put({"": content[:PAGE] + bytes(len(content) - PAGE)})
    two = saved.opened()
    for _ in range(3):
        assert everything(two) == everything(one) == saved.true
    one.stop()
    assert everything(two) == saved.true
    two.stop()
    saved.check()


def test_few_messages_far_apart_do_not_load_all_between(saved: Saved) -> None:
    log = RecordingLog()
    index = AccountIndex(saved.path, log)
    guid, validity = header(saved.path)
    found = index.derived(guid, validity, ITEMS[0], [1, COUNT])
    assert sorted(found) == [1, COUNT]
    assert len(index.derived(guid, validity, ITEMS[0], range(10, 20))) == 10
    assert log.lines == []
    index.close()


def test_what_is_believed_is_of_those_messages(saved: Saved) -> None:
    index = AccountIndex(saved.path, RecordingLog())
    where = *header(saved.path), ITEMS[0]
    kept = index.derived(*where, range(10, 20))
    assert index.believed(*where, range(10, 20)) == [kept[uid] for uid in range(10, 20)]
    assert index.believed(*where, [10, 12]) is None
    index.forget(*header(saved.path), [11])
    assert index.believed(*where, [10, 11]) is None
    assert index.believed(*where, [10, 12]) == [kept[10], kept[12]]
    assert index.believed(*where, [10, 11, 13]) is None, "another one is in its place"
    index.close()


def test_only_values_that_were_checked_are_searched_by_the_index(saved: Saved) -> None:
    """After the first look at each message the files are not read, and the values not fetched."""
    world = saved.opened()
    mailbox, index = world.mailbox, world.mailbox._account.index  # type: ignore[attr-defined]
    asked: list[str] = []
    for name in ("derived", "grep"):
        real = getattr(index, name)
        setattr(index, name, lambda *args, name=name, real=real: asked.append(name) or real(*args))
    first = list(mailbox.uids)[:60]
    sevens = [uid for uid in mailbox.uids if b"7" in subject(octets(uid - 1))]

    def searched(uids: list[int]) -> list[str]:
        asked.clear()
        hits = got(mailbox.grep(uids, "subject 1", lambda octets: pytest.fail("made again"), Wanted(b"7")))
        assert hits == [uid for uid in sevens if uid in uids]
        return list(asked)

    assert searched(first) == ["derived"]
    assert searched(first) == ["grep"]
    assert searched([1, COUNT]) == ["derived"]
    assert searched(list(mailbox.uids)) == ["grep", "derived"]
    assert searched(list(mailbox.uids)) == ["grep"]
    assert searched([]) == []
    index.close()  # as when many accounts are in use
    assert searched(list(mailbox.uids)) == ["grep", "derived"]
    assert searched(list(mailbox.uids)) == ["grep"]
    world.stop()


def test_checksums_of_values_are_compared_once(saved: Saved) -> None:
    world = saved.opened()
    mailbox, index = world.mailbox, world.mailbox._account.index  # type: ignore[attr-defined]
    asked: list[str] = []
    for name in ("derived", "believed"):
        real = getattr(index, name)
        setattr(index, name, lambda *args, name=name, real=real: asked.append(name) or real(*args))
    make = PLAN.kept[0].make
    every = list(mailbox.uids)
    expected = dict(zip(every, got(mailbox.examine(every, make)), strict=True))

    def given(uids: list[int]) -> list[str]:
        asked.clear()
        assert got(mailbox.derive(uids, ITEMS[0], make)) == [expected[uid] for uid in uids]
        return list(asked)

    assert given(every[:60]) == ["derived"]
    assert given(every[:60]) == ["believed"]
    assert given(every[5:50]) == ["believed"]
    assert given(every[:60:2]) == ["derived"]
    assert given(every[50:]) == ["derived"], "not all of them are known"
    assert given(every[60:]) == ["derived"]
    assert given(every) == ["believed"]
    assert given([]) == ["derived"]
    index.close()  # as when many accounts are in use
    assert given(every[:5]) == ["believed", "derived"]
    assert given(every[:5]) == ["believed"]
    world.stop()


def header(path: Path) -> tuple[str, int]:
    """The mailbox's id and its UIDVALIDITY."""
    found = UidList(path.with_name("dovecot-uidlist")).peek()
    assert found is not None
    return found


# --- time stamps


@pytest.fixture
def copy(filled: Saved) -> Iterator[Path]:
    """A data directory of one's own, as `cp -a` makes it: with the time stamps."""
    filled.put(filled.closed)
    target = directory() / "data"
    shutil.copytree(filled.data, target, copy_function=shutil.copy2)
    for source in (filled.path / "..").resolve().glob("[cn][ue][rw]"):
        stat = source.stat()
        os.utime(target / source.relative_to(filled.data), ns=(stat.st_atime_ns, stat.st_mtime_ns))
    yield target
    shutil.rmtree(target.parent)


def test_a_copy_of_everything_is_the_same_store(filled: Saved, copy: Path) -> None:
    """The uidlist has another inode, the directories have the same time stamps."""
    world = World(copy)
    assert world.mailbox.uid_next == COUNT + 1
    assert everything(world) == filled.true
    assert world.append() == COUNT + 1
    world.stop()


def rename(path: Path) -> None:
    first = sorted((path / "cur").iterdir())[0]
    first.rename(first.with_name(first.name.partition(":2,")[0] + ":2,RS"))


def remove(path: Path) -> None:
    sorted((path / "cur").iterdir())[3].unlink()


def put(path: Path) -> None:
    (path / "cur" / "1790000000.foreign:2,S").write_bytes(octets(1))


def deliver(path: Path) -> None:
    (path / "new" / "1790000000.delivered").write_bytes(octets(2))


DOINGS: list[Callable[[Path], None]] = [rename, remove, put, deliver]


@pytest.mark.parametrize("clean", [True, False], ids=["clean", "killed"])
@pytest.mark.parametrize("doing", DOINGS)
@pytest.mark.parametrize("variant", ["stamps", "inotify"])
def test_what_was_done_while_the_server_was_down_is_noticed(
    copy: Path, doing: Callable[[Path], None], clean: bool, variant: str
) -> None:
    world = World(copy, variant)
    world.append()
    for _ in range(2):
        world.refresh()
    before, last = world.seen(), world.mailbox.highest_modseq
    if clean:
        world.stop()
    else:
        got(world.mailbox.save())
        world.store.indexes.close()
        if world.store.watch is not None:
            world.store.watch.close()
    doing(world.path)
    world.start()
    after = world.agrees()
    assert after != before
    assert len(after) - len(before) == {rename: 0, remove: -1}.get(doing, 1)
    assert world.mailbox.highest_modseq > last
    world.stop()


@pytest.mark.parametrize("variant", ["stamps", "inotify"])
def test_time_stamps_that_are_kept_cannot_be_those_of_a_later_change(copy: Path, variant: str) -> None:
    """A change in the same tick of the file system's clock would not be seen by them."""
    index = AccountIndex(copy / filled_path(copy) / FILE, RecordingLog())
    kept: list[bool] = []
    for again in range(3):
        world = World(copy, variant)
        if again < 2:
            world.append()
        world.stop()
        now = time.time()
        snapshot = index.load(*header(world.path / FILE))
        assert snapshot is not None
        kept.append(any(snapshot.stamps))
        if kept[-1]:
            assert list(snapshot.stamps) == [(world.path / name).stat().st_mtime_ns for name in ("new", "cur")]
            assert now - max(snapshot.stamps) / 1e9 > SETTLED
    assert any(kept) or variant == "stamps"
    index.close()


def filled_path(data: Path) -> Path:
    (found,) = (data / "mail").iterdir()
    return found.relative_to(data)


@pytest.mark.parametrize("clean", [True, False], ids=["clean", "killed"])
def test_mod_sequences_never_go_back(copy: Path, clean: bool) -> None:
    world = World(copy)
    last = world.mailbox.highest_modseq
    for round_ in range(4):
        uid = list(world.mailbox.uids)[round_]
        got(world.mailbox.store_flags([uid], FlagAction.ADD, Flags(Flag.FLAGGED), None))
        if uid not in (3, 5):
            assert isinstance(world.mirror.heard[-1], FlagsChanged)
            (modseq,) = world.mailbox.columns([uid]).modseqs
            assert modseq == world.mailbox.highest_modseq > last
        last = world.mailbox.highest_modseq
        modseqs = list(world.mailbox.columns(world.mailbox.uids).modseqs)
        if clean:
            world.stop()
        else:
            world.store.indexes.close()
        world.start()
        assert world.mailbox.highest_modseq >= last
        again = list(world.mailbox.columns(world.mailbox.uids).modseqs)
        assert again == modseqs if clean else all(map(int.__ge__, again, modseqs))
    world.stop()


def test_values_of_uids_that_mean_other_messages_now_are_not_used(copy: Path) -> None:
    world = World(copy)
    before = {row[0]: row[4] for row in everything(world)[2]}
    path = world.path / "dovecot-uidlist"
    head, *records = path.read_text().splitlines()
    swapped = ["1" + records[1][1:], "2" + records[0][1:], *records[2:]]
    fresh = path.with_name("fresh")
    fresh.write_text("\n".join([head, *swapped, ""]))
    fresh.rename(path)
    world.refresh()
    after = {row[0]: row[4] for row in everything(world)[2]}
    assert (after[1], after[2]) == (before[2], before[1])
    assert {uid: row for uid, row in after.items() if uid > 2} == {uid: row for uid, row in before.items() if uid > 2}
    world.stop()
