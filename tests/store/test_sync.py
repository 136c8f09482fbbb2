"""Other programs at work in a mailbox that is open: each doing by itself, without a watch and with one."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeVar

import pytest
from maildir_world import FLAGGED, SEEN, SHM, VARIANTS, World, as_new_process, got
from twisted.internet.defer import Deferred

from mailstack.errors import Problem, Refused
from mailstack.ports import Added, Expunged, Flag, FlagAction, Flags, FlagsChanged, MailboxGone
from mailstack.store.maildir import sync as sync_module
from mailstack.store.workers import InlineWorkers, Job

T = TypeVar("T")


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In memory where there is such a place: the disk's syncs are not what is tested here."""
    directory = Path(tempfile.mkdtemp(prefix="mailstack-", dir=SHM if SHM.is_dir() else None))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(params=VARIANTS)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path, request.param)
    yield world
    world.stop()


def cur(world: World) -> list[str]:
    return sorted(os.listdir(world.path / "cur"))


def flags_of(world: World) -> list[int]:
    return [flags for _, flags in world.agrees().values()]


def lines(world: World) -> list[bytes]:
    return [line for line, _ in world.agrees().values()]


# --- one doing each


@pytest.mark.parametrize("sized", [False, True])
@pytest.mark.parametrize("crlf", [False, True])
def test_delivery_by_another_program(world: World, sized: bool, crlf: bool) -> None:
    path = world.foreign(sized=sized, crlf=crlf)
    octets = path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    world.refresh()
    assert world.mirror.heard == [Added((1,))]
    assert cur(world) == [path.name + ":2,"]
    assert world.mailbox.claim_recent() == {1}
    assert got(world.mailbox.read(1, 0, 1000)) == octets
    got(world.mailbox.measure([1]))
    assert world.mailbox.size(1) == len(octets) or (sized and not crlf), "S= without W= counts as it is"
    assert list(world.agrees()) == [1]


def test_a_size_in_the_name_is_not_that_with_crlf(world: World) -> None:
    path = world.foreign(sized=True, crlf=False)
    octets = path.read_bytes().replace(b"\n", b"\r\n")
    world.refresh()
    got(world.mailbox.measure([1]))
    assert world.mailbox.size(1) == len(octets)


def test_mutt_takes_in_and_sets_flags(world: World) -> None:
    path = world.foreign()
    path.rename(world.path / "cur" / f"{path.name}:2,S")
    world.refresh()
    (world.path / "cur" / f"{path.name}:2,S").rename(world.path / "cur" / f"{path.name}:2,FS")
    world.refresh()
    assert world.mirror.heard == [Added((1,)), FlagsChanged((1,), None)]
    assert flags_of(world) == [SEEN | FLAGGED]


def test_many_renames_between_two_looks(world: World) -> None:
    path = world.foreign()
    world.refresh()
    place = world.path / "cur" / f"{path.name}:2,"
    for letters in ("S", "FS", "F", "", "RS", "S"):
        place = place.rename(place.with_name(f"{path.name}:2,{letters}"))
    world.refresh()
    assert world.mirror.heard == [Added((1,)), FlagsChanged((1,), None)]
    assert flags_of(world) == [SEEN]


def test_rsync_and_rm(world: World) -> None:
    path = world.foreign(".a:2,S.Qx77", "cur")
    world.refresh()
    assert world.mirror.heard == []
    path = path.rename(world.path / "cur" / "a:2,S")
    world.refresh()
    path.unlink()
    world.refresh()
    assert world.mirror.heard == [Added((1,)), Expunged((1,), None)]
    assert lines(world) == []


def test_a_message_moved_back_to_new_is_the_same_message(world: World) -> None:
    uid = world.append(Flags(Flag.SEEN))
    (name,) = cur(world)
    (world.path / "cur" / name).rename(world.path / "new" / name)
    world.refresh()
    (world.path / "cur" / name).rename(world.path / "new" / name.partition(":")[0])
    world.refresh()
    assert world.mirror.heard == [Added((uid,)), FlagsChanged((uid,), None)]
    assert list(world.agrees()) == [uid]


def test_letters_and_names_of_other_programs_stay(world: World) -> None:
    octets = world.octets()
    for name in (b"caf\xe9:2,PS", b"no info", b"1:1,experiment", b"\xff\xfe:2,z"):
        (os.fsencode(world.path / "cur") + b"/" + name)
        with open(os.fsencode(world.path / "cur") + b"/" + name, "wb") as file:
            file.write(octets)
    world.refresh()
    uids = list(world.mailbox.uids)
    got(world.mailbox.store_flags(uids, FlagAction.ADD, Flags(Flag.FLAGGED), None))
    found = {os.fsencode(name) for name in cur(world)}
    assert found == {b"caf\xe9:2,FPS", b"no info:2,F", b"1:2,F", b"\xff\xfe:2,Fz"}
    world.refresh()
    assert len(world.agrees()) == 4


