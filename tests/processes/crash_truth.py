"""What the clients of a server were told, and whether the server holds to it after it was killed.

A message is known by the number in its header field `X-Number`, a mailbox by its MAILBOXID (RFC 8474)."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

Flags = frozenset[str]
FIRST = frozenset({"INBOX", "Archive", "Drafts", "Junk", "Sent", "Trash"})
"""Mailboxes that an account has without asking."""


@dataclass
class Seen:
    """A mailbox as SELECT and FETCH tell it: UID → number and flags."""

    identity: str
    validity: int
    uid_next: int
    messages: dict[int, tuple[int, Flags]]


@dataclass
class Box:
    """What is known of a mailbox. `names` are those that it may have; `asked` are UIDs that may be gone, since
    somebody asked for it; `gone` those of which it was told; `flags` the sets that a message may have."""

    validity: int
    names: set[str]
    uid_next: int = 1
    messages: dict[int, int] = field(default_factory=dict)
    flags: dict[int, set[Flags]] = field(default_factory=dict)
    asked: set[int] = field(default_factory=set)
    gone: set[int] = field(default_factory=set)
    deleting: bool = False

    def placed(self, uid: int, number: int, flags: Flags) -> None:
        """A message has this UID."""
        assert self.messages.get(uid, number) == number, f"UID {uid} was given to {self.messages[uid]} and {number}"
        assert uid not in self.gone, f"UID {uid} was given again"
        self.messages[uid] = number
        self.flags.setdefault(uid, {flags})
        self.uid_next = max(self.uid_next, uid + 1)


class Truth:
    """One account. Each of its mailboxes is changed by one client; messages are delivered by any."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.boxes: dict[str, Box] = {}
        self.creating: set[str] = set(FIRST)
        """Names of mailboxes that may be there."""
        self.deleted: set[str] = set()
        self.copies: Counter[int] = Counter()
        """How many copies of a message there are: what was told."""
        self.maybe_more: Counter[int] = Counter()
        self.maybe_fewer: Counter[int] = Counter()

    @contextmanager
    def adding(self, numbers: Iterable[int]) -> Iterator[None]:
        """Asks for one more copy of each; told when it ends without an exception."""
        numbers = list(numbers)
        with self.lock:
            self.maybe_more.update(numbers)
        yield
        with self.lock:
            self.maybe_more.subtract(numbers)
            self.copies.update(numbers)

    @contextmanager
    def removing(self, box: Box, uids: Iterable[int]) -> Iterator[None]:
        """Asks for these to be gone; told when it ends without an exception."""
        uids = list(uids)
        numbers = [box.messages[uid] for uid in uids]
        box.asked.update(uids)
        with self.lock:
            self.maybe_fewer.update(numbers)
        yield
        with self.lock:
            self.maybe_fewer.subtract(numbers)
            self.copies.subtract(numbers)
        box.gone.update(uids)

    def looked(self, name: str, seen: Seen) -> Box:
        """What SELECT and FETCH told a client whose own the mailbox is, or INBOX."""
        box = self.boxes.setdefault(seen.identity, Box(seen.validity, {name}))
        self.compare(name, box, seen)
        for uid, (number, flags) in seen.messages.items():
            box.placed(uid, number, flags)
        box.uid_next = max(box.uid_next, seen.uid_next)
        self.creating.discard(name)
        return box

    def compare(self, name: str, box: Box, seen: Seen) -> None:
        """Raises: AssertionError."""
        where = f"{name}: "
        assert box.validity == seen.validity, f"{where}UIDVALIDITY {seen.validity}, and was {box.validity}"
        assert seen.identity not in self.deleted, f"{where}a deleted mailbox"
        assert name in box.names, f"{where}a mailbox that has one of the names {box.names}"
        assert seen.uid_next >= box.uid_next, f"{where}UIDNEXT {seen.uid_next}, and was {box.uid_next}"
        there = seen.messages
        assert not box.gone & there.keys(), f"{where}UIDs {box.gone & there.keys()} are there again"
        for uid, number in box.messages.items():
            if uid in box.gone or (uid in box.asked and uid not in there):
                continue
            assert uid in there, f"{where}UID {uid} (message {number}) is lost"
            assert there[uid][0] == number, f"{where}UID {uid} was message {number} and is {there[uid][0]}"
            assert there[uid][1] in box.flags[uid], f"{where}UID {uid} has {there[uid][1]}, not {box.flags[uid]}"

    def check(self, found: dict[str, Seen]) -> None:
        """`found` is all of the account, by name, after a crash. Afterwards what was not answered is as it was
        found. Raises: AssertionError."""
        identities = {seen.identity: name for name, seen in found.items()}
        assert len(identities) == len(found), f"one mailbox under two names: {found.keys()}"
        for identity, box in self.boxes.items():
            assert identity in identities or box.deleting, f"the mailbox {box.names} is lost"
        for name, seen in found.items():
            if seen.identity in self.boxes:
                self.compare(name, self.boxes[seen.identity], seen)
            else:
                assert name in self.creating, f"{name} is there, and nobody asked for it"
        self._check_copies(Counter(number for seen in found.values() for number, _ in seen.messages.values()))
        self._adopt(found)

    def _check_copies(self, there: Counter[int]) -> None:
        for number in self.copies.keys() | self.maybe_more.keys() | there.keys():
            most = self.copies[number] + self.maybe_more[number]
            fewest = self.copies[number] - self.maybe_fewer[number]
            assert fewest <= there[number] <= most, (
                f"message {number} is there {there[number]} times, not {fewest} to {most}"
            )
        self.copies, self.maybe_more, self.maybe_fewer = there, Counter(), Counter()

    def _adopt(self, found: dict[str, Seen]) -> None:
        self.creating = set(FIRST - found.keys())
        known, self.boxes = self.boxes, {}
        for name, seen in found.items():
            box = known.pop(seen.identity, Box(seen.validity, {name}))
            box.names, box.deleting = {name}, False
            box.gone |= box.messages.keys() - seen.messages.keys()
            box.asked = set()
            box.flags = {}
            for uid, (number, flags) in seen.messages.items():
                box.placed(uid, number, flags)
            box.uid_next = max(box.uid_next, seen.uid_next)
            self.boxes[seen.identity] = box
        self.deleted.update(known)
