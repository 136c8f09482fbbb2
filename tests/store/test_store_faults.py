"""Every system call of every change fails once, with the disk full, an error of the disk, or no descriptor
left: nothing is lost, nothing is there by half, and memory and disk agree."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from faults import ERRORS, Faults
from faults import faults as faults
from transcripts import result

from mailstack.errors import Problem, Refused
from mailstack.ports import AccountName, Change, Delivery, Flag, FlagAction, Flags, NewMessage
from mailstack.store.api import Store
from mailstack.store.index import FILE as INDEX
from mailstack.store.maildir.deliver import Directories, deliver
from mailstack.store.maildir.layout import Folder, make
from mailstack.store.maildir.names import UniqueNames, sizes
from mailstack.store.workers import InlineWorkers
from mailstack.testing.log import RecordingLog

T = TypeVar("T")
ALICE = AccountName("alice@example.org")
LARGE = 200_000

pytestmark = pytest.mark.parametrize("error", ERRORS, ids=[errno.errorcode[error] for error in ERRORS])


def got(coroutine: Coroutine[Any, Any, T]) -> T:
    found: T = result(coroutine)
    return found


class Listener:
    def changed(self, change: Change) -> None:
        """Nothing to remember: the columns are looked at."""


Seen = dict[str, dict[int, tuple[int, bytes]]]


class World:
    """A store, and what a new process would see of the same files."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.store = Store(data, InlineWorkers(), RecordingLog())
        self.account: Any = got(self.store.account(ALICE))
        self.told: dict[tuple[str, int, int], bytes] = {}

    def append(self, name: str, *texts: bytes) -> list[int]:
        messages = [NewMessage(self.blob(text), Flags(Flag.SEEN, frozenset({"kw"})), 1e9) for text in texts]
        try:
            return list(got(self.account.append(name, messages)).uids)
        finally:
            for message in messages:
                message.blob.discard()

    def blob(self, text: bytes) -> Any:
        sink = self.store.spool.sink()
        got(
            sink.write(b"Subject: " + text + b"\r\n\r\n" + b"x" * (LARGE if text.startswith(b"large") else 3) + b"\r\n")
        )
        return got(sink.finish())

    def look(self, store: Store | None = None) -> Seen:
        """Everything, as this store sees it."""
        account = got((store or self.store).account(ALICE))
        seen: Seen = {}
        for entry in got(account.mailboxes()):
            if entry.selectable:
                mailbox = got(account.open(entry.name, listener := Listener()))
                got(mailbox.refresh())
                seen[entry.name] = {
                    uid: (mailbox.flags(uid) or 0, got(mailbox.read(uid, 0, 40)) or b"") for uid in mailbox.uids
                }
                for uid, (_, text) in seen[entry.name].items():
                    assert self.told.setdefault((entry.name, mailbox.uid_validity, uid), text) == text
                mailbox.close(listener)
        return seen

    def check(self) -> Seen:
        """What is there; the same for this process as for a new one."""
        anew = Store(self.data, InlineWorkers(), RecordingLog())
        fresh = self.look(anew)
        got(anew.close())
        assert self.look() == fresh
        for tmp in self.data.glob("mail/*/**/tmp"):
            assert [path for path in tmp.iterdir() if path.is_file()] == []
        assert not list(self.data.glob("mail/**/*.lock"))
        assert not list(self.data.glob("mail/**/*.tmp"))
        return fresh


def texts(mailbox: dict[int, tuple[int, bytes]]) -> list[bytes]:
    return [text.split(b"\r\n")[0].removeprefix(b"Subject: ") for _, text in mailbox.values()]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    got(world.store.close())


def descriptors() -> int:
    """Without those of the index, which is kept open once it was needed."""
    links = [os.path.realpath(path) for path in Path("/proc/self/fd").iterdir()]
    return sum(INDEX not in link for link in links)


def fails(faults: Faults, operation: Callable[[], Any], error: int) -> Iterator[BaseException | None]:
    """As `attempts`; what comes out is a refusal that says the right thing, and nothing stays open."""
    some = False
    for outcome in faults.attempts(operation, error):
        if outcome is not None:
            some = True
            assert isinstance(outcome, Refused), outcome
            full = error == errno.ENOSPC
            assert outcome.problem is (Problem.DISK_FULL if full else Problem.STORE_UNAVAILABLE), faults.fired
        yield outcome
    assert some


@pytest.mark.parametrize("large", [False, True], ids=["memory", "file"])
def test_deliver(tmp_path: Path, faults: Faults, error: int, large: bool) -> None:
    folder, directories, unique = tmp_path / "m", Directories(), UniqueNames()
    make(Folder("INBOX", folder))
    text = b"x" * (LARGE if large else 10)
    (tmp_path / "spool").write_bytes(text if large else b"")
    source = os.open(tmp_path / "spool", os.O_RDONLY) if large else -1
    before, delivered, some = descriptors(), 0, False

    def operation() -> None:
        directories.clear()
        parts = [b"Return-Path: <>\r\n", b"" if large else text]
        deliver(directories, folder, unique, parts, source, 17 + len(text))

    for outcome in faults.attempts(operation, error):
        delivered += outcome is None
        some = some or outcome is not None
        assert outcome is None or (isinstance(outcome, OSError) and outcome.errno == error)
        assert list((folder / "tmp").iterdir()) == []
        assert len(list((folder / "new").iterdir())) == delivered
    assert some
    directories.clear()
    assert descriptors() == before
    for path in (folder / "new").iterdir():
        assert path.read_bytes() == b"Return-Path: <>\r\n" + text
        assert path.stat().st_mode & 0o777 == 0o600
        assert sizes(path.name).octets == sizes(path.name).with_crlf == 17 + len(text)
    if large:
        os.close(source)