def test_what_is_no_message_is_passed_over(world: World) -> None:
    for name in (".hidden", ":2,S"):
        world.foreign(name, "cur")
        world.foreign(name, "new")
    world.refresh()
    assert world.agrees() == {}


@pytest.mark.parametrize("ends", [True, False])
def test_hints_that_are_read_between_a_rename_and_the_next(world: World, ends: bool) -> None:
    """What was told to have come is not there any more when we look for it."""
    path = world.foreign()
    world.refresh()
    first = world.path / "cur" / f"{path.name}:2,"
    second = first.rename(first.with_name(f"{path.name}:2,T"))
    watched = world.mailbox._watched
    if watched is not None:
        world.mailbox._drain()
        hints = watched.take()
        assert hints.cur == {first.name: False, second.name: True}
        third = second.rename(second.with_name(f"{path.name}:2,FT"))
        got(world.mailbox._look(hints))
        second = third
    if ends:
        second.unlink()
    world.refresh()
    assert len(lines(world)) == (0 if ends else 1)
    world.refresh()


# --- two files of one base name


def test_two_files_of_one_base_are_two_messages(world: World) -> None:
    """The one that was known keeps its UID and its octets."""
    uid = world.append()
    known = world.seen()[uid][0]
    (name,) = cur(world)
    base = name.partition(":")[0]
    for letters in ("S", "F"):
        world.foreign(f"{base}:2,{letters}", "cur")
    for _ in range(4):
        world.refresh()
    assert got(world.mailbox.read(uid, 0, len(known))) == known
    assert len(set(lines(world))) == 3
    assert [fields["kept"] != "" for line, fields in warnings(world) if "two files" in line]


def test_a_file_in_new_with_the_base_of_one_in_cur(world: World) -> None:
    uid = world.append()
    known = world.seen()[uid][0]
    (name,) = cur(world)
    world.foreign(name.partition(":")[0], "new")
    for _ in range(4):
        world.refresh()
    found = world.agrees()
    assert found[uid][0] == known
    assert len({line for line, _ in found.values()}) == 2


def test_a_rename_by_link_and_unlink_seen_half_way(world: World) -> None:
    """mutt renames so: for a moment one file has two names."""
    path = world.foreign()
    world.refresh()
    before = world.path / "cur" / f"{path.name}:2,"
    after = before.with_name(f"{path.name}:2,S")
    os.link(before, after)
    world.refresh()
    before.unlink()
    world.refresh()
    world.refresh()
    assert world.mirror.heard[0] == Added((1,))
    assert {*world.mirror.heard[1:]} == {FlagsChanged((1,), None)}
    assert flags_of(world) == [SEEN]
    assert cur(world) == [after.name]


def test_a_rename_by_link_that_was_taken_back(world: World) -> None:
    path = world.foreign()
    world.refresh()
    before = world.path / "cur" / f"{path.name}:2,"
    after = before.with_name(f"{path.name}:2,S")
    os.link(before, after)
    world.refresh()
    after.unlink()
    world.refresh()
    world.refresh()
    assert flags_of(world) == [0]
    assert list(world.agrees()) == [1]


def test_two_names_that_stay_become_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync_module, "LINKED", -1.0)
    path = world.foreign()
    world.refresh()
    before = world.path / "cur" / f"{path.name}:2,"
    os.link(before, before.with_name(f"{path.name}:2,S"))
    world.refresh()
    world.refresh()
    assert len(cur(world)) == 1
    assert list(world.agrees()) == [1]


def test_taking_in_by_link_seen_half_way(world: World) -> None:
    path = world.foreign()
    os.link(path, world.path / "cur" / f"{path.name}:2,S")
    world.refresh()
    path.unlink(missing_ok=True)
    world.refresh()
    assert flags_of(world) == [SEEN]
    assert [change for change in world.mirror.heard if isinstance(change, Added)] == [Added((1,))]


# --- the uidlist


def test_uids_that_another_process_gave(world: World, tmp_path: Path) -> None:
    """It was quicker: UIDs below ours, of messages that we have not seen."""
    other = World(tmp_path)
    first = world.foreign()
    other.refresh()
    second = world.foreign()
    other.refresh()
    third = world.foreign()
    world.refresh()
    recorded = (world.path / "dovecot-uidlist").read_text().splitlines()[1:]
    assert recorded == [f"{n} :{path.name}" for n, path in enumerate((first, second, third), 1)]
    other.refresh()
    assert other.agrees() == world.agrees()
    other.stop()


