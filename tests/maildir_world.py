"""A mailbox of a real store with other programs at work in its directory, and what a listener makes of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from transcripts import result

from mailstack.ports import (
    AccountName,
    Added,
    Change,
    Delivery,
    Expunged,
    Flag,
    Flags,
    FlagsChanged,
    MailboxGone,
    NewMessage,
)
from mailstack.store.api import Store
from mailstack.store.mailbox import OpenMailbox
from mailstack.store.watch import Noticing, Watch, Watched
from mailstack.store.workers import InlineWorkers
from mailstack.testing.log import RecordingLog

T = TypeVar("T")
ALICE = AccountName("alice@example.org")
SHM = Path("/dev/shm")
VARIANTS = ("stamps", "hand", "inotify")
"""No watch; a watch that is fed by comparing listings; the kernel's."""


def got(coroutine: Coroutine[Any, Any, T]) -> T:
    """Its result; a store with InlineWorkers does not wait."""
    found: T = result(coroutine)
    return found


class Call:
    """What `callLater` returns."""

    def __init__(self, fn: Callable[[], object]) -> None:
        self.fn = fn
        self.over = False

    def active(self) -> bool:
        return not self.over

    def cancel(self) -> None:
        self.over = True


class FakeReactor:
    """The three calls that a Watch makes. `turn` reads and runs everything that was planned."""

    def __init__(self) -> None:
        self.readers: list[Any] = []
        self.calls: list[Call] = []

    def addReader(self, reader: Any) -> None:
        self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:
        self.readers.remove(reader)

    def callLater(self, seconds: float, fn: Callable[[], object]) -> Call:
        self.calls.append(Call(fn))
        return self.calls[-1]

    def turn(self) -> None:
        for reader in list(self.readers):
            reader.doRead()
        calls, self.calls = self.calls, []
        for call in calls:
            if call.active():
                call.over = True
                call.fn()


class HandWatch:
    """Stands in for a Watch: `drain` tells the differences of listings since the last time."""

    def __init__(self) -> None:
        self.watched: dict[Watched, dict[tuple[str, str], bool]] = {}

    def add(self, folder: Path, who: Noticing) -> Watched:
        watched = Watched(folder, who)
        watched.descriptors = {1: "new", 2: "cur", 3: ""}
        self.watched[watched] = self._listing(folder) or {}
        return watched

    def remove(self, watched: Watched) -> None:
        self.watched.pop(watched, None)
        watched.descriptors = {}

    def drain(self) -> None:
        for watched, before in list(self.watched.items()):
            after = self._listing(watched.folder)
            if after is None:
                watched.tell_everything()
                self.remove(watched)
                watched.who.noticed()
                continue
            self.watched[watched] = after
            told = [watched.tell(*key, False) for key in before if key not in after]
            told += [watched.tell(*key, True) for key in after if key not in before]
            for directory, name, present in list(watched._expected):  # done by us, undone by others
                if ((directory, name) in after) != present:
                    told.append(watched.tell(directory, name, not present))
            watched._expected.clear()
            if any(told):
                watched.who.noticed()

    @contextmanager
    def paused(self, watched: Watched) -> Iterator[None]:
        yield

    @contextmanager
    def unhurried(self) -> Iterator[None]:
        yield

    def close(self) -> None:
        self.watched.clear()

    def _listing(self, folder: Path) -> dict[tuple[str, str], bool] | None:
        """None if the folder is gone."""
        try:
            entries = [(name, entry.name) for name in ("new", "cur") for entry in os.scandir(folder / name)]
        except FileNotFoundError:
            return None
        return dict.fromkeys(entries, True)


class Mirror:
    """A listener that knows the mailbox only from what it is told."""

    def __init__(self, mailbox: OpenMailbox) -> None:
        self.mailbox = mailbox
        self.heard: list[Change] = []
        self.gone = False
        self.flags: dict[int, int] = {uid: mailbox.flags(uid) or 0 for uid in mailbox.uids}

    def changed(self, change: Change) -> None:
        self.heard.append(change)
        match change:
            case Added(uids):
                for uid in uids:
                    assert uid not in self.flags, f"{uid} was added twice"
                    self.flags[uid] = self._now(uid)
            case FlagsChanged(uids):
                self.flags.update((uid, self._now(uid)) for uid in uids)
            case Expunged(uids):
                for uid in uids:
                    del self.flags[uid]
            case MailboxGone():
                self.gone = True
                self.flags.clear()  # what comes now is of another selection

    def _now(self, uid: int) -> int:
        flags = self.mailbox.flags(uid)
        assert flags is not None
        return flags