def test_store_delivers(world: World, faults: Faults, error: int) -> None:
    blob = world.blob(b"delivered")
    problems: list[Problem | None] = []

    def operation() -> None:
        world.store.directories.clear()
        problems[:] = got(world.store.deliver(blob, [Delivery(ALICE, "INBOX", b"")]))
        if problems != [None]:
            raise Refused(problems[0] or Problem.STORE_UNAVAILABLE, "")

    delivered = 0
    for outcome in fails(faults, operation, error):
        delivered += outcome is None
        assert texts(world.check()["INBOX"]) == [b"delivered"] * delivered
    blob.discard()


@pytest.mark.parametrize("second", [b"two", b"large"])
def test_append_is_all_or_none(world: World, faults: Faults, error: int, second: bytes) -> None:
    done = 0
    before = descriptors()
    for outcome in fails(faults, lambda: world.append("Sent", b"one", second), error):
        done += outcome is None
        assert texts(world.check()["Sent"]) == [b"one", second] * done
    assert descriptors() <= before + 2  # the spool and the directories of the last


def test_copy_is_all_or_none(world: World, faults: Faults, error: int) -> None:
    world.append("INBOX", b"one", b"two", b"three")
    inbox = got(world.account.open("INBOX", Listener()))
    done = 0
    for outcome in fails(faults, lambda: got(inbox.copy(inbox.uids, "Archive")), error):
        done += outcome is None
        seen = world.check()
        assert texts(seen["Archive"]) == [b"one", b"two", b"three"] * done
        assert texts(seen["INBOX"]) == [b"one", b"two", b"three"]
        assert len({flags for flags, _ in [*seen["Archive"].values(), *seen["INBOX"].values()]}) == 1


def test_copy_to_another_device(world: World, faults: Faults, error: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_link(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, "another device")

    monkeypatch.setattr(os, "link", no_link)
    world.append("INBOX", b"one", b"large two")
    inbox = got(world.account.open("INBOX", Listener()))
    done = 0
    for outcome in fails(faults, lambda: got(inbox.copy(inbox.uids, "Archive")), error):
        done += outcome is None
        assert texts(world.check()["Archive"]) == [b"one", b"large two"] * done
    archive = got(world.account.open("Archive", Listener()))
    got(inbox.measure(inbox.uids))
    got(archive.measure(archive.uids))
    assert {archive.internal_date(uid) for uid in archive.uids} == {1e9}
    assert {archive.size(uid) for uid in archive.uids} == {inbox.size(uid) for uid in inbox.uids}


def test_move_loses_nothing(world: World, faults: Faults, error: int) -> None:
    world.append("INBOX", b"one", b"two")
    inbox = got(world.account.open("INBOX", Listener()))
    for outcome in fails(faults, lambda: got(inbox.move(inbox.uids, "Archive", None)), error):
        seen = world.check()
        assert {*texts(seen["INBOX"]), *texts(seen["Archive"])} == {b"one", b"two"}
        if outcome is None:
            assert texts(seen["INBOX"]) == []
            break


def test_flags_agree_with_the_disk(world: World, faults: Faults, error: int) -> None:
    world.append("INBOX", b"one", b"two", b"three")
    inbox = got(world.account.open("INBOX", Listener()))
    wanted = Flags(Flag.FLAGGED, frozenset({"new-keyword"}))
    for outcome in fails(faults, lambda: got(inbox.store_flags(inbox.uids, FlagAction.ADD, wanted, None)), error):
        seen = world.check()["INBOX"]
        assert texts(seen) == [b"one", b"two", b"three"]
        assert all(flags & Flag.SEEN for flags, _ in seen.values())
        if outcome is None:
            assert all(flags & Flag.FLAGGED for flags, _ in seen.values())


def test_expunge_agrees_with_the_disk(world: World, faults: Faults, error: int) -> None:
    world.append("INBOX", b"one", b"two", b"three", b"four")
    inbox = got(world.account.open("INBOX", Listener()))
    three = list(inbox.uids)[:3]
    for outcome in fails(faults, lambda: got(inbox.expunge(three, None)), error):
        seen = texts(world.check()["INBOX"])
        assert seen[-1] == b"four"
        if outcome is None:
            assert seen == [b"four"]
            break


def test_folders(world: World, faults: Faults, error: int) -> None:
    """Whatever fails, each step can be done again until it is done."""
    steps: list[tuple[Callable[[], Any], Problem | None]] = [
        (lambda: got(world.account.create("A/B", "\\Archive")), Problem.MAILBOX_EXISTS),
        (lambda: world.append("A/B", b"kept"), None),
        (lambda: got(world.account.subscribe("A/B")), None),
        (lambda: got(world.account.rename("A", "C/D")), None),
    ]
    for operation, done in steps:
        for outcome in faults.attempts(operation, error):
            world.check()
            if outcome is None:
                break
            assert isinstance(outcome, Refused), (outcome, faults.fired)
            if outcome.problem is done:
                break  # it had been done but for the last sync
    seen = world.check()
    assert b"kept" in texts(seen["C/D/B"])
    assert "A/B" in got(world.account.subscriptions())