def test_a_record_whose_file_comes_later(world: World) -> None:
    world.append()
    name = world.unique()
    with (world.path / "dovecot-uidlist").open("a") as file:
        file.write(f"2 :{name}\n")
    world.refresh()
    assert list(world.seen()) == [1]
    assert world.append() == 3
    world.foreign(f"{name}:2,S", "cur")
    world.refresh()
    found = world.agrees()
    assert [flags for _, flags in found.values()].count(SEEN) == 1
    assert len(found) == 3


def test_the_uidlist_is_rewritten_while_we_look(world: World) -> None:
    """Compacted by another process: other inode, the same UIDs."""
    uids = [world.append() for _ in range(5)]
    got(world.mailbox.expunge(uids[:2], None))
    path = world.path / "dovecot-uidlist"
    header, *records = path.read_text().splitlines()
    fresh = path.with_name("fresh")
    fresh.write_text("\n".join([header.replace(" N1 ", " N6 "), *records[2:], ""]))
    fresh.rename(path)
    world.refresh()
    assert list(world.agrees()) == uids[2:]
    assert world.append() == 6


def test_a_message_that_left_and_came_back_has_one_uid_in_all_processes(world: World, tmp_path: Path) -> None:
    """One process saw it go and gave it a new UID; the other one missed that."""
    missed = World(tmp_path)
    path = world.foreign()
    world.refresh()
    missed.refresh()
    (name,) = cur(world)
    (world.path / "cur" / name).rename(tmp_path / "away")
    world.refresh()
    (tmp_path / "away").rename(world.path / "cur" / name)
    world.refresh()
    missed.refresh()
    missed.refresh()
    assert missed.agrees() == world.agrees()
    assert len(world.agrees()) == 1
    assert path.name in name
    missed.stop()


def test_uids_that_mean_other_messages_end_the_selection(world: World) -> None:
    first, second = world.append(), world.append()
    seen = world.seen()
    path = world.path / "dovecot-uidlist"
    header, one, two = path.read_text().splitlines()
    swapped = [header, one.replace("1 :", "2 :", 1), two.replace("2 :", "1 :", 1)]
    fresh = path.with_name("fresh")
    fresh.write_text("\n".join([swapped[0], swapped[2], swapped[1], ""]))
    fresh.rename(path)
    world.refresh()
    assert world.mirror.gone
    assert world.seen() == {1: seen[second], 2: seen[first]} == as_new_process(world.data)


def test_a_large_message_kept_open_is_not_served_under_a_uid_of_another(world: World) -> None:
    large = [b"Subject: %d\r\n\r\n" % n + b"x" * 200_000 + b"\r\n" for n in (1, 2)]
    for octets in large:
        world.append(octets=octets)
    assert got(world.mailbox.read(1, 0, 10)) == b"Subject: 1"
    path = world.path / "dovecot-uidlist"
    header, one, two = path.read_text().splitlines()
    fresh = path.with_name("fresh")
    fresh.write_text("\n".join([header, "1" + two[1:], "2" + one[1:], ""]))
    fresh.rename(path)
    world.refresh()
    assert got(world.mailbox.read(1, 0, 10)) == b"Subject: 2"


def test_a_uidlist_that_is_removed_begins_anew(world: World) -> None:
    world.append()
    before = world.mailbox.uid_validity
    (world.path / "dovecot-uidlist").unlink()
    world.refresh()
    assert world.mirror.gone
    assert world.mailbox.uid_validity > before
    assert len(world.agrees()) == 1


