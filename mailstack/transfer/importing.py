"""From a source into an account, through the store, in batches that share their syncs."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from mailstack.errors import Problem, Refused
from mailstack.mail.lines import CrlfStream
from mailstack.ports import MAX_KEYWORDS, Blob, Flags, Mailbox, NewMessage, Octets
from mailstack.store.api import Store, StoredAccount
from mailstack.transfer.inline import Silent
from mailstack.transfer.mbox import header_date
from mailstack.transfer.placing import Places
from mailstack.transfer.report import Report
from mailstack.transfer.state import (
    DIGEST_SIZE,
    Moving,
    State,
    content_digest,
    message_digest,
)
from mailstack.transfer.values import (
    Folder,
    KnownOnes,
    Message,
    Source,
    Trouble,
    Unreadable,
    Unusable,
)

BATCH = 100
"""Messages that are put into a mailbox together."""
BATCH_OCTETS = 8 * 1024 * 1024
"""Octets of them, from which on they do not wait for more."""
WAITING = 400
"""Messages that wait for all mailboxes together: large ones have a file open."""
AT_ONCE = 50
"""Messages that are looked through in one visit to the store."""
SLICE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Options:
    """`max_size`: octets of a message that the server takes."""

    max_size: int
    dry_run: bool = False


@dataclass(slots=True)
class _Box:
    """A mailbox that messages go to. `mailbox` is None in a dry run if it does not exist."""

    name: str
    mailbox: Mailbox | None = None
    place: int = 0
    moved_before: bool = False
    seen: Counter[bytes] = field(default_factory=Counter)
    """What this run met, by digest."""
    keywords: set[str] = field(default_factory=set)
    dropped: set[str] = field(default_factory=set)
    waiting: list[tuple[Moving, NewMessage]] = field(default_factory=list)
    octets: int = 0
    counted: set[int] = field(default_factory=set)
    """Origins whose known messages are in `seen`."""


@dataclass(frozen=True, slots=True)
class _Taken:
    """One message, read."""

    blob: Blob
    content: bytes
    beginning: bytes


class Importer:
    """One run. `state` is None in a dry run of an account without one."""

    def __init__(
        self, store: Store, account: StoredAccount | None, source: Source, places: Places, state: State | None,
        options: Options, report: Report,
    ) -> None:  # fmt: skip
        self._store = store
        self._account = account
        self._source = source
        self._places = places
        self._state = state
        self._options = options
        self._report = report
        self._boxes: dict[str, _Box] = {}
        self._by_folder: dict[Folder, _Box | None] = {}
        self._waiting = 0
        self._silent = Silent()

    async def run(self) -> None:
        """Everything that is new, durable on return. Raises: Unusable, when the run cannot go on."""
        report = self._report
        report.total += self._source.total
        try:
            for folder in self._source.folders():
                await self._box(folder)
            for found in self._source.messages(self._known):
                if isinstance(found, Trouble):
                    report.trouble(found)
                elif isinstance(found, KnownOnes):
                    await self._pass_over(found)
                else:
                    await self._message(found)
                    report.weight += found.weight
                report.advanced()
            await self._flush_all()
        finally:
            for box in self._boxes.values():
                for _, waiting in box.waiting:
                    waiting.blob.discard()
                if box.mailbox is not None:
                    box.mailbox.close(self._silent)

    # --- which mailbox

    async def _box(self, folder: Folder) -> _Box | None:
        """The mailbox for a folder, made if it is not there; None if there can be none, or it is not wanted."""
        if folder not in self._by_folder:
            self._by_folder[folder] = None if self._places.excludes(folder) else await self._found(folder)
        return self._by_folder[folder]

    async def _found(self, folder: Folder) -> _Box | None:
        try:
            name = self._places.name(folder)
        except Refused as refused:
            self._report.trouble(Trouble(folder.name, str(refused)))
            return None
        box = self._boxes.get(name)
        if box is None:
            try:
                box = self._boxes[name] = await self._opened(name, folder)
            except Refused as refused:
                raise Unusable(f"{name}: {refused}") from refused
            self._report.of(name)
        return box

    async def _opened(self, name: str, folder: Folder) -> _Box:
        box, account, state = _Box(name), self._account, self._state
        if account is None:
            return box
        try:
            box.mailbox = await account.open(name, self._silent)
        except Refused as refused:
            if refused.problem is not Problem.NO_SUCH_MAILBOX:
                raise
            if self._options.dry_run:
                return box
            await account.create(name, self._places.special_use(folder))
            box.mailbox = await account.open(name, self._silent)
            if folder.subscribed is not False:
                await account.subscribe(name)
        box.keywords = {keyword.lower() for keyword in box.mailbox.keywords if keyword}
        if state is not None:
            box.place = state.place("mailbox", box.mailbox.mailbox_id)
            if not self._options.dry_run:
                await self._recover(box, box.mailbox, state)
            box.moved_before = state.any_moved(box.place)
        return box

    async def _recover(self, box: _Box, mailbox: Mailbox, state: State) -> None:
        """See which messages the last run put there before it was stopped."""
        uid_next, intended = state.intended(box.place)
        if not intended:
            return
        uids = [uid for uid in mailbox.uids if uid >= uid_next]
        there: Counter[bytes] = Counter()
        for start in range(0, len(uids), AT_ONCE):
            found = await mailbox.examine(uids[start : start + AT_ONCE], _digest_of)
            there.update(digest for digest in found if digest is not None)
        placed = []
        for each in intended:
            if there[each.content]:
                there[each.content] -= 1
                placed.append(each)
        state.done(box.place, placed)

    def _known(self, folder: Folder, validity: int) -> Collection[int] | None:
        box = self._by_folder.get(folder)
        if box is None:
            return None
        return () if self._state is None else self._state.uids(self._origin_place(box, folder, validity))

    def _origin_place(self, box: _Box, folder: Folder, validity: int) -> int:
        assert self._state is not None
        return self._state.place("origin", self._source.identity, folder.name, validity, box.place)

    async def _pass_over(self, known: KnownOnes) -> None:
        box = await self._box(known.folder)
        if box is not None:
            self._report.of(box.name).known += known.count
            self._report.weight += known.count

    # --- one message

    async def _message(self, message: Message) -> None:
        box = await self._box(message.folder)
        if box is None:  # it was told when the folder was met
            return
        try:
            taken = await self._read(message)
        except (Unreadable, OSError) as error:
            self._report.trouble(Trouble(message.place, _words(error)), box.name)
            return
        try:
            await self._put(box, message, taken)
        except BaseException:
            taken.blob.discard()
            raise

    async def _put(self, box: _Box, message: Message, taken: _Taken) -> None:
        date = message.date if message.date is not None else header_date(taken.beginning)
        if date is not None:
            date = float(max(0, int(date // 1)))
        moving = self._moving(box, message, taken.content, date)
        if self._is_known(box, moving):
            self._report.of(box.name).known += 1
            taken.blob.discard()
            return
        if self._options.dry_run:
            self._count(box, taken.blob.size)
            taken.blob.discard()
            return
        flags = self._fitting(box, message)
        new = NewMessage(taken.blob, flags, message.fallback_date if date is None else date)
        box.waiting.append((moving, new))
        box.octets += taken.blob.size
        self._waiting += 1
        if len(box.waiting) >= BATCH or box.octets >= BATCH_OCTETS:
            await self._flush(box)
        elif self._waiting >= WAITING:
            await self._flush_all()

    def _moving(self, box: _Box, message: Message, content: bytes, date: float | None) -> Moving:
        digest = message_digest(content, date)
        if message.origin is None or self._state is None:
            return Moving(content, digest)
        origin_place = self._origin_place(box, message.folder, message.origin.validity)
        return Moving(content, digest, origin_place, message.origin)

    def _is_known(self, box: _Box, moving: Moving) -> bool:
        state = self._state
        if moving.origin_place is not None and moving.origin_place not in box.counted and state is not None:
            box.counted.add(moving.origin_place)
            box.seen.update(state.digests(moving.origin_place))
        box.seen[moving.digest] += 1
        # What this run moves itself it has met before, so that only what was moved earlier can be known.
        if state is None or not box.moved_before or box.seen[moving.digest] > state.moved(box.place, moving.digest):
            return False
        if moving.origin is not None and moving.origin_place is not None and not self._options.dry_run:
            state.remember(moving.origin_place, moving.origin.uid, moving.digest)
        return True

    async def _read(self, message: Message) -> _Taken:
        """Raises: Unreadable, OSError, Unusable."""
        sink, lines, beginning = self._store.spool.sink(), CrlfStream(), b""
        digest = hashlib.blake2b(digest_size=DIGEST_SIZE)
        try:
            for piece in message.pieces:
                data = lines.feed(piece)
                beginning = beginning or data
                digest.update(data)
                if sink.size + len(data) > self._options.max_size:
                    raise Unreadable(f"larger than {self._options.max_size} octets, the server's limit")
                await sink.write(data)
            rest = lines.finish()
            if rest:
                digest.update(rest)
                await sink.write(rest)
            return _Taken(await sink.finish(), digest.digest(), beginning)
        except Refused as refused:
            raise Unusable(f"the store: {refused}") from refused
        finally:
            sink.discard()

    def _fitting(self, box: _Box, message: Message) -> Flags:
        """The flags, without keywords for which the mailbox has no room."""
        wanted = message.flags.keywords
        if not wanted:
            return message.flags
        for keyword in sorted(wanted):
            if keyword.lower() not in box.keywords and len(box.keywords) < MAX_KEYWORDS:
                box.keywords.add(keyword.lower())
        fitting = frozenset(keyword for keyword in wanted if keyword.lower() in box.keywords)
        for keyword in sorted(wanted - fitting - box.dropped):
            box.dropped.add(keyword)
            reason = f"keyword {keyword} is left out: a mailbox has room for {MAX_KEYWORDS}"
            self._report.trouble(Trouble(message.place, reason, taken=True))
        return Flags(message.flags.system, fitting)

    # --- a batch

    async def _flush_all(self) -> None:
        for box in list(self._boxes.values()):
            await self._flush(box)

    async def _flush(self, box: _Box) -> None:
        waiting, box.waiting, box.octets = box.waiting, [], 0
        if not waiting:
            return
        self._waiting -= len(waiting)
        try:
            await self._append(box, [moving for moving, _ in waiting], [new for _, new in waiting])
        finally:
            for _, new in waiting:
                new.blob.discard()

    async def _append(self, box: _Box, moving: Sequence[Moving], messages: Sequence[NewMessage]) -> None:
        assert self._account is not None and box.mailbox is not None and self._state is not None
        self._state.intend(box.place, box.mailbox.uid_next, moving)
        try:
            await self._account.append(box.name, messages)
        except Refused as refused:
            self._state.done(box.place, ())
            raise Unusable(f"{box.name}: {refused}") from refused
        self._state.done(box.place, moving)
        for message in messages:
            self._count(box, message.blob.size)

    def _count(self, box: _Box, octets: int) -> None:
        count = self._report.of(box.name)
        count.moved += 1
        count.octets += octets


def _digest_of(octets: Octets) -> bytes:
    return content_digest(octets[start : start + SLICE] for start in range(0, len(octets), SLICE))


def _words(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)
