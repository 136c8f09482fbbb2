"""What a watch tells: others' doings, each of them, and none of this process's own."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from maildir_world import FakeReactor

from mailstack.store import inotify
from mailstack.store import watch as watch_module
from mailstack.store.inotify import IN_MOVED_FROM, IN_Q_OVERFLOW, Event, Inotify
from mailstack.store.watch import MAX_HINTS, Watch, Watched
from mailstack.testing.log import RecordingLog


class Box:
    """A directory with new/ and cur/, and who has it open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.noticed_times = 0
        for name in ("new", "cur", "tmp"):
            (path / name).mkdir(parents=True)

    def noticed(self) -> None:
        self.noticed_times += 1

    def put(self, directory: str, name: str) -> None:
        (self.path / "tmp" / name).touch()
        (self.path / "tmp" / name).rename(self.path / directory / name)

    def move(self, before: str, after: str) -> None:
        (self.path / before).rename(self.path / after)


@pytest.fixture
def reactor() -> FakeReactor:
    return FakeReactor()


@pytest.fixture
def log() -> RecordingLog:
    return RecordingLog()


@pytest.fixture
def watch(reactor: FakeReactor, log: RecordingLog) -> Iterator[Watch]:
    watch = Watch(reactor, log)
    yield watch
    watch.close()
    assert reactor.readers == []


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path / "box")


@pytest.fixture
def watched(watch: Watch, box: Box) -> Watched:
    return watch.add(box.path, box)


def hints(watched: Watched) -> tuple[dict[str, bool], dict[str, bool]]:
    found = watched.take()
    assert not found.everything
    return found.new, found.cur


def test_what_is_there_already_is_not_told(watch: Watch, box: Box) -> None:
    box.put("cur", "old:2,")
    watched = watch.add(box.path, box)
    watch.drain()
    assert not watched.hints
    assert box.noticed_times == 0