class World:
    """A store with one account and its INBOX open, if not closed."""

    def __init__(self, data: Path, variant: str = "stamps", name: str = "INBOX") -> None:
        self.data, self.variant, self.name = data, variant, name
        self.counter = 0
        self.log = RecordingLog()
        self.start()
        self.path = self.mailbox.files.path

    def start(self) -> None:
        """As a new process does."""
        self.reactor = FakeReactor()
        watch: Any = None
        if self.variant == "inotify":
            watch = Watch(self.reactor, self.log)
        elif self.variant == "hand":
            watch = HandWatch()
        self.store = Store(self.data, InlineWorkers(), self.log, watch)
        self.account: Any = got(self.store.account(ALICE))
        self.open()

    def open(self) -> None:
        self.mirror: Mirror
        early: list[Change] = []

        class Early:
            def changed(self, change: Change) -> None:
                early.append(change)

        listener = Early()
        self.mailbox: OpenMailbox = got(self.account.open(self.name, listener))
        self.mirror = Mirror(self.mailbox)
        self.mailbox.listen(self.mirror)
        self.mailbox.close(listener)

    def stop(self) -> None:
        """As a process that ends in good order."""
        self.mailbox.close(self.mirror)
        got(self.store.close())

    # --- others

    def octets(self, *, crlf: bool = True) -> bytes:
        self.counter += 1
        text = b"Subject: %d\n\nbody of %d\n" % (self.counter, self.counter)
        return text.replace(b"\n", b"\r\n") if crlf else text

    def unique(self) -> str:
        """As procmail names files."""
        self.counter += 1
        return f"1790000000.{os.getpid()}_{self.counter}.other"

    def foreign(self, name: str = "", directory: str = "new", *, crlf: bool = True, sized: bool = False) -> Path:
        """A file that another program puts into place by rename, as procmail and maildrop do."""
        octets = self.octets(crlf=crlf)
        name = name or self.unique() + (f",S={len(octets)}" if sized else "")
        part = self.path / "tmp" / name
        part.write_bytes(octets)
        part.rename(self.path / directory / name)
        return self.path / directory / name

    # --- ours

    def blob(self, octets: bytes = b"") -> Any:
        sink = self.store.spool.sink()
        got(sink.write(octets or self.octets()))
        return got(sink.finish())

    def append(self, flags: Flags | None = None, octets: bytes = b"") -> int:
        blob = self.blob(octets)
        appended = got(self.account.append(self.name, [NewMessage(blob, flags or Flags())]))
        blob.discard()
        uid: int = appended.uids[0]
        return uid

    def deliver(self) -> None:
        blob = self.blob()
        assert got(self.store.deliver(blob, [Delivery(ALICE, self.name, b"")])) == [None]
        blob.discard()

    # --- looking

    def refresh(self) -> None:
        """What a command does before it answers, and what the reactor does meanwhile."""
        self.reactor.turn()
        got(self.mailbox.refresh())

    def seen(self) -> dict[int, tuple[bytes, int]]:
        """UID → first line and flags, as the mailbox serves them."""
        uids = list(self.mailbox.uids)
        lines = got(self.mailbox.examine(uids, lambda octets: octets[: octets.find(b"\r\n")]))
        return {uid: (line or b"?", self.mailbox.flags(uid) or 0) for uid, line in zip(uids, lines, strict=True)}

    def agrees(self) -> dict[int, tuple[bytes, int]]:
        """As `seen`; the listener and a new process see the same."""
        found = self.seen()
        if not self.mirror.gone:
            assert self.mirror.flags == {uid: flags for uid, (_, flags) in found.items()}
        assert as_new_process(self.data, self.name) == found
        return found


def as_new_process(data: Path, name: str = "INBOX") -> dict[int, tuple[bytes, int]]:
    """What a process sees that starts now. It does not save."""
    other = World(data, "stamps", name)
    found = other.seen()
    other.store.indexes.close()
    other.store.directories.clear()
    return found


SEEN, FLAGGED, DELETED = int(Flag.SEEN), int(Flag.FLAGGED), int(Flag.DELETED)
