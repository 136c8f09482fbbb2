"""What other programs do to open mailboxes, told as it happens.

One inotify queue for the process. A mailbox has a `Watched`, which collects names until the mailbox looks
at them; what this process does itself is announced (`expect`) and not told back. Where there is no inotify,
or no more of it, mailboxes are asked for their directories' time stamps every second instead."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Protocol

from mailstack.ports import Log
from mailstack.store.inotify import (
    IN_CREATE,
    IN_DELETE,
    IN_DELETE_SELF,
    IN_IGNORED,
    IN_MASK_ADD,
    IN_MOVE_SELF,
    IN_MOVED_FROM,
    IN_MOVED_TO,
    IN_Q_OVERFLOW,
    Event,
    Inotify,
)
from mailstack.store.maildir.differences import Hints

SWEEP = 1.0
"""Seconds between looks at mailboxes that nothing watches."""
PATIENCE = 0.002
"""Seconds that the second half of a rename may be late: the kernel writes both at once."""
UNHURRIED = 0.02
"""Seconds between readings while this process changes many files: some 2,000 events."""
MAX_HINTS = 10_000
"""Names that are kept for a mailbox; with more of them, reading the directories is quicker."""
_CAME, _WENT = IN_CREATE | IN_MOVED_TO, IN_DELETE | IN_MOVED_FROM
_NAMES = _CAME | _WENT
_SELF = IN_DELETE_SELF | IN_MOVE_SELF


Half = tuple[int, str]
"""inotify's descriptor and a name."""
SEVERAL = 16
"""Changes of one command that are told by the watch all at once, not as they come."""
MANY = 1000
"""Changes of one command that are many, if the mailbox is not too large for reading all of it afterwards."""
READ_AS_QUICKLY = 4
"""Messages of a directory that are read in the time in which a watch tells of one change."""


class Noticing(Protocol):
    """Who has the directory open. Called in the reactor's thread; must not block."""

    def noticed(self) -> None: ...


class Watched:
    """One mailbox that is watched, or looked at now and then when `descriptors` is empty."""

    def __init__(self, folder: Path, who: Noticing) -> None:
        self.folder = folder
        self.who = who
        self.paused = False
        self.over = False
        """Whether nobody wants to hear of it any more."""
        self.hints = Hints()
        self.descriptors: dict[int, str] = {}
        """inotify's descriptor → "new", "cur" or "" for the mailbox itself."""
        self._expected: set[tuple[str, str, bool]] = set()

    @property
    def listens(self) -> bool:
        """Whether it hears of anything now. From any thread."""
        return bool(self.descriptors)

    def expect(self, directory: str, name: str, present: bool) -> None:
        """This process is about to do that. From any thread."""
        if self.descriptors:
            self._expected.add((directory, name, present))

    def unexpect(self, directory: str, name: str, present: bool) -> None:
        """It was not done after all. From any thread."""
        self._expected.discard((directory, name, present))

    def take(self) -> Hints:
        """What was noticed since the last time."""
        hints, self.hints = self.hints, Hints()
        return hints

    def tell(self, directory: str, name: str, present: bool) -> bool:
        """One event; whether it was somebody else's doing."""
        key = (directory, name, present)
        if key in self._expected:
            self._expected.discard(key)
            return False
        hints = self.hints
        if not hints.everything:
            (hints.cur if directory == "cur" else hints.new)[name] = present
            if len(hints.cur) + len(hints.new) > MAX_HINTS:
                self.hints = Hints(everything=True)
        return True

    def tell_everything(self) -> None:
        """Events were lost."""
        self._expected.clear()
        self.hints = Hints(everything=True)