def test_more_events_than_one_reading_has_room_for(
    watch: Watch, box: Box, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[int] = []
    real = os.read

    def read(fd: int, size: int) -> bytes:
        data = real(fd, size)
        reads.append(len(data))
        return data

    monkeypatch.setattr(os, "read", read)
    monkeypatch.setattr(inotify, "READ_SIZE", 400)
    names = [f"{number:0200}" for number in range(5)]
    for name in names:
        box.put("new", name)
    watch.drain()
    assert hints(watched) == (dict.fromkeys(names, True), {}) and len(reads) > 1
    reads.clear()
    box.put("new", "short")
    watch.drain()
    assert hints(watched) == ({"short": True}, {}) and len(reads) == 1, "all of them were there"


def test_others_doings_are_told(watch: Watch, box: Box, watched: Watched) -> None:
    box.put("new", "a")
    box.put("cur", "b:2,")
    watch.drain()
    assert hints(watched) == ({"a": True}, {"b:2,": True})
    box.move("new/a", "cur/a:2,S")
    box.move("cur/b:2,", "cur/b:2,F")
    watch.drain()
    assert hints(watched) == ({"a": False}, {"a:2,S": True, "b:2,": False, "b:2,F": True})
    (box.path / "cur" / "a:2,S").unlink()
    os.link(box.path / "cur" / "b:2,F", box.path / "cur" / "c:2,")
    watch.drain()
    assert hints(watched) == ({}, {"a:2,S": False, "c:2,": True})
    assert box.noticed_times == 3
    watch.drain()
    assert not watched.take()
    assert box.noticed_times == 3


def test_the_reactor_tells_of_events(reactor: FakeReactor, box: Box, watched: Watched) -> None:
    box.put("new", "a")
    (reader,) = reactor.readers
    assert reader.fileno() >= 0
    reader.doRead()
    assert hints(watched) == ({"a": True}, {})


def test_the_latest_word_counts(watch: Watch, box: Box, watched: Watched) -> None:
    box.put("cur", "a:2,")
    for before, after in (("", "S"), ("S", ""), ("", "F")):
        box.move(f"cur/a:2,{before}", f"cur/a:2,{after}")
    watch.drain()
    assert hints(watched) == ({}, {"a:2,": False, "a:2,S": False, "a:2,F": True})


def test_names_of_any_octets(watch: Watch, box: Box, watched: Watched) -> None:
    name = os.fsdecode(b"\xff caf\xe9:2,S")
    box.put("cur", name)
    box.put("cur", "x" * 255)
    watch.drain()
    assert hints(watched) == ({}, {name: True, "x" * 255: True})


def test_own_doings_are_not_told(watch: Watch, box: Box, watched: Watched) -> None:
    for name in ("a", "b"):
        box.put("new", name)
    watch.drain()
    watched.take()
    for key in (("new", "a", False), ("cur", "a:2,", True)):
        watched.expect(*key)
    box.move("new/a", "cur/a:2,")
    watched.expect("cur", "a:2,", False)
    (box.path / "cur" / "a:2,").unlink()
    watch.drain()
    assert not watched.hints
    box.put("cur", "a:2,")
    watch.drain()
    assert hints(watched) == ({}, {"a:2,": True}), "announced once, not told once"
    assert box.noticed_times == 2


def test_what_was_announced_and_not_done_is_told_when_others_do_it(watch: Watch, box: Box, watched: Watched) -> None:
    watched.expect("cur", "a:2,", True)
    watched.unexpect("cur", "a:2,", True)
    watched.unexpect("cur", "a:2,", True)
    box.put("cur", "a:2,")
    watch.drain()
    assert hints(watched) == ({}, {"a:2,": True})


# --- halves of renames


def test_a_file_that_leaves_is_told_when_it_did_not_arrive(
    watch: Watch, box: Box, watched: Watched, reactor: FakeReactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    box.put("cur", "a:2,")
    watch.drain()
    watched.take()
    box.move("cur/a:2,", "tmp/a")
    for _ in range(3):  # however often somebody looks meanwhile
        watch.drain()
        assert not watched.hints
    clock.now += 2 * watch_module.PATIENCE
    reactor.turn()
    assert hints(watched) == ({}, {"a:2,": False})


def test_halves_that_are_read_apart(watch: Watch, box: Box, watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    cur = next(number for number, name in watched.descriptors.items() if name == "cur")
    halves = [Event(cur, IN_MOVED_FROM, 7, "a:2,"), Event(cur, 0x80, 7, "a:2,S")]

    def read(events: list[Event]) -> None:
        monkeypatch.setattr(Inotify, "read", lambda _: iter(events))
        watch.drain()

    read(halves[:1])
    read([])
    read([])
    assert not watched.hints, "it left just now"
    clock.now += watch_module.PATIENCE / 2
    read(halves[1:])
    assert hints(watched) == ({}, {"a:2,": False, "a:2,S": True})
    clock.now += 1
    read([])
    assert not watched.hints


class Clock:
    """In the place of time.monotonic, for the watch."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(watch_module.time, "monotonic", lambda: self.now)


def test_a_move_from_one_mailbox_to_another_is_told_to_both(watch: Watch, box: Box, watched: Watched) -> None:
    other = Box(box.path.with_name("other"))
    there = watch.add(other.path, other)
    box.put("cur", "a:2,")
    watch.drain()
    watched.take()
    box.move("cur/a:2,", f"{other.path}/cur/a:2,")
    watch.drain()
    assert hints(watched) == ({}, {"a:2,": False})
    assert hints(there) == ({}, {"a:2,": True})


# --- too much


def test_events_that_were_lost(watch: Watch, box: Box, watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    watched.expect("cur", "own:2,", True)
    with monkeypatch.context() as patch:
        patch.setattr(Inotify, "read", lambda _: iter([Event(-1, IN_Q_OVERFLOW, 0, "")]))
        watch.drain()
    assert watched.take().everything
    assert box.noticed_times == 1
    box.put("cur", "own:2,")
    watch.drain()
    assert hints(watched) == ({}, {"own:2,": True}), "what was announced may have been among the lost"


def test_more_names_than_are_worth_keeping(watched: Watched) -> None:
    for number in range(MAX_HINTS):
        watched.tell("cur", f"{number}:2,", True)
    assert not watched.hints.everything
    watched.tell("new", "one more", True)
    watched.tell("new", "and another", True)
    found = watched.take()
    assert (found.everything, found.new, found.cur) == (True, {}, {})
    assert not watched.take()


# --- directories that go


@pytest.mark.parametrize("name", ["new", "cur", ""])
@pytest.mark.parametrize("how", ["replaced", "moved"])
def test_a_directory_that_is_replaced_is_watched_again(
    watch: Watch, box: Box, watched: Watched, log: RecordingLog, name: str, how: str
) -> None:
    place = box.path / name
    if how == "moved":
        place.rename(box.path.with_name("away"))
    else:
        shutil.rmtree(place)
    (box.path / "new").mkdir(parents=True, exist_ok=True)
    (box.path / "cur").mkdir(exist_ok=True)
    (box.path / "tmp").mkdir(exist_ok=True)
    watch.drain()
    watch.drain()
    assert watched.take().everything
    assert watched.descriptors
    box.put("new", "a")
    box.put("cur", "b:2,")
    watch.drain()
    assert hints(watched) == ({"a": True}, {"b:2,": True})
    assert log.lines == []


def test_a_mailbox_that_is_gone_is_looked_at_now_and_then(
    watch: Watch, box: Box, watched: Watched, reactor: FakeReactor, log: RecordingLog
) -> None:
    shutil.rmtree(box.path)
    watch.drain()
    assert watched.take().everything
    assert not watched.descriptors
    before = box.noticed_times
    reactor.turn()
    assert box.noticed_times > before
    watch.remove(watched)
    before = box.noticed_times
    reactor.turn()
    reactor.turn()
    assert box.noticed_times == before
    assert [call for call in reactor.calls if call.active()] == []
    assert log.lines == [], "that is no lack of inotify"


def test_who_does_not_watch_any_more_hears_nothing(watch: Watch, box: Box, watched: Watched) -> None:
    box.put("cur", "a:2,")
    watch.remove(watched)
    watch.remove(watched)
    box.put("cur", "b:2,")
    watch.drain()
    assert not watched.hints
    assert box.noticed_times == 0


def test_one_directory_with_two_who_watch(watch: Watch, box: Box, watched: Watched) -> None:
    second = Box(box.path.with_name("unused"))
    link = box.path.with_name("link")
    link.symlink_to(box.path)
    other = watch.add(link, second)
    watched.expect("cur", "own:2,", True)
    box.put("cur", "own:2,")
    box.put("cur", "a:2,")
    watch.drain()
    assert hints(watched) == ({}, {"a:2,": True})
    assert hints(other) == ({}, {"own:2,": True, "a:2,": True})
    watch.remove(watched)
    box.put("cur", "b:2,")
    watch.drain()
    assert not watched.hints
    assert hints(other) == ({}, {"b:2,": True})


# --- paused


def test_paused(watch: Watch, box: Box, watched: Watched) -> None:
    with watch.paused(watched):
        assert watched.paused
        box.put("cur", "a:2,")
        watch.drain()
        assert not watched.hints
    assert not watched.paused
    assert watched.take().everything
    assert box.noticed_times == 1, "others may have done something meanwhile"
    box.put("cur", "b:2,")
    watch.drain()
    assert hints(watched) == ({}, {"b:2,": True})


def test_paused_when_the_mailbox_is_closed_meanwhile(watch: Watch, box: Box, watched: Watched) -> None:
    with pytest.raises(RuntimeError), watch.paused(watched):
        watch.remove(watched)
        raise RuntimeError
    box.put("cur", "a:2,")
    box.noticed_times = 0
    watch.drain()
    assert (watched.descriptors, box.noticed_times) == ({}, 0)


def test_unhurried_events_wait_and_none_is_lost(reactor: FakeReactor, watch: Watch, box: Box, watched: Watched) -> None:
    with watch.unhurried():
        with watch.unhurried():
            box.put("cur", "a:2,")
        assert reactor.readers == [], "the first of them is not over yet"
        assert not watched.hints
        reactor.turn()
        assert hints(watched) == ({}, {"a:2,": True}), "now and then they are read all the same"
        box.put("cur", "b:2,")
    assert reactor.readers == [], "who does one thing soon does another"
    reactor.turn()
    assert hints(watched) == ({}, {"b:2,": True})
    with watch.unhurried():
        box.put("cur", "c:2,")
    reactor.turn()
    assert reactor.readers == [] and hints(watched) == ({}, {"c:2,": True})
    box.put("cur", "d:2,")
    reactor.turn()
    assert reactor.readers == [watch] and hints(watched) == ({}, {"d:2,": True})
    assert not any(call.active() for call in reactor.calls)
    box.put("cur", "e:2,")
    reactor.turn()
    assert hints(watched) == ({}, {"e:2,": True}), "at once again"


def test_unhurried_when_the_watch_is_closed_meanwhile(reactor: FakeReactor, watch: Watch) -> None:
    with watch.unhurried():
        watch.close()
    assert reactor.readers == []
    assert not any(call.active() for call in reactor.calls)


# --- without inotify


def fails(*_: Any) -> Any:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


@pytest.mark.parametrize("call", ["__init__", "add"])
def test_without_inotify_mailboxes_are_looked_at(
    reactor: FakeReactor, log: RecordingLog, box: Box, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setattr(Inotify, call, fails)
    watch = Watch(reactor, log)
    watched, other = watch.add(box.path, box), watch.add(box.path, box)
    assert not watched.descriptors
    watched.expect("cur", "a:2,", True)
    watch.drain()
    for times in (2, 4):
        reactor.turn()
        assert box.noticed_times == times
    with watch.paused(watched):
        assert not watched.paused
    assert log.whats() == ["no inotify; changes by other programs are looked for every second"]
    for each in (watched, other):
        watch.remove(each)
    reactor.turn()
    assert box.noticed_times == 4
    assert [each for each in reactor.calls if each.active()] == []
    watch.close()


def test_the_last_watch_of_the_system_is_not_left_half_used(
    watch: Watch, box: Box, log: RecordingLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """new/ could be watched, cur/ could not."""
    real, removed = Inotify.add, []
    monkeypatch.setattr(Inotify, "remove", lambda self, descriptor: removed.append(descriptor))
    monkeypatch.setattr(
        Inotify, "add", lambda self, path, mask: fails() if Path(path).name == "cur" else real(self, path, mask)
    )
    watched = watch.add(box.path, box)
    assert watched.descriptors == {}
    assert len(removed) == 1
    assert log.whats("warning") == ["no inotify; changes by other programs are looked for every second"]


def test_closing_ends_what_was_planned(reactor: FakeReactor, log: RecordingLog, box: Box) -> None:
    watch = Watch(reactor, log)
    box.put("cur", "a:2,")
    watched = watch.add(box.path, box)
    box.move("cur/a:2,", "tmp/a")
    watch.drain()
    assert reactor.calls
    watch.close()
    assert watch.fileno() == -1
    assert [call for call in reactor.calls if call.active()] == []
    watch.drain()
    watch.remove(watched)
