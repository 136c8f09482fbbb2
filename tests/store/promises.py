"""What a client was told by a store, and whether a store that is opened later still holds to it."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

from disk_record import Recorder
from transcripts import result

from mailstack.ports import AccountName, Change, Delivery, FlagAction, Flags, MailboxStatus, NewMessage
from mailstack.store.api import Store
from mailstack.store.workers import InlineWorkers
from mailstack.testing.log import RecordingLog

ALICE = AccountName("alice@example.org")
_NUMBERS = itertools.count(1)


# --- what is told: mailboxes by their id, messages by their octets


@dataclass(frozen=True)
class Asked:
    """From now on `message` may be gone from the mailbox, whether the answer comes or not."""

    mailbox: str
    uids: tuple[int, ...]


@dataclass(frozen=True)
class Gone:
    """The answer."""

    mailbox: str
    uids: tuple[int, ...]


@dataclass(frozen=True)
class Delivered:
    message: bytes


@dataclass(frozen=True)
class Seen:
    """The mailbox `mailbox` has this name and these messages; what SELECT says of it."""

    mailbox: str
    name: str
    validity: int
    uid_next: int
    modseq: int
    messages: tuple[tuple[int, bytes], ...]


@dataclass(frozen=True)
class Placed:
    """APPENDUID, COPYUID."""

    mailbox: str
    messages: tuple[tuple[int, bytes], ...]


@dataclass(frozen=True)
class Renaming:
    """It may have either name until `Seen` says which."""

    mailbox: str
    name: str


@dataclass(frozen=True)
class Deleting:
    mailbox: str


@dataclass(frozen=True)
class Deleted:
    mailbox: str


def is_whole(message: bytes) -> bool:
    """Whether these are the octets of a message that some `Client` made."""
    header, _, rest = message.partition(b"\r\n")
    return header == b"Sum: %d" % crc32(rest)


class Quiet:
    def changed(self, change: Change) -> None:
        """It only has the mailbox open."""


class Client:
    """Asks a store, and writes down in the record what it was told."""

    def __init__(self, data: Path, record: Recorder | None = None) -> None:
        self.record = record
        self.log = RecordingLog()
        self.store = Store(data, InlineWorkers(), self.log)

    def tell(self, what: object) -> None:
        if self.record is not None:
            self.record.tell(what)

    @property
    def account(self) -> Any:
        return result(self.store.account(ALICE))

    def blob(self, message: bytes) -> Any:
        sink = self.store.spool.sink()
        result(sink.write(message))
        return result(sink.finish())

    def message(self, size: int = 0) -> bytes:
        """Unlike all others."""
        rest = b"Message-ID: <%d@example.org>\r\n\r\n%s\r\n" % (next(_NUMBERS), b"x" * size)
        return b"Sum: %d\r\n%s" % (crc32(rest), rest)

    def deliver(self, mailbox: str = "INBOX", size: int = 0) -> bytes:
        message = self.message(size)
        blob = self.blob(message)
        assert result(self.store.deliver(blob, [Delivery(ALICE, mailbox, b"")])) == [None]
        blob.discard()
        self.tell(Delivered(message))
        return message

    def open(self, name: str = "INBOX") -> Any:
        return result(self.account.open(name, Quiet()))

    def look(self, name: str = "INBOX") -> Any:
        """SELECT and FETCH."""
        mailbox = self.open(name)
        messages = tuple((uid, self.octets(mailbox, uid)) for uid in mailbox.uids)
        told = (mailbox.mailbox_id, name, mailbox.uid_validity, mailbox.uid_next, mailbox.highest_modseq)
        self.tell(Seen(*told, messages))
        return mailbox

    def octets(self, mailbox: Any, uid: int) -> bytes:
        octets: bytes | None = result(mailbox.read(uid, 0, 1 << 30))
        assert octets is not None, f"{mailbox.name} has UID {uid} without a file"
        return octets

    def append(self, name: str = "INBOX", count: int = 1, keywords: tuple[str, ...] = (), size: int = 0) -> None:
        mailbox, messages = self.open(name), [self.message(size) for _ in range(count)]
        flags = Flags(keywords=frozenset(keywords))
        new = [NewMessage(self.blob(message), flags, 1_000_000_000.0) for message in messages]
        uids = result(self.account.append(name, new)).uids
        for each in new:
            each.blob.discard()
        self.tell(Placed(mailbox.mailbox_id, tuple(zip(uids, messages, strict=True))))

    def copy(self, mailbox: Any, uids: list[int], name: str) -> None:
        octets = {uid: self.octets(mailbox, uid) for uid in uids}
        target = self.open(name)
        copied = result(mailbox.copy(uids, name))
        pairs = zip(copied.destination, copied.source, strict=True)
        self.tell(Placed(target.mailbox_id, tuple((uid, octets[source]) for uid, source in pairs)))

    def move(self, mailbox: Any, uids: list[int], name: str) -> None:
        octets = {uid: self.octets(mailbox, uid) for uid in uids}
        target = self.open(name)
        self.tell(Asked(mailbox.mailbox_id, tuple(uids)))
        moved = result(mailbox.move(uids, name, None))
        pairs = zip(moved.destination, moved.source, strict=True)
        self.tell(Placed(target.mailbox_id, tuple((uid, octets[source]) for uid, source in pairs)))
        self.tell(Gone(mailbox.mailbox_id, tuple(moved.source)))

    def expunge(self, mailbox: Any, uids: list[int]) -> None:
        self.tell(Asked(mailbox.mailbox_id, tuple(uids)))
        self.tell(Gone(mailbox.mailbox_id, tuple(result(mailbox.expunge(uids, None)))))

    def flag(self, mailbox: Any, uids: list[int], flags: Flags) -> None:
        """Flags may be lost in a power cut, so nothing is told."""
        result(mailbox.store_flags(uids, FlagAction.ADD, flags, None))

    def create(self, name: str) -> None:
        result(self.account.create(name))
        self.look(name)

    def rename(self, pairs: dict[str, str]) -> None:
        """The first pair is what is asked for, the others are inferiors."""
        for old, new in pairs.items():
            self.tell(Renaming(self.open(old).mailbox_id, new))
        result(self.account.rename(*next(iter(pairs.items()))))
        for new in pairs.values():
            self.look(new)

    def delete(self, name: str) -> None:
        identity = self.open(name).mailbox_id
        self.tell(Deleting(identity))
        result(self.account.delete(name))
        self.tell(Deleted(identity))

    def end(self) -> None:
        result(self.store.close())

    def drop(self) -> None:
        """As if it was killed."""
        self.store.directories.clear()
        self.store.indexes.close()


# --- what must be true


@dataclass
class Known:
    """What is known of one mailbox."""

    names: set[str] = field(default_factory=set)
    validity: int = 0
    uid_next: int = 1
    modseq: int = 0
    messages: dict[int, bytes] = field(default_factory=dict)
    asked: set[int] = field(default_factory=set)
    gone: set[int] = field(default_factory=set)
    may_be_gone: bool = False
    deleted: bool = False


class Promises:
    """All that was told until some moment."""

    def __init__(self, told: list[object]) -> None:
        self.delivered: set[bytes] = set()
        self.mailboxes: dict[str, Known] = {}
        self.freed: set[bytes] = set()
        """Messages that were moved, copied or removed: how many copies there are is for UIDs to tell."""
        for what in told:
            self._take(what)

    def _known(self, mailbox: str) -> Known:
        return self.mailboxes.setdefault(mailbox, Known())

    def _take(self, what: object) -> None:
        match what:
            case Delivered(message):
                self.delivered.add(message)
            case Seen(mailbox, name, validity, uid_next, modseq, messages):
                known = self._known(mailbox)
                known.names, known.validity = {name}, validity
                known.uid_next, known.modseq = max(uid_next, known.uid_next), max(modseq, known.modseq)
                known.messages.update(messages)
            case Placed(mailbox, messages):
                self._known(mailbox).messages.update(messages)
                self.freed.update(octets for _, octets in messages)
            case Asked(mailbox, uids):
                known = self._known(mailbox)
                known.asked.update(uids)
                self.freed.update(known.messages[uid] for uid in uids)
            case Gone(mailbox, uids):
                self._known(mailbox).gone.update(uids)
            case Renaming(mailbox, name):
                self._known(mailbox).names.add(name)
            case Deleting(mailbox):
                known = self._known(mailbox)
                known.may_be_gone = True
                self.freed.update(known.messages.values())
            case Deleted(mailbox):
                self._known(mailbox).deleted = True
            case _:
                raise AssertionError(what)

    def check(self, data: Path) -> None:
        """Open a store on `data`, and again. Raises: AssertionError."""
        first = self._look(data)
        client = Client(data)
        new = client.message(), client.message()
        blobs = [client.blob(message) for message in new]
        assert result(client.store.deliver(blobs[0], [Delivery(ALICE, "INBOX", b"")])) == [None]
        result(client.account.append("INBOX", [NewMessage(blobs[1])]))
        inbox = client.open()
        there = {uid: client.octets(inbox, uid) for uid in inbox.uids}
        before = dict(first.get(inbox.mailbox_id, ()))
        assert {uid: octets for uid, octets in there.items() if octets not in new} == before, f"{there} after {before}"
        known = self.mailboxes.get(inbox.mailbox_id, Known())
        assert min(uid for uid, octets in there.items() if octets in new) >= known.uid_next
        assert not known.messages.keys() & (there.keys() - before.keys()), "a UID was given again"
        assert min(inbox.columns(inbox.uids[-2:]).modseqs) > known.modseq, "a change below what was told"
        client.drop()
        assert set(result(inbox.expunge(inbox.uids, None))) == there.keys()
        again = Client(data)
        assert not again.open().uids, "expunged messages are there again"
        again.drop()

    def _look(self, data: Path) -> dict[str, list[tuple[int, bytes]]]:
        client, found = Client(data), Counter[bytes]()
        contents: dict[str, list[tuple[int, bytes]]] = {}
        names = [entry.name for entry in result(client.account.mailboxes()) if entry.selectable]
        for name in names:
            mailbox = client.open(name)
            assert mailbox.mailbox_id not in contents, f"{name} has the id of another mailbox"
            messages = [(uid, client.octets(mailbox, uid)) for uid in mailbox.uids]
            contents[mailbox.mailbox_id] = messages
            found.update(octets for _, octets in messages)
            self._check_mailbox(mailbox, result(client.account.status(name)), dict(messages))
        for identity, known in self.mailboxes.items():
            if not known.may_be_gone:
                assert identity in contents, f"the mailbox {known.names} is lost"
        assert all(map(is_whole, found)), f"octets that nobody sent: {[each for each in found if not is_whole(each)]}"
        for message in self.delivered - self.freed:
            assert found[message] == 1, f"{message!r} is there {found[message]} times"
        warnings = [line for line in client.log.lines if line.level != "event"]
        assert not [line for line in warnings if "new UIDs" in line.what or "other UIDs" in line.what], warnings
        client.drop()
        return contents

    def _check_mailbox(self, mailbox: Any, status: MailboxStatus, there: dict[int, bytes]) -> None:
        known = self.mailboxes.get(mailbox.mailbox_id)
        assert status.messages == len(there)
        if known is None:
            return  # nobody was told of it
        assert not known.deleted, f"the deleted mailbox {mailbox.name} is there"
        assert mailbox.name in known.names
        assert known.validity in (0, mailbox.uid_validity), "another UIDVALIDITY"
        assert mailbox.uid_next >= max([known.uid_next, *(uid + 1 for uid in known.messages)]), "UIDNEXT went back"
        assert mailbox.highest_modseq >= known.modseq, "the mod-sequence went back"
        for uid, octets in known.messages.items():
            if uid in known.gone:
                assert uid not in there, f"UID {uid} of {mailbox.name} is there again"
            elif uid not in known.asked or uid in there:
                assert there.get(uid) == octets, f"UID {uid} of {mailbox.name} is {there.get(uid)!r}, not {octets!r}"
        removed = {known.messages[uid] for uid in known.gone}
        elsewhere = {octets for uid, octets in there.items() if uid not in known.messages}
        assert not removed & elsewhere, f"{removed & elsewhere} came back to {mailbox.name} with other UIDs"