class Watch:
    """All mailboxes that this process has open. In the reactor's thread."""

    def __init__(self, reactor: Any, log: Log) -> None:
        self._reactor = reactor
        self._log = log
        self._inotify: Inotify | None = None
        self._of: dict[int, list[Watched]] = {}
        """Who watches a descriptor. More than one if links make two mailboxes of one directory."""
        self._halves: dict[int, tuple[Half, float]] = {}
        """Renames of which the first half was read, by cookie, and when."""
        self._unwatched: set[Watched] = set()
        self._sweep: Any = None
        self._again: Any = None
        self._complained = False
        self._unhurried = 0
        """How many are in `unhurried`."""
        self._lately = False
        """Whether somebody was since the queue was last read."""
        self._now_and_then: Any = None
        """The next reading; None while the reactor says when there is something to read."""
        try:
            self._inotify = Inotify()
            reactor.addReader(self)
        except OSError as error:
            self._without(error)

    def add(self, folder: Path, who: Noticing) -> Watched:
        """Watch a mailbox. What is there already is not told."""
        watched = Watched(folder, who)
        self._begin(watched)
        return watched

    def _begin(self, watched: Watched) -> None:
        folder = watched.folder
        if watched.over:
            return
        if self._inotify is not None:
            try:
                for name, mask in (("new", _NAMES | _SELF), ("cur", _NAMES | _SELF), ("", _SELF)):
                    descriptor = self._inotify.add(folder / name if name else folder, mask | IN_MASK_ADD)
                    watched.descriptors[descriptor] = name
                    self._of.setdefault(descriptor, []).append(watched)
                return
            except OSError as error:
                self._end(watched)
                if not isinstance(error, FileNotFoundError | NotADirectoryError):
                    self._without(error)
        self._unwatched.add(watched)
        self._plan_sweep()

    def remove(self, watched: Watched) -> None:
        """Watch it no more. Idempotent."""
        watched.over = True
        self._end(watched)

    def _end(self, watched: Watched) -> None:
        self._unwatched.discard(watched)
        descriptors, watched.descriptors = watched.descriptors, {}
        for descriptor in descriptors:
            others = self._of.get(descriptor, [])
            if watched in others:
                others.remove(watched)
            if not others and self._of.pop(descriptor, None) is not None and self._inotify is not None:
                self._inotify.remove(descriptor)

    def _again_from_the_start(self, watched: Watched) -> None:
        """Another directory may have taken the place of the one that was watched."""
        self._end(watched)
        self._begin(watched)
        watched.tell_everything()

    @contextmanager
    def paused(self, watched: Watched) -> Iterator[None]:
        """Do not look for a while: so much is about to be changed by this process that reading the
        directories afterwards is cheaper than hearing of each file."""
        if not watched.descriptors:
            yield
            return
        self._end(watched)
        watched.paused = True
        try:
            yield
        finally:
            watched.paused = False
            self._begin(watched)
            watched.tell_everything()
            watched.who.noticed()

    @contextmanager
    def unhurried(self) -> Iterator[None]:
        """Read only now and then: this process is about to change files, and to be woken for each costs more
        than it is worth. It lasts a moment longer, since who appends one message soon appends another."""
        self._unhurried += 1
        self._lately = True
        if self._now_and_then is None and self._inotify is not None:
            self._reactor.removeReader(self)
            self._now_and_then = self._reactor.callLater(UNHURRIED, self._read_unhurried)
        try:
            yield
        finally:
            self._unhurried -= 1

    def _read_unhurried(self) -> None:
        self._now_and_then = None
        if self._inotify is None:
            return
        if self._unhurried or self._lately:
            self._now_and_then = self._reactor.callLater(UNHURRIED, self._read_unhurried)
        else:
            self._reactor.addReader(self)
        self._lately = False
        self.drain()

    def drain(self) -> None:
        """Read what the kernel has to tell, so that every change which was made before this call is known
        to its `Watched` after it."""
        if self._inotify is None:
            return
        woken: set[Watched] = set()
        for event in self._inotify.read():
            self._event(event, woken)
        self._judge_halves(woken)
        for watched in woken:
            watched.who.noticed()

    def close(self) -> None:
        for call in (self._sweep, self._again, self._now_and_then):
            if call is not None and call.active():
                call.cancel()
        if self._inotify is not None:
            if self._now_and_then is None:
                self._reactor.removeReader(self)
            self._inotify.close()
            self._inotify = None

    # --- twisted.internet.interfaces.IReadDescriptor

    def fileno(self) -> int:
        return self._inotify.fd if self._inotify is not None else -1

    def doRead(self) -> None:
        self.drain()

    def connectionLost(self, reason: object) -> None:
        """The reactor ends."""

    def logPrefix(self) -> str:
        return "watch"

    # --- events

    def _event(self, event: Event, woken: set[Watched]) -> None:
        if event.mask & IN_Q_OVERFLOW:
            for watched in {each for several in self._of.values() for each in several}:
                watched.tell_everything()
                woken.add(watched)
            return
        found = self._of.get(event.descriptor)
        if found is None:
            return
        if event.mask & (_SELF | IN_IGNORED):
            for watched in list(found):
                self._again_from_the_start(watched)
                woken.add(watched)
            return
        half = self._halves.pop(event.cookie, None) if event.cookie else None
        if half is not None:
            self._tell(half[0], False, woken)
        if event.mask & IN_MOVED_FROM:
            self._halves[event.cookie] = (event.descriptor, event.name), time.monotonic()
        else:
            self._tell((event.descriptor, event.name), bool(event.mask & _CAME), woken)

    def _tell(self, half: Half, came: bool, woken: set[Watched]) -> None:
        descriptor, name = half
        for watched in self._of.get(descriptor, ()):
            if watched.tell(watched.descriptors[descriptor], name, came):
                woken.add(watched)

    def _judge_halves(self, woken: set[Watched]) -> None:
        """A file that left and was not seen to arrive went elsewhere, unless it left just now."""
        now = time.monotonic()
        for cookie, (half, read) in list(self._halves.items()):
            if now - read >= PATIENCE:
                del self._halves[cookie]
                self._tell(half, False, woken)
        if self._halves and (self._again is None or not self._again.active()):
            self._again = self._reactor.callLater(PATIENCE, self.drain)

    # --- without inotify

    def _without(self, error: OSError) -> None:
        if not self._complained:
            self._complained = True
            self._log.warning("no inotify; changes by other programs are looked for every second", reason=str(error))

    def _plan_sweep(self) -> None:
        if self._unwatched and (self._sweep is None or not self._sweep.active()):
            self._sweep = self._reactor.callLater(SWEEP, self._look)

    def _look(self) -> None:
        for watched in list(self._unwatched):
            watched.who.noticed()
        self._plan_sweep()


def heedless(watch: Watch | None, watched: Watched | None, count: int, messages: int) -> AbstractContextManager[object]:
    """So much is to be changed (`count` of `messages`) that nobody should be woken for each file, or even that hearing
    of each costs more than reading the directory afterwards."""
    if watch is None or watched is None or count < SEVERAL:
        return nullcontext()
    if count < MANY or READ_AS_QUICKLY * count < messages:
        return watch.unhurried()
    return watch.paused(watched)