def test_a_message_that_comes_and_goes_within_one_look(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told by half of what is found, and is gone by the other half."""
    path = world.foreign("1790000000.in:2,S", "cur")
    with (world.path / "dovecot-uidlist").open("a") as file:
        file.write("1 :another process is about to place this one\n")
    real = sync_module._Sync._insert

    def and_gone(self: Any, *arguments: Any) -> None:
        real(self, *arguments)
        path.unlink(missing_ok=True)
        self.look_everywhere()

    with monkeypatch.context() as patch:
        patch.setattr(sync_module._Sync, "_insert", and_gone)
        world.refresh()
    world.refresh()
    assert list(world.mailbox.uids) == []
    assert world.agrees() == {}


# --- the folder


@pytest.mark.usefixtures("work_exists")
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("how", ["rm", "mv"])
def test_a_folder_goes_while_it_is_selected(tmp_path: Path, variant: str, how: str) -> None:
    world = World(tmp_path, variant, "Work")
    world.append()
    if how == "rm":
        shutil.rmtree(world.path)
    else:
        world.path.rename(world.path.with_name(".Play"))
    world.reactor.turn()
    if not world.mirror.gone:
        got(world.mailbox.refresh())
    assert world.mirror.heard[-1] == MailboxGone()
    with pytest.raises(Refused) as info:
        got(world.account.status("Work"))
    assert info.value.problem is Problem.NO_SUCH_MAILBOX
    if how == "mv":
        assert got(world.account.status("Play")).messages == 1
    world.stop()


@pytest.fixture
def work_exists(tmp_path: Path) -> None:
    world = World(tmp_path)
    got(world.account.create("Work"))
    world.stop()


def test_cur_is_replaced_by_another_directory(world: World) -> None:
    world.append()
    (name,) = cur(world)
    shutil.copytree(world.path / "cur", world.path / "copied", copy_function=shutil.copy2)
    (world.path / "cur").rename(world.path / "before")
    (world.path / "copied").rename(world.path / "cur")
    world.refresh()
    world.refresh()
    (world.path / "cur" / name).rename(world.path / "cur" / name.replace(":2,", ":2,S"))
    world.reactor.turn()
    world.refresh()
    assert flags_of(world) == [SEEN]


def test_new_is_replaced_by_another_directory(world: World) -> None:
    world.refresh()
    (world.path / "new").rename(world.path / "before")
    (world.path / "new").mkdir()
    world.refresh()
    world.reactor.turn()
    world.foreign()
    world.reactor.turn()
    world.refresh()
    assert len(lines(world)) == 1


@pytest.mark.usefixtures("work_exists")
@pytest.mark.parametrize("variant", VARIANTS)
def test_one_directory_under_two_names(tmp_path: Path, variant: str) -> None:
    """A symbolic link makes two mailboxes of one directory: both hear of everything."""
    one = World(tmp_path, variant, "Work")
    (one.path.with_name(".Linked")).symlink_to(".Work")

    class Heard(list[Any]):
        def changed(self, change: Any) -> None:
            self.append(change)

    heard = Heard()
    two = got(one.account.open("Linked", heard))
    one.foreign()
    one.refresh()
    got(two.refresh())
    (name,) = cur(one)
    (one.path / "cur" / name).rename(one.path / "cur" / f"{name}S")
    one.refresh()
    got(two.refresh())
    assert one.mirror.heard == list(heard) == [Added((1,)), FlagsChanged((1,), None)]
    assert flags_of(one) == [SEEN] == [two.flags(1)]
    two.close(heard)
    one.stop()


# --- errors half-way


def failing(monkeypatch: pytest.MonkeyPatch, call: str, wanted: Callable[[str], bool], error: int) -> None:
    real = getattr(os, call)

    def replacement(path: Any, *rest: Any, **named: Any) -> Any:
        if wanted(str(path)):
            raise OSError(error, os.strerror(error), str(path))
        return real(path, *rest, **named)

    monkeypatch.setattr(os, call, replacement)


@pytest.mark.parametrize("error", [errno.EACCES, errno.EIO, errno.ENOSPC])
def test_what_was_taken_in_before_an_error_is_told_and_keeps_its_uid(
    world: World, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    world.append()
    paths = sorted(world.foreign().name for _ in range(3))
    with monkeypatch.context() as patch:
        failing(patch, "rename", lambda path: path.endswith(f"new/{paths[1]}"), error)
        read_only = error == errno.EACCES  # then the mailbox is shown as far as it can be
        with nullcontext() if read_only else pytest.raises(Refused):
            world.refresh()
    world.refresh()
    world.refresh()
    assert list(world.agrees()) == [1, 2, 3, 4]
    recorded = (world.path / "dovecot-uidlist").read_text().splitlines()[1:]
    assert [line.split(":")[1] for line in recorded][1:] == paths, "nothing has two UIDs"


def test_a_change_is_told_though_its_number_cannot_be_written(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    uid = world.append()
    (name,) = cur(world)
    (world.path / "cur" / name).rename(world.path / "cur" / f"{name}S")
    world.mailbox.files.modseqs._mark = 0

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as patch:
        patch.setattr("mailstack.store.maildir.modseq.replace_file", full)
        with pytest.raises(Refused):
            got(world.mailbox.refresh())
    world.refresh()
    assert world.mirror.heard[-1] == FlagsChanged((uid,), None)
    assert flags_of(world) == [SEEN]


@pytest.mark.parametrize("error", [errno.EACCES, errno.EIO, errno.EMFILE])
def test_a_directory_that_cannot_be_read_loses_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    uids = [world.append() for _ in range(3)]
    world.foreign()
    world.mailbox.files.lost = world.mailbox.files.unsure = True
    with monkeypatch.context() as patch:
        failing(patch, "listdir", lambda path: path.endswith("/cur"), error)
        with pytest.raises(Refused):
            world.refresh()
        assert list(world.mailbox.uids) == uids
    world.refresh()
    assert list(world.agrees()) == [*uids, 4]


# --- looks that take their time


class SlowWorkers(InlineWorkers):
    """Jobs of a lane wait until `finish` lets them."""

    def __init__(self) -> None:
        super().__init__()
        self.slow = False
        self.waiting: list[Job[Any]] = []

    def run_in_lane(self, lane: str, fn: Callable[[], T]) -> Deferred[T]:
        job = Job(fn)
        self.waiting.append(job)
        if not self.slow:
            self.finish()
        return job.done

    def finish(self) -> None:
        while self.waiting:
            job = self.waiting.pop(0)
            job.work()
            job.finish()


@pytest.mark.parametrize("foreign", [False, True])
def test_a_command_waits_for_a_look_that_is_under_way(world: World, foreign: bool) -> None:
    """Else a client that sends NOOP after its message was accepted would not hear of it."""
    workers = world.store.workers = SlowWorkers()
    workers.slow = True
    if foreign:
        world.foreign()
        world.reactor.turn()
        world.mailbox.noticed()
    else:
        world.deliver()
    told: list[int] = []
    for _ in range(2):
        command = Deferred.fromCoroutine(world.mailbox.refresh())
        command.addCallback(lambda _: told.append(len(world.mailbox.uids)))
    assert told == []
    workers.finish()
    assert told == [1, 1]
    workers.slow = False


def test_what_is_noticed_during_a_look_is_looked_at_next(world: World) -> None:
    workers = world.store.workers = SlowWorkers()
    workers.slow = True
    world.deliver()
    workers.waiting[0].work()  # the look has read the directory
    job = workers.waiting.pop(0)
    world.deliver()
    job.finish()
    workers.finish()
    assert list(world.mailbox.uids) == [1, 2]
    workers.slow = False


# --- reading while others rename


def test_never_wrong_octets_while_others_rename(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """At each call of open, the file that is about to be opened gets another name first."""
    uids = [world.append() for _ in range(4)]
    before = world.seen()
    real, counter = os.open, [0]

    def rename_first(path: Any, *rest: Any, **named: Any) -> int:
        if "/cur/" in str(path) and os.path.exists(path) and counter[0] % 3 < 2:
            os.rename(path, str(path).partition(":2,")[0] + ":2," + ("S" if counter[0] % 2 else "F"))
        counter[0] += "/cur/" in str(path)
        return real(path, *rest, **named)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", rename_first)
        read = {uid: got(world.mailbox.read(uid, 0, len(before[uid][0]))) for uid in uids}
        assert read == {uid: line for uid, (line, _) in before.items()}
        examined = got(world.mailbox.examine(uids, lambda octets: octets[:10]))
    assert examined == [line[:10] for line, _ in before.values()]
    world.refresh()
    assert lines(world) == [line for line, _ in before.values()]


def test_a_file_renamed_between_listing_and_taking_in(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    path = world.foreign()
    real = os.rename

    def quicker(before: Any, after: Any, **named: Any) -> None:
        if str(before) == str(path) and path.exists():
            real(before, f"{world.path}/cur/{path.name}:2,F")
        real(before, after, **named)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", quicker)
        world.refresh()
    world.refresh()
    world.refresh()
    assert world.agrees() == {1: (b"Subject: 1", FLAGGED)}


def test_a_file_that_cannot_be_read_is_only_itself_not_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    uids = [world.append() for _ in range(3)]
    name = world.mailbox.files.rows.name_of(uids[1])
    with monkeypatch.context() as patch:
        failing(patch, "open", lambda path: path.endswith(f"cur/{name}"), errno.EACCES)
        assert got(world.mailbox.read(uids[1], 0, 10)) is None
        assert got(world.mailbox.read(uids[0], 0, 10)) == b"Subject: 1"
        assert "message cannot be read" in world.log.whats()
    assert len(lines(world)) == 3


def warnings(world: World) -> list[tuple[str, dict[str, Any]]]:
    return [(line.what, line.fields) for line in world.log.lines]
