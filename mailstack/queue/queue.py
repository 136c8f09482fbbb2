"""The queue: takes messages durably, says what is due, and takes down what became of it.

A message is ours when its file and then its row are on the disk. It is done when its row is gone, in the same commit
that brings the report of a failure: a crash neither loses a message nor reports it twice."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, TypeVar

import apsw

from mailstack.errors import Problem, Refused
from mailstack.ports import Blob, Envelope, Log
from mailstack.queue.commits import Commits
from mailstack.queue.content import Damaged, Files, Slice
from mailstack.queue.contents import Contents
from mailstack.queue.database import QueueDatabase
from mailstack.queue.items import UNREADABLE, Attempt, DestinationState, Item, Placed, Waiting
from mailstack.queue.recording import Recorded, record
from mailstack.queue.rerouting import Choose, reroute
from mailstack.queue.schedule import Schedule
from mailstack.store.spool import StoredBlob, refusal
from mailstack.store.workers import Workers

T = TypeVar("T")
ROUTES = "routes"
"""What the database calls the signature of the routes."""


class Placing(Protocol):
    """Decides where recipients are sent."""

    def places(self, envelope: Envelope) -> Sequence[tuple[str, tuple[int, ...], str]]:
        """Destinations, with indexes of the recipients and why it is held, "" if it is not."""


class Hears(Protocol):
    """Wants to know what is new in the queue."""

    def arrived(self, destination: str, due: float, waiting: Waiting | None = None) -> None:
        """Something is due at a destination; `waiting` is it, if nobody can have changed it meanwhile."""


@dataclass(frozen=True, slots=True)
class NewReport:
    """A message of our own that is queued as another one is settled."""

    envelope: Envelope
    parts: tuple[bytes | Slice, ...]


@dataclass(frozen=True, slots=True)
class Settled:
    """What becomes of one row: `rest` is the row as it is then, None if nobody waits any more."""

    waiting: Waiting
    rest: Waiting | None
    attempt: Attempt | None = None
    reports: tuple[NewReport, ...] = ()


@dataclass(frozen=True, slots=True)
class NewItem:
    """An item that is in its file, and not yet in the database."""

    item: Item
    places: tuple[Placed, ...]
    warn_at: float | None

    def add_to(self, database: QueueDatabase) -> None:
        """Within a transaction."""
        database.add(self.item, self.places, self.warn_at)

    def row(self, place: Placed) -> Waiting:
        """What the database has then of one place."""
        item, priority = self.item, self.item.envelope.parameters.priority
        return Waiting(item, place.destination, place.recipients, place.due, 0, priority, place.held, self.warn_at)


class MailQueue:
    """Implements `ports.Outbound`."""

    def __init__(
        self,
        files: Files,
        database: QueueDatabase,
        workers: Workers,
        log: Log,
        *,
        schedule: Schedule,
        placing: Placing,
        clock: Callable[[], float],
    ) -> None:
        self.schedule = schedule
        self.placing = placing
        self.hears: Hears | None = None
        self._files = files
        self._database = database
        self._workers = workers
        self._log = log
        self._clock = clock
        self._commits = Commits(database, workers, files.sync)
        self._contents = Contents(files, workers, log)

    def close(self) -> None:
        """When the workers have ended."""
        self._database.close()
        self._files.close()

    def may_send(self) -> bool:
        """Whether what is queued is for this process to send; only one that has been told so runs a Runner."""
        return self._files.send_alone()

    async def enqueue(self, envelope: Envelope, prefix: bytes, blob: Blob) -> str:
        assert isinstance(blob, StoredBlob), "a blob of the store's own spool"
        size = len(prefix) + blob.size
        try:
            parts = (prefix, *blob.chunks)
            written = await self._workers.run(partial(self._write_new, envelope, parts, size, blob.fd, blob.start))
            await self._commit_new((written,), partial(written.add_to, self._database))
        except (OSError, apsw.Error) as error:
            raise _refused(error) from error
        if blob.fd < 0 and not all(place.held for place in written.places):
            self._contents.keep(written.item.id, parts)
        self._tell(written)
        return written.item.id

    async def hasten(self, domain: str, *, subdomains: bool = False) -> int:
        below = f".{domain.lower()}"

        def concerns(waiting: Waiting) -> bool:
            names = {waiting.item.envelope.recipients[number].domain.lower() for number in waiting.recipients}
            return any(name == domain.lower() or (subdomains and name.endswith(below)) for name in names)

        return await self.release(concerns, held=False)

    async def release(self, which: Callable[[Waiting], bool], *, held: bool) -> int:
        """Make due now what is waiting, also what is held if `held`; returns how many rows that is.
        Raises: Refused(QUEUE_UNAVAILABLE)."""
        now = self._clock()
        found: list[Waiting] = []

        def change() -> None:
            found.clear()
            after = ("", "")
            while rows := self._database.all(after):
                after = rows[-1].item.id, rows[-1].destination
                for row in rows:
                    if which(row) and (held or not row.held):
                        found.append(replace(row, due=now, held=""))
            for row in found:
                self._database.replace(row)
                self._database.clear_destination(row.destination)

        await self._changed(change)
        for row in found:
            if self.hears is not None:
                self.hears.arrived(row.destination, now)
        return len(found)

    # --- for the runner

    async def due(self, destination: str, most: int, without: Collection[str]) -> tuple[list[Waiting], float | None]:
        """What is due at a destination, and when something is due there next if nothing is.
        Raises: apsw.Error."""
        now, known = self._clock(), frozenset(without)

        def read() -> tuple[list[Waiting], float | None]:
            found = self._database.next_of(destination, now, most, known)
            return found, None if found else self._database.next_due(destination, now)

        found = await self._commits.read(read)
        await self.hold_unreadable()
        await self._contents.read_ahead([waiting.item for waiting in found[0]])
        return found

    async def hold_unreadable(self) -> None:
        """What could not be read, of all that was read so far, is in nobody's way any more.
        Raises: apsw.Error."""
        if not self._database.unreadable:
            return
        found = await self._commits.change(lambda: self._database.hold_unreadable(UNREADABLE))
        for (item, destination), reason in found.items():
            self._log.warning("queue row cannot be read and is held", id=item, destination=destination, reason=reason)

    async def ask(self, fn: Callable[[QueueDatabase], T]) -> T:
        """Read something else. Raises: apsw.Error."""
        return await self._commits.read(lambda: fn(self._database))

    async def change(self, fn: Callable[[QueueDatabase], T]) -> T:
        """Change something else, durably. Raises: apsw.Error, OSError."""
        return await self._commits.change(lambda: fn(self._database))

    async def read(self, item: Item, start: int, end: int) -> bytes:
        """Octets of a message. Raises: Damaged, OSError."""
        return await self._contents.read(item, start, end)

    async def settle(self, settled: Settled, state: DestinationState | None = None, *, reached: bool = False) -> None:
        """Take down what an attempt has come to; `state` is that of a destination that could not be reached, `reached`
        says that one can be again. What somebody has taken out meanwhile is not put back, nor reported. Durable on
        return. Raises: apsw.Error, OSError, Damaged when a message is not whole that a report should have; then
        nothing has changed."""
        reports: list[NewItem] = []
        try:
            for report in settled.reports:
                size = sum(map(len, report.parts))
                reports.append(await self._workers.run(partial(self._write, report.envelope, report.parts, size)))
        except (OSError, Damaged):
            for written in reports:
                self._contents.remove(written.item.id)
            raise
        recorded = await self._commit_new(reports, partial(self._take_down, settled, reports, state, reached))
        if recorded.gone:
            self._contents.remove(settled.waiting.item.id)
        for written in reports:
            if recorded.holds:
                self._tell(written)
            else:
                self._contents.remove(written.item.id)
        for row in recorded.left:
            if self.hears is not None and not row.held:
                self.hears.arrived(row.destination, row.due)

    def _take_down(
        self, settled: Settled, reports: Sequence[NewItem], state: DestinationState | None, reached: bool
    ) -> Recorded:
        if state is not None:
            self._database.set_destination(state)
        elif reached:
            self._database.clear_destination(settled.waiting.destination)
        recorded = record(self._database, settled)
        if recorded.holds:
            for written in reports:
                written.add_to(self._database)
        return recorded

    # --- inside

    async def _commit_new(self, written: Sequence[NewItem], change: Callable[[], T]) -> T:
        """Commit; without, the files are not left behind."""
        try:
            return await (self._commits.change_with_files(change) if written else self._commits.change(change))
        except (OSError, apsw.Error):
            for each in written:
                self._contents.remove(each.item.id)
            raise

    async def _changed(self, change: Callable[[], None]) -> None:
        try:
            await self._commits.change(change)
        except (OSError, apsw.Error) as error:
            raise _refused(error) from error

    def _write_new(
        self, envelope: Envelope, parts: Sequence[bytes | Slice], size: int, source: int, start: int
    ) -> NewItem:
        self._files.demand_room(size)
        return self._write(envelope, parts, size, source, start)

    def _write(
        self, envelope: Envelope, parts: Sequence[bytes | Slice], size: int, source: int = -1, start: int = 0
    ) -> NewItem:
        now = self._clock()
        name = f"{int(now * 1000):x}{os.urandom(4).hex()}"
        item = Item(name, envelope, now, self.schedule.expires(envelope, now), 0, size)
        placed = self.placed(item, now)  # first: what goes wrong in it leaves no file behind
        offset = self._files.write(name, envelope, now, parts, source, start)
        return replace(placed, item=replace(item, offset=offset))

    def placed(self, item: Item, now: float) -> NewItem:
        """A new item, and where it goes."""
        due = self.schedule.due(item.envelope, now)
        places = tuple(
            Placed(destination, recipients, due, held)
            for destination, recipients, held in self.placing.places(item.envelope)
        )
        return NewItem(item, places, self.schedule.warns(item.envelope, now))

    def _tell(self, written: NewItem) -> None:
        """Whatever goes wrong in it, the item is ours: he who gave it must not give it again."""
        try:
            for place in written.places:
                if self.hears is not None and not place.held:
                    self.hears.arrived(place.destination, place.due, written.row(place))
        except Exception:
            self._log.failure("nobody was told of a new message in the queue", id=written.item.id)

    async def reroute(self, choose: Choose, signature: str) -> int:
        """Send all that waits on its way anew if `signature`, of what decides about it, is not the one that it was
        placed by; returns how many rows have moved. Raises: apsw.Error, OSError."""
        if await self._commits.read(lambda: self._database.note(ROUTES)) == signature:
            return 0
        after: tuple[str, str] | None = ("", "")
        moved = 0
        while after is not None:
            after, some = await self._commits.change(partial(reroute, self._database, choose, after))
            moved += some
        await self._commits.change(lambda: self._database.set_note(ROUTES, signature))
        return moved


class QueuedContent:
    """Implements `handover.Content`."""

    __slots__ = ("_item", "_queue", "size")

    def __init__(self, queue: MailQueue, item: Item) -> None:
        self._queue = queue
        self._item = item
        self.size = item.size

    async def read(self, start: int, end: int) -> bytes:
        return await self._queue.read(self._item, start, end)


def _refused(error: OSError | apsw.Error) -> Refused:
    if isinstance(error, apsw.FullError):
        return Refused(Problem.DISK_FULL, str(error))
    if isinstance(error, apsw.Error):
        return Refused(Problem.QUEUE_UNAVAILABLE, str(error))
    refused = refusal(error)
    problem = Problem.DISK_FULL if refused.problem is Problem.DISK_FULL else Problem.QUEUE_UNAVAILABLE
    return Refused(problem, refused.detail)
